import type { Site, Verified } from "../measure/column.ts";
import type { Measure } from "../measure/meter.ts";
import type { Delays } from "../measure/percentiles.ts";
import type { Workload } from "../measure/workload.ts";

/** One round of one column: what is stored is consumed afterwards; `live` publishes and consumes at once. */
export interface Round {
  readonly publish: Measure;
  readonly consume: Measure | null;
  readonly live: Measure;
}

export interface SlowRun {
  readonly published: number;
  readonly handled: number;
  /** Resident memory before the first message and at its highest, bytes. */
  readonly baseline: number;
  readonly peak: number;
}

/** What the main process asks of a client process, and what that answers. */
export interface Tasks {
  /** Loads the column and opens its client. */
  open: {
    readonly ask: {
      readonly column: string;
      readonly site: Site;
      readonly workload: Workload;
      readonly stallMs: number;
      readonly brokerCore?: number | undefined;
    };
    readonly answer: null;
  };
  /** Runs until warm; answers how many messages a round should have, and the fastest end-to-end rate seen. */
  warmUp: { readonly ask: Record<never, never>; readonly answer: { readonly count: number } };
  round: { readonly ask: { readonly count: number }; readonly answer: Round };
  latency: { readonly ask: { readonly perSecond: number; readonly ms: number }; readonly answer: Delays };
  verify: { readonly ask: { readonly folder: string; readonly count: number }; readonly answer: Verified | null };
  /** Half of the slow-consumer run: makes the topic, then publishes to it once told to. */
  makeTopic: { readonly ask: { readonly topic: string }; readonly answer: null };
  fillTopic: { readonly ask: { readonly topic: string; readonly count: number }; readonly answer: { readonly perSecond: number } };
  removeTopic: { readonly ask: { readonly topic: string }; readonly answer: null };
  /** The other half, in another process: consumes slowly until `stopSlow`. */
  startSlow: { readonly ask: { readonly topic: string; readonly restMs: number; readonly count: number }; readonly answer: null };
  stopSlow: {
    readonly ask: Record<never, never>;
    readonly answer: { readonly handled: number; readonly baseline: number; readonly peak: number };
  };
  close: { readonly ask: Record<never, never>; readonly answer: null };
}

export type TaskName = keyof Tasks;

export interface Question<N extends TaskName = TaskName> {
  readonly id: number;
  readonly task: N;
  readonly ask: Tasks[N]["ask"];
}

export type Answer =
  | { readonly id: number; readonly ok: true; readonly answer: unknown }
  | { readonly id: number; readonly ok: false; readonly name: string; readonly message: string };
