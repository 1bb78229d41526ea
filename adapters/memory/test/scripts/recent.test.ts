import { expect, test } from "vitest";
import { Recent } from "../../src/scripts/recent.ts";

test("an id is remembered for the window from when it came, whenever that was", () => {
  for (let start = 0; start < 2_000; start += 150) {
    const recent = new Recent(1_000);
    for (let now = 0; now < start; now += 50) recent.seen(`other${now}`, now);
    expect([recent.seen("id", start), recent.seen("id", start + 999), recent.seen("id", start + 1_000)]).toEqual([false, true, false]);
    for (let now = start + 1_000; now < start + 1_900; now += 50) recent.seen(`another${now}`, now);
    expect([recent.seen("id", start + 1_999), recent.seen("id", start + 2_000)]).toEqual([true, false]);
  }
});

test("many ids are told apart, those with one hash too, and all are forgotten in the end", () => {
  const recent = new Recent(1_000);
  const ids = Array.from({ length: 20_000 }, (_, n) => `prefix.${n.toString(36)}`);
  expect(ids.some((id) => recent.seen(id, 0))).toBe(false);
  expect(ids.every((id) => recent.seen(id, 999))).toBe(true);
  expect(ids.some((id) => recent.seen(id, 1_000))).toBe(false);
});

test("an empty id is one too", () => {
  const recent = new Recent(1_000);
  expect([recent.seen("", 0), recent.seen("", 1)]).toEqual([false, true]);
});
