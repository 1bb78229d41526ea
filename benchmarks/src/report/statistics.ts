import type { Measure } from "../measure/meter.ts";
import type { ColumnResult } from "./result.ts";

export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Undefined for no values. */
export function summaryOf(values: readonly number[]): Summary | undefined {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
  return { median, min: sorted[0] as number, max: sorted.at(-1) as number };
}

export const perSecond = ({ count, ms }: Measure): number => (count * 1_000) / ms;
export const cpuMicros = ({ count, cpuMs }: Measure): number => (cpuMs * 1_000) / count;

export type Phase = "publish" | "consume" | "live" | "idle" | "half" | "cold";
export type Figure = "perSecond" | "cpuMicros" | "broker" | "p50" | "p99" | "p999" | "ms";

/** A figure of every round; rates in messages a second, CPU in µs a message, the broker's in percent of its core, delays in ms. */
export function series(column: ColumnResult, phase: Phase, figure: Figure): number[] {
  if (phase === "cold") return [...column.cold];
  if (phase === "idle" || phase === "half") {
    return figure === "p50" || figure === "p99" || figure === "p999" ? column[phase].map((delays) => delays[figure]) : [];
  }
  const measures = column.rounds.map((round) => round[phase]).filter((measure) => measure !== null);
  if (figure === "broker") return measures.flatMap(({ broker }) => (broker === undefined ? [] : [broker * 100]));
  return measures.map(figure === "cpuMicros" ? cpuMicros : perSecond);
}

/** Two series round by round: what was measured side by side is compared side by side. */
export function paired(of: readonly number[], over: readonly number[], by: (a: number, b: number) => number): number[] {
  const count = Math.min(of.length, over.length);
  return Array.from({ length: count }, (_, n) => by(of[n] as number, over[n] as number));
}
