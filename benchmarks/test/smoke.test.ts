import { join } from "node:path";
import { expect, test } from "vitest";
import type { Column } from "../src/measure/column.ts";
import { documentation } from "../src/report/document.ts";
import type { Result } from "../src/report/result.ts";
import { print } from "../src/report/table.ts";
import { runAdapter } from "../src/run/adapter.ts";
import { runCommand } from "../src/run/command.ts";
import type { Found } from "../src/run/discover.ts";
import { readOptions } from "../src/run/options.ts";

const quiet = { log: () => {}, out: () => {} };

function expectSound(result: Result, columns: readonly string[]): void {
  const [run] = result.runs;
  expect(run?.columns.map(({ name }) => name)).toEqual(columns);
  for (const column of run?.columns ?? []) {
    expect(column.rounds).toHaveLength(1);
    for (const measure of [column.rounds[0]?.publish, column.rounds[0]?.consume, column.rounds[0]?.live]) {
      expect(measure?.count).toBeGreaterThan(0);
      expect(measure?.ms).toBeGreaterThan(0);
      expect(measure?.cpuMs).toBeGreaterThanOrEqual(0);
    }
    if (column.kind === "sdk") {
      expect(column.verified).toMatchObject({ published: 200, received: 200, lost: 0, duplicates: 0, reasons: [] });
    }
  }
  const timed = run?.columns.find(({ name }) => name === "default");
  expect(timed?.idle[0]?.p50).toBeGreaterThan(0);
  expect(timed?.half[0]?.p999).toBeGreaterThan(0);
}

test("a quick run of memory measures every column, and its history passes the checker", async () => {
  const result = await runAdapter(readOptions(["memory", "--quick"]), quiet);
  expectSound(result, ["core-null-driver", "default", "batch", "ladder-1-json", "ladder-2-schema", "ladder-3-tracing"]);
  expect(print(result)).toContain("CPU of one publish");
  const files = documentation([result]);
  expect(files.get("benchmarks.md")).toContain("## memory");
  expect(files.get("data/benchmarks/memory-memory-quick.svg")).toMatch(/^<svg .*<\/svg>\n$/s);
});

test("a quick run of sqlite measures the plain client beside brokerkit", async () => {
  const result = await runAdapter(readOptions(["sqlite", "--quick", "--column", "raw-tuned", "--column", "default"]), quiet);
  expectSound(result, ["raw-tuned", "default"]);
});

async function fixture(name: string): Promise<Found> {
  const path = join(import.meta.dirname, "fixtures", `${name}.ts`);
  const { column } = (await import(path)) as { readonly column: Column };
  return { name, path, column };
}

async function runFixture(name: string): Promise<{ readonly code: number; readonly said: string }> {
  const said: string[] = [];
  const code = await runCommand(["memory", "--quick"], { ...quiet, log: (text) => said.push(text), columns: [await fixture(name)] });
  return { code, said: said.join("\n") };
}

test("a column that drops a message fails the run", async () => {
  const { code, said } = await runFixture("dropping");
  expect(said).toContain('Column "dropping" failed');
  expect(said).toContain("1 of 50 messages were lost (the first: 7)");
  expect(code).toBe(1);
});

test("a column that hands a message over twice fails the run", async () => {
  const { code, said } = await runFixture("doubling");
  expect(said).toContain("1 came twice");
  expect(code).toBe(1);
});

test("a column that leaves a key's order fails the run", async () => {
  const { code, said } = await runFixture("swapping");
  expect(said).toContain("came out of their key's order");
  expect(code).toBe(1);
});

test("the same column without a fault passes", async () => {
  expect(await runFixture("sound")).toMatchObject({ code: 0 });
});

test("unknown adapters and options end with a usage", async () => {
  for (const argv of [["nowhere"], ["memory", "--rounds", "none"], ["memory", "--fast"], []]) {
    const said: string[] = [];
    expect(await runCommand(argv, { ...quiet, log: (text) => said.push(text) })).toBe(2);
    expect(said.join()).toMatch(/Adapters: .*memory, .*redis/);
  }
});
