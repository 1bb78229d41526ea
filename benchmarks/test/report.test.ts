import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { metered } from "../src/measure/meter.ts";
import type { Workload } from "../src/measure/workload.ts";
import { DOCS, keptResults } from "../src/report/data.ts";
import { documentation } from "../src/report/document.ts";
import { short, spread } from "../src/report/format.ts";
import type { ColumnResult, Run } from "../src/report/result.ts";
import { throughputRows } from "../src/report/rows.ts";
import { summaryOf } from "../src/report/statistics.ts";
import { judged } from "../src/report/targets.ts";
import { interleaved } from "../src/run/interleave.ts";
import { coresOf } from "../src/run/pinning.ts";

const SLOW = { size: 4_096, batch: 100, concurrency: 64 };

function column(name: string, rates: readonly number[]): ColumnResult {
  const rounds = rates.map((rate) => {
    const measure = { count: rate, ms: 1_000, cpuMs: 1 };
    return { publish: measure, consume: measure, live: measure };
  });
  return { name, title: name, kind: "sdk", summary: "", rounds, idle: [], half: [], verified: null, slow: null, cold: [], installed: null };
}

function run(...columns: ColumnResult[]): Run {
  return { site: { name: "site", durability: "none" }, workload: { concurrency: 1 } as Workload, load: [0], columns, natives: [] };
}

test("the documentation is what its figures say", () => {
  for (const [path, text] of documentation(keptResults())) {
    expect(existsSync(join(DOCS, path)), `${path} exists; npm run bench -- docs writes it`).toBe(true);
    expect(readFileSync(join(DOCS, path), "utf8"), path).toBe(text);
  }
});

test("a median stands between its least and its most", () => {
  expect(summaryOf([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3 });
  expect(summaryOf([1, 2])).toEqual({ median: 1.5, min: 1, max: 2 });
  expect(summaryOf([])).toBeUndefined();
  expect(spread(summaryOf([312_400, 290_000, 330_000]))).toBe("312 k (290 k–330 k)");
  expect([1_234_567, 12_345, 1_234, 12.34, 0.5].map(short)).toEqual(["1.23 M", "12.3 k", "1234", "12.3", "0.50"]);
});

test("how busy the broker was is told where it was measured", async () => {
  const spin = async (): Promise<void> => {
    for (const end = performance.now() + 100; performance.now() < end; );
  };
  expect(await metered(1, spin)).toMatchObject({ count: 1, broker: undefined });
  const { broker = Number.NaN } = await metered(1, spin, 0);
  expect(broker).toBeGreaterThanOrEqual(0);
  expect(broker).toBeLessThanOrEqual(1);
  const plain = column("a", [1_000]);
  const watched = { ...plain, rounds: [{ ...plain.rounds[0], consume: { count: 1, ms: 1_000, cpuMs: 1, broker: 0.984 } }] };
  expect(throughputRows(run(plain))[0]).not.toContain("broker %");
  const [head, , cells] = throughputRows(run(plain, watched as ColumnResult));
  expect([head?.[6], cells?.[3], cells?.[6]]).toEqual(["broker %", "–", "98"]);
});

test("a ratio is taken within each round", () => {
  const target = { what: "ratio", of: "a", over: "b", phase: "publish", figure: "perSecond", atLeast: 2 } as const;
  const [seen] = judged(run(column("a", [300, 100, 200]), column("b", [100, 50, 50])), [target], SLOW);
  expect(seen).toMatchObject({ seen: { median: 3, min: 2, max: 4 }, met: true, bound: "≥ 2" });
  const [missed] = judged(run(column("a", [100]), column("b", [100])), [target], SLOW);
  expect(missed?.met).toBe(false);
});

test("a target about a column that did not run is not judged", () => {
  const target = { what: "ratio", of: "a", over: "b", phase: "publish", figure: "perSecond", atLeast: 2 } as const;
  expect(judged(run(column("a", [1])), [target], SLOW)).toEqual([]);
});

test("memory that grows beyond what is given to handlers and fetched ahead misses its target", () => {
  const grown = (bytes: number, name = "default"): ColumnResult => ({
    ...column(name, [1_000]),
    slow: { published: 1, handled: 1, baseline: 0, peak: bytes },
  });
  expect(judged(run(grown(2 ** 20)), [], SLOW)[0]?.met).toBe(true);
  expect(judged(run(grown(50 * 2 ** 20)), [], SLOW)[0]?.met).toBe(false);
  expect(judged(run(grown(50 * 2 ** 20, "batch")), [], SLOW)[0]).toMatchObject({ met: true, bound: "≤ 64" });
  expect(judged(run(grown(65 * 2 ** 20, "batch")), [], SLOW)[0]?.met).toBe(false);
});

test("columns take turns, A B B A", () => {
  expect(interleaved(["a", "b"], 3)).toEqual([
    ["a", "b"],
    ["b", "a"],
    ["a", "b"],
  ]);
});

test("a list of cores is read as taskset writes it", () => {
  expect(coresOf(" 0-2,5\n")).toEqual([0, 1, 2, 5]);
  expect(coresOf("")).toEqual([]);
});
