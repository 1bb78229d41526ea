import { expect, test } from "vitest";
import { shown } from "../src/amounts.ts";

test.each([
  ["lease.ms", 30_000, "30 s"],
  ["lease.ms", 90_000, "90 s"],
  ["x.maxMs", Number.POSITIVE_INFINITY, "no limit"],
  ["x.maxMs", 0.5, "0.5 ms"],
  ["x.windowMs", 86_400_000, "1 d"],
  ["x.maxBytes", 33_554_432, "32 MiB"],
  ["x.maxBytes", 1_000, "1,000"],
  ["x.maxRecords", 1_000, "1,000"],
  ["x.list", [], "–"],
  ["x.list", ["a", "b"], "a, b"],
  ["x.flag", true, "yes"],
  ["x.level", "fsync", "fsync"],
])("%s of %j is shown as %s", (field, value, text) => {
  expect(shown(field, value)).toBe(text);
});
