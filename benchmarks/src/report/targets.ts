import type { Workload } from "../measure/workload.ts";
import type { ColumnResult, Run } from "./result.ts";
import { type Figure, type Phase, paired, type Summary, series, summaryOf } from "./statistics.ts";

/** One line of columns/<adapter>/targets.json: a figure of a column, alone or against another's of the same round. */
export interface Target {
  readonly what: string;
  readonly of: string;
  readonly phase: Phase;
  readonly figure: Figure;
  /** Divided by this column's figure, or by a native tool's rate. */
  readonly over?: string;
  readonly overNative?: string;
  /** Less this column's figure. */
  readonly minus?: string;
  readonly atLeast?: number;
  readonly atMost?: number;
}

export interface Judged {
  readonly what: string;
  readonly bound: string;
  readonly seen: Summary;
  readonly met: boolean;
}

const MIB = 2 ** 20;
const SLACK_BYTES = 32 * MIB;
/** How much work core keeps ahead of its handlers, at the rate that they showed. */
const PREFETCH_MS = 500;
/** And no more of it than this. */
const MOST_AHEAD_BYTES = 32 * MIB;
/** The column whose handlers are given batches. */
const BATCH = "batch";

/** What the slow run says of itself. */
export type SlowLoad = Pick<Workload, "size" | "batch" | "concurrency">;

function judge(run: Run, target: Target): Judged | undefined {
  const find = (name: string | undefined): ColumnResult | undefined => run.columns.find((column) => column.name === name);
  const own = find(target.of);
  if (own === undefined) return undefined;
  let values = series(own, target.phase, target.figure);
  const other = find(target.over ?? target.minus);
  if (target.overNative !== undefined) {
    const native = run.natives.find(({ title }) => title === target.overNative);
    values = paired(values, native?.perSecond ?? [], (a, b) => a / b);
  } else if (target.over !== undefined || target.minus !== undefined) {
    if (other === undefined) return undefined;
    values = paired(values, series(other, target.phase, target.figure), target.over === undefined ? (a, b) => a - b : (a, b) => a / b);
  }
  const seen = summaryOf(values);
  if (seen === undefined) return undefined;
  const { what, atLeast = Number.NEGATIVE_INFINITY, atMost = Number.POSITIVE_INFINITY } = target;
  const bound = target.atLeast === undefined ? `≤ ${target.atMost}` : `≥ ${target.atLeast}`;
  return { what, bound, seen, met: seen.median >= atLeast && seen.median <= atMost };
}

/** How far memory may grow with a consumer that is far too slow: what its handlers are given at once, as much ahead, and some slack. Bytes. */
export function slowBound(column: ColumnResult, { size, batch, concurrency }: SlowLoad): number {
  const rate = summaryOf(series(column, "live", "perSecond"))?.median ?? 0;
  const given = concurrency * (column.name === BATCH ? batch : 1);
  const ahead = Math.max(2 * given, (rate / 100) * (PREFETCH_MS / 1_000));
  return Math.min(ahead * size, MOST_AHEAD_BYTES) + SLACK_BYTES;
}

function judgeMemory(run: Run, load: SlowLoad): Judged[] {
  return run.columns
    .filter(({ kind, slow }) => kind === "sdk" && slow !== null)
    .map((column) => {
      const grown = (column.slow?.peak ?? 0) - (column.slow?.baseline ?? 0);
      const bound = slowBound(column, load);
      const seen = { median: grown / MIB, min: grown / MIB, max: grown / MIB };
      return {
        what: `memory growth with a consumer 100 × too slow, MiB (${column.title})`,
        bound: `≤ ${Math.round(bound / MIB)}`,
        seen,
        met: grown <= bound,
      };
    });
}

/** The targets that this run says something about. */
export function judged(run: Run, targets: readonly Target[], load: SlowLoad): Judged[] {
  const found = targets.map((target) => judge(run, target)).filter((one) => one !== undefined);
  return [...found, ...judgeMemory(run, load)];
}
