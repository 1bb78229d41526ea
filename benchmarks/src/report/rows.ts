import { medianOf, percent, short, spread } from "./format.ts";
import type { ColumnResult, Run } from "./result.ts";
import { type Figure, type Phase, series, summaryOf } from "./statistics.ts";
import type { Judged } from "./targets.ts";

type Rows = readonly (readonly string[])[];

const MIB = 2 ** 20;
const PHASES: readonly (readonly [Phase, string])[] = [
  ["publish", "publish"],
  ["consume", "consume"],
  ["live", "end to end"],
];

/** Throughput, CPU, and how busy the broker was, of each column; load tools behind them. */
export function throughputRows({ columns, natives }: Run): Rows {
  const has = (phase: Phase, figure: Figure): boolean => columns.some((column) => series(column, phase, figure).length > 0);
  const phases = PHASES.filter(([phase]) => has(phase, "perSecond"));
  const watched = phases.some(([phase]) => has(phase, "broker"));
  const head = ["", ...phases.flatMap(([, words]) => [`${words} msg/s`, "CPU µs", ...(watched ? ["broker %"] : [])])];
  const rows = columns.map((column) => [
    column.title,
    ...phases.flatMap(([phase]) => [
      spread(summaryOf(series(column, phase, "perSecond"))),
      medianOf(summaryOf(series(column, phase, "cpuMicros"))),
      ...(watched ? [percent(summaryOf(series(column, phase, "broker")))] : []),
    ]),
  ]);
  const tools = natives.map(({ title, perSecond }) => [title, spread(summaryOf(perSecond)), ...Array<string>(head.length - 2).fill("–")]);
  return [head, ...rows, ...tools];
}

function delayCells(column: ColumnResult, phase: "idle" | "half"): string[] {
  const rate = summaryOf(column[phase].map(({ perSecond }) => perSecond));
  const cells = (["p50", "p99", "p999"] as const).map((figure) => medianOf(summaryOf(series(column, phase, figure))));
  return [medianOf(rate), ...cells];
}

/** End-to-end delays in ms; empty where none were measured. */
export function delayRows({ columns }: Run): Rows {
  const timed = columns.filter(({ idle }) => idle.length > 0);
  if (timed.length === 0) return [];
  const part = ["msg/s", "p50", "p99", "p99.9"];
  return [["ms", ...part, ...part], ...timed.map((column) => [column.title, ...delayCells(column, "idle"), ...delayCells(column, "half")])];
}

/** What a column costs beside time per message; empty where it was not measured. */
export function costRows({ columns }: Run): Rows {
  const rows = columns
    .filter(({ slow, cold, verified }) => slow !== null || cold.length > 0 || verified !== null)
    .map(({ title, slow, cold, installed, verified }) => [
      title,
      slow === null ? "–" : `${short((slow.peak - slow.baseline) / MIB)} of ${short((slow.published * 4_096) / MIB)}`,
      spread(summaryOf(cold)),
      installed === null ? "–" : installed.packages === 0 ? "0" : `${(installed.bytes / 1e6).toFixed(1)} (${installed.packages})`,
      verified === null ? "–" : `${verified.received} of ${verified.published}, lost ${verified.lost}, twice ${verified.duplicates}`,
    ]);
  const head = ["", "memory growth, MiB", "cold start, ms", "installed, MB (packages)", "history checker"];
  return rows.length === 0 ? [] : [head, ...rows];
}

/** Targets with what was seen; empty where this run says nothing about any. */
export function targetRows(judged: readonly Judged[]): Rows {
  if (judged.length === 0) return [];
  return [
    ["target", "bound", "seen", ""],
    ...judged.map(({ what, bound, seen, met }) => [what, bound, spread(seen), met ? "met" : "not met"]),
  ];
}
