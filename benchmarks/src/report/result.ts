import type { Kind, Verified } from "../measure/column.ts";
import type { Delays } from "../measure/percentiles.ts";
import type { Workload } from "../measure/workload.ts";
import type { Machine } from "../run/machine.ts";
import type { Installed } from "../run/packages.ts";
import type { Round, SlowRun } from "../worker/protocol.ts";

/** Everything that one column gave, raw: a round each, in the order of time. */
export interface ColumnResult {
  readonly name: string;
  readonly title: string;
  readonly kind: Kind;
  readonly summary: string;
  readonly rounds: readonly Round[];
  /** Delays at the workload's common rate, and at half of this column's own end-to-end rate. */
  readonly idle: readonly Delays[];
  readonly half: readonly Delays[];
  readonly verified: Verified | null;
  readonly slow: SlowRun | null;
  /** ms from the first import to the first confirmed publish, a process each. */
  readonly cold: readonly number[];
  readonly installed: Installed | null;
}

export interface NativeResult {
  readonly title: string;
  readonly summary: string;
  readonly perSecond: readonly number[];
}

/** One backend at one durability under one workload. */
export interface Run {
  readonly site: { readonly name: string; readonly durability: string };
  readonly workload: Workload;
  /** Processes that wanted to run, before each round. */
  readonly load: readonly number[];
  readonly columns: readonly ColumnResult[];
  readonly natives: readonly NativeResult[];
}

export interface CurveResult {
  readonly name: string;
  readonly site: string;
  readonly points: readonly {
    readonly value: number;
    readonly columns: readonly { readonly name: string; readonly title: string; readonly rounds: readonly Round[] }[];
  }[];
}

/** A file of docs/data/benchmarks/. */
export interface Result {
  readonly format: 1;
  readonly adapter: string;
  readonly machine: Machine;
  readonly versions: Readonly<Record<string, string>>;
  readonly runs: readonly Run[];
  readonly curves: readonly CurveResult[];
}
