import { expect, test } from "vitest";
import { words } from "../vitest-reporter.ts";

test("an error is told with what lies behind it, unless it says so itself", () => {
  const refused = new Error("connect ECONNREFUSED 127.0.0.1:1");
  const [told] = words([new TypeError("no connection", { cause: refused })]);
  expect(told).toMatch(/^TypeError: no connection\n/);
  expect(told).toMatch(/\ncaused by Error: connect ECONNREFUSED 127\.0\.0\.1:1$/);
  const [once] = words([new Error(`the case failed: ${refused.message}`, { cause: refused })]);
  expect(once).not.toContain("caused by");
});

test("an error is told with where it was thrown and how values differ", () => {
  const stacks = [
    { file: "/x/node_modules/y/z.js", line: 1, column: 1 },
    { file: import.meta.filename, line: 7, column: 3 },
  ];
  expect(words([{ name: "AssertionError", message: "expected 1 to be 2", stacks, diff: "- 2\n+ 1" }])).toEqual([
    "AssertionError: expected 1 to be 2\nat tools/test/vitest-reporter.test.ts:7:3\n- 2\n+ 1",
  ]);
});
