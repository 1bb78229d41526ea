/**
 * The history: what every process of a run saw, one JSON line per event, one file per process.
 *
 * An event is appended **before** the process acts on it: a publish is written before it is sent, a delivery before its handler runs, a `done`
 * before the handler returns, an acknowledgement before it is asked for. A process killed at any moment has therefore written at least as much
 * as it did.
 */

/** What the writer adds to every event. */
export interface Stamp {
  /** Counts the events of one process from 0, without holes. */
  readonly i: number;
  /** Wall clock, milliseconds since 1970, with a fraction; comparable between the processes of one machine. */
  readonly t: number;
  /** The name given to `openHistory`: one for each member of a group, and a new one after a restart. */
  readonly process: string;
}

/** Before a publish. The producer is `process`. */
export interface PublishInvoke {
  readonly type: "invoke";
  readonly f: "publish";
  readonly topic: string;
  readonly key?: string | undefined;
  /** Unique within the topic. The same id again, with the same hash, is the application's own second attempt. */
  readonly id: string;
  /** Counts this producer's messages of this topic and key upwards; the order that deliveries are compared with. */
  readonly seq: number;
  /** Digest of what was sent (see `hashOf`). */
  readonly hash: string;
}

/** After a publish: `ok` confirmed, `fail` certainly not stored, `info` in doubt (a time-out is always `info`). */
export interface PublishEnd {
  readonly type: "ok" | "fail" | "info";
  readonly f: "publish";
  readonly topic: string;
  readonly id: string;
  /** The message's place, `<shard>:<n>[.<n>…]`, where the backend tells it. */
  readonly position?: string | undefined;
}

/** Before a handler run: every run, also the second one of the same delivery. */
export interface Receive {
  readonly type: "ok";
  readonly f: "receive";
  readonly topic: string;
  /** A broadcast subscriber or a replay is a group of its own, named after its process. */
  readonly group: string;
  readonly key?: string | undefined;
  readonly id: string;
  readonly hash: string;
  readonly position?: string | undefined;
  /** Numbers the handler runs of one process. Messages of one batch run carry one number, so that they do not count as overlapping. */
  readonly run?: number | undefined;
}

/** The SDK reported that messages of an at-most-once subscription were lost. `lost: null` says "some, number unknown". */
export interface LossReport {
  readonly type: "info";
  readonly f: "receive";
  readonly topic: string;
  readonly group: string;
  readonly lost: number | null;
}

/** Before the handler returns (`ok`), throws or has timed out (`fail`). */
export interface Done {
  readonly type: "ok" | "fail";
  readonly f: "done";
  readonly topic: string;
  readonly group: string;
  readonly id: string;
  /** The `run` of the delivery that is meant. Default: this process's latest delivery of the id. */
  readonly run?: number | undefined;
}

/**
 * `invoke` before it is asked for; `ok` when it is durable; `info` when written or recorded but not known to be durable; `fail` when
 * refused. A `nack` that was not refused ends its delivery, like a failed `done`.
 */
export interface Settle {
  readonly type: "invoke" | "ok" | "fail" | "info";
  readonly f: "ack" | "nack";
  readonly topic: string;
  readonly group: string;
  readonly id: string;
  /** As in `Done`. */
  readonly run?: number | undefined;
}

/**
 * An interruption. `info` begins it (written before the deed, by whoever does it), `ok` with the same unit and target ends it.
 * - `process`: `target` is killed or frozen. Without an `ok` it is dead for good.
 * - `broker`: the broker restarts, or its connections are cut, for everyone. Without an `ok` it is one instant: write the `ok`.
 * - `shard`: this process lost, or let go of, its deliveries of `topic` and `group` (lost lease, rebalance, close), of one `shard` if named.
 */
export interface Crash {
  readonly type: "info" | "ok";
  readonly f: "crash";
  readonly unit: "process" | "broker" | "shard";
  readonly target?: string | undefined;
  readonly topic?: string | undefined;
  readonly group?: string | undefined;
  readonly shard?: string | undefined;
}

/** What a process records; the writer stamps it. */
export type HistoryRecord = PublishInvoke | PublishEnd | Receive | LossReport | Done | Settle | Crash;

/** One line of a history. */
export type HistoryEvent = Stamp & HistoryRecord;

/** A history that cannot be judged: a bad line, a hole in a process's count, one id with two contents. */
export class HistoryError extends Error {
  override readonly name = "HistoryError";
}
