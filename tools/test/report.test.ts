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
  run(false, [one("failed", { name: "adds", messages: ["\u001b[31mexpected 1\u001b[0m\nbut got 2"] })]);
  expect(lines.filter((line) => line === "FAIL demo > adds")).toHaveLength(2);
  expect(lines).toContain("      expected 1");
  expect(lines).toContain("      but got 2");
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
