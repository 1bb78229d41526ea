import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { readReports, supportPage } from "../src/matrix.ts";

const docs = (path: string): string => fileURLToPath(new URL(`../../docs/${path}`, import.meta.url));

test("docs/support.md is what the recorded runs say: regenerate it with conformance-tests/src/matrix.ts", () => {
  const reports = readReports(docs("data/support"));
  expect(reports.length).toBeGreaterThan(0);
  expect(readFileSync(docs("support.md"), "utf8")).toBe(supportPage(reports));
});

test("no recorded run holds a failure", () => {
  const failures = readReports(docs("data/support")).flatMap(({ adapter, cases }) =>
    Object.entries(cases).flatMap(([id, outcome]) => (outcome.startsWith("fail") ? [`${adapter} ${id}`] : [])),
  );
  expect(failures).toEqual([]);
});
