import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { EffectiveCapabilities } from "brokerkit";
import type { CaseResult, Run } from "./run.ts";

/** One run of the suite over one adapter, as it is kept. */
export interface Report {
  readonly adapter: string;
  readonly at: string;
  readonly seed: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly capabilities: EffectiveCapabilities;
  readonly counts: Readonly<Record<"pass" | "n/a (declared)" | "n/a (not possible here)" | "gap" | "fail", number>>;
  /** Case → `pass`, `n/a (declared)`, `n/a (not possible here)`, `gap: …` or `fail: …`. */
  readonly cases: Readonly<Record<string, string>>;
  /** What was measured on the way: ms, counts, MiB, as the names say. */
  readonly measured: Readonly<Record<string, number | string>>;
}

const LABELS = {
  pass: "pass",
  twin: "n/a (declared)",
  "not-claimed": "n/a (declared)",
  "not-possible": "n/a (not possible here)",
  gap: "gap",
  fail: "fail",
} as const;

export function label(result: CaseResult): string {
  const text = LABELS[result.outcome];
  if (result.outcome === "gap") return `${text}: ${result.reason}`;
  if (result.outcome === "fail") return `${text}: ${firstLine(result.error)}`;
  return text;
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n")[0] ?? "";
}

export async function makeReport(run: Run): Promise<Report> {
  const results = [...run.results].sort((a, b) => (a.id < b.id ? -1 : 1));
  const counts = { pass: 0, "n/a (declared)": 0, "n/a (not possible here)": 0, gap: 0, fail: 0 };
  for (const result of results) counts[LABELS[result.outcome]] += 1;
  return {
    adapter: run.harness.name,
    at: new Date().toISOString(),
    seed: run.seed,
    versions: await run.versions(),
    capabilities: await run.capabilities(),
    counts,
    cases: Object.fromEntries(results.map((result) => [result.id, label(result)])),
    measured: Object.fromEntries(Object.entries(run.measured).sort(([a], [b]) => (a < b ? -1 : 1))),
  };
}

/** JSON has no Infinity, and most records hold one. Short lists stand on one line, as the formatter wants them. */
export function reportText(report: Report): string {
  const text = JSON.stringify(report, (_, value: unknown) => (value === Number.POSITIVE_INFINITY ? "Infinity" : value), 2);
  return `${text.replace(/\[\n\s+([^[\]{}]*?)\n\s+\]/g, (_, items: string) => `[${items.replace(/,\n\s+/g, ", ")}]`)}\n`;
}

/** Writes `<folder>/<adapter>.json`; answers its path. */
export function writeReport(report: Report, folder: string): string {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${report.adapter}.json`);
  writeFileSync(path, reportText(report));
  return path;
}

export function slowest(results: readonly CaseResult[], count = 10): string {
  return [...results]
    .sort((a, b) => b.ms - a.ms)
    .slice(0, count)
    .map((result) => `${String(result.ms).padStart(7)} ms  ${result.id}`)
    .join("\n");
}
