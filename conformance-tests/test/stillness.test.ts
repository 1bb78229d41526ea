import { expect, test } from "vitest";
import { ranFor } from "../src/stillness.ts";
import { pass, until } from "../src/wait.ts";

/** As a machine does that gives the process no time. */
function standStill(ms: number): void {
  for (const began = performance.now(); performance.now() - began < ms; );
}

test("time in which the process stood still does not count, while it lasts and afterwards; other time does", async () => {
  const began = performance.now();
  standStill(300);
  expect(ranFor(began)).toBeLessThan(150);
  await until(() => performance.now() - began > 400, "the clock to go on");
  const ended = performance.now();
  expect(ranFor(began, ended)).toBeLessThan(ended - began - 200);
  const later = performance.now();
  await pass(50);
  expect(ranFor(later)).toBeGreaterThan(0);
  // What was before is no part of it.
  expect(ranFor(later, later)).toBe(0);
});
