import { beforeEach, describe, expect, test, vi } from "vitest";
import { type Case, Report } from "../lanes/report.ts";

const lines: string[] = [];

beforeEach(() => {
  lines.length = 0;
  vi.spyOn(console, "log").mockImplementation((text: string) => void lines.push(...text.split("\n")));
});

const one = (state: Case["state"], more: Partial<Case> = {}): Case => ({ group: "demo", name: state, state, ms: 1, messages: [], ...more });

function run(strict: boolean, cases: readonly Case[]): { code: number; last: string | undefined } {
  const report = new Report(strict);
  for (const each of cases) report.add(each);
  return { code: report.end(), last: lines.at(-1) };
}

describe("the last line and the exit code", () => {
  test("of a good run", () => expect(run(false, [one("passed"), one("passed")])).toEqual({ code: 0, last: "2 passed, 0 failed" }));
  test("of a run with a failure", () =>
    expect(run(false, [one("passed"), one("failed")])).toEqual({ code: 1, last: "1 passed, 1 failed" }));
  test("of a run with a skipped case", () =>
    expect(run(false, [one("passed"), one("skipped")])).toEqual({ code: 0, last: "1 passed, 0 failed, 1 skipped" }));
  test("of a run with a skipped case where everything must run", () =>
    expect(run(true, [one("passed"), one("skipped")])).toEqual({ code: 1, last: "1 passed, 1 failed" }));
  test("of a run in which nothing ran", () => {
    expect(run(false, [])).toEqual({ code: 1, last: "0 passed, 1 failed" });
    expect(run(false, [one("skipped")]).code).toBe(1);
  });
});

test("a failure is told at once and again at the end, with its reasons and without another tool's colours", () => {
  const report = new Report(false);
  report.add(one("failed", { name: "adds", messages: ["\u001b[31mexpected 1\u001b[0m\nbut got 2"] }));
  const told = ["FAIL demo > adds", "      expected 1", "      but got 2"];
  expect(lines).toEqual(told);
  report.end();
  expect(lines.slice(-5)).toEqual([...told, "", "0 passed, 1 failed"]);
});

test("a long failure is told in short, and once in full", () => {
  run(false, [one("failed", { name: "counts", messages: Array.from({ length: 30 }, (_, n) => `reason ${n}`) })]);
  const at = lines.flatMap((line, index) => (line === "FAIL demo > counts" ? [index] : []));
  const below = at.map((index) => lines.slice(index + 1).findIndex((line) => !line.startsWith("      ")));
  expect(below).toEqual([12, 30, 12]);
  expect(lines.slice(7, 10)).toEqual(["      reason 6", "      … 19 more lines …", "      reason 26"]);
});

test.each([1, 4, 12])("the last 60 lines explain every one of %i failures, however long they are", (count) => {
  const reasons = (n: number): string[] => [`Error: reason ${n}`, ...Array.from({ length: 50 }, (_, line) => `detail ${line}`)];
  run(
    false,
    Array.from({ length: count }, (_, n) => one("failed", { name: `case ${n}`, messages: reasons(n) })),
  );
  const last = lines.slice(-60);
  for (let n = 0; n < count; n++) expect(last[last.indexOf(`FAIL demo > case ${n}`) + 1]).toBe(`      Error: reason ${n}`);
});

test("the ten slowest cases are listed, slowest first", () => {
  run(
    false,
    Array.from({ length: 12 }, (_, index) => one("passed", { name: `case ${index}`, ms: index * 1000 })),
  );
  const listed = lines.filter((line) => line.includes("demo > case"));
  expect(listed).toHaveLength(10);
  expect(listed[0]).toBe("      11 s  demo > case 11");
});

describe("a measured case", () => {
  const measured = async (body: () => Promise<readonly string[]>): Promise<{ code: number; last: string | undefined }> => {
    const report = new Report(false);
    await report.measure("demo", "holds", body);
    return { code: report.end(), last: lines.at(-1) };
  };

  test("passes without reasons", async () => expect((await measured(async () => [])).code).toBe(0));
  test("fails with one", async () => expect((await measured(async () => ["because"])).code).toBe(1));
  test("fails when it throws", async () => {
    const { code } = await measured(async () => {
      throw new Error("broken");
    });
    expect(code).toBe(1);
    expect(lines.some((line) => line.includes("broken"))).toBe(true);
  });
});
