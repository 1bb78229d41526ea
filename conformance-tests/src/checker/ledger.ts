/** What the checker remembers of a history. Times are the history's milliseconds; `NaN` stands for "never". */

/** The messages of one producer under one key; within it `seq` counts. */
export interface Lane {
  readonly producer: string;
  readonly key: string;
}

/** One message as it was published, or, with `invokes` 0, an id that so far was only received. */
export interface Message {
  readonly id: string;
  lane: Lane | undefined;
  producer: string;
  seq: number;
  hash: string;
  key: string | undefined;
  /** Begin and end of each attempt of the application, one after the other. */
  invokes: number;
  oks: number;
  fails: number;
  infos: number;
  /** First invoke. */
  invokeT: number;
  /** First `ok`. */
  okT: number;
  /** Last completion of any kind. */
  endT: number;
}

/** One handler run. */
export interface Delivery {
  readonly process: string;
  /** When it began: was written down, or before its process stood still in the middle of it. */
  t: number;
  readonly position: string | undefined;
  readonly run: number | undefined;
  /** Set where it differs from what was published, or where that was not known yet. */
  readonly hash: string | undefined;
  readonly key: string | undefined;
  doneT: number;
  /** The handler failed, or the delivery was given back: one more delivery is owed. */
  failed: boolean;
  handled: boolean;
  ackT: number;
  /** An acknowledgement was asked for and not refused. */
  acked: boolean;
}

/** What one group saw of one message, in the order of time. */
export interface Entry {
  readonly message: Message;
  readonly deliveries: Delivery[];
}

/** Something that entitles to redeliveries. */
export interface Interruption {
  readonly unit: "process" | "broker" | "shard";
  readonly target: string | undefined;
  readonly topic: string | undefined;
  readonly group: string | undefined;
  readonly shard: string | undefined;
  readonly from: number;
  /** End of the window in which it happened; infinite for a process that never came back. */
  to: number;
  ended: boolean;
  /** What its process had begun until then, it had in its hands: the last moment before it stood still, or infinite for one that was killed. */
  stands: number;
}

/** A time without any delivery, `done` or `ack`. */
export interface Quiet {
  readonly from: number;
  readonly to: number;
}

export interface Topic {
  readonly name: string;
  readonly messages: Map<string, Message>;
  readonly lanes: Map<string, Lane>;
  /** Which message each position holds. */
  readonly places: Map<string, Message>;
  readonly diverged: string[];
}

export interface Group {
  readonly topic: Topic;
  readonly name: string;
  /** By id, in the order of the first deliveries. */
  readonly entries: Map<string, Entry>;
  /** Acknowledged before the handler was done, or without a delivery. */
  readonly early: string[];
  /** `done` or `nack` without a delivery. */
  readonly unmatched: string[];
  readonly quiet: Quiet[];
  lastT: number;
  reported: number;
  reportedUnknown: boolean;
}

export interface Ledger {
  events: number;
  firstT: number;
  lastT: number;
  readonly topics: Map<string, Topic>;
  /** By `groupName`. */
  readonly groups: Map<string, Group>;
  readonly interruptions: Interruption[];
}

/** The name of a group in messages for people. */
export function groupName(topic: string, group: string): string {
  return `${topic}/${group}`;
}

/** The shard of a position `<shard>:<n>[.<n>…]`; all positions without one share one. */
export function shardOf(position: string | undefined): string {
  return position === undefined ? "" : position.slice(0, Math.max(0, position.lastIndexOf(":")));
}

/** Compares two positions of one shard, number by number; numbers may exceed 2^53. */
export function comparePlaces(a: string, b: string): number {
  const left = a.slice(a.lastIndexOf(":") + 1).split(".");
  const right = b.slice(b.lastIndexOf(":") + 1).split(".");
  for (let n = 0; n < Math.max(left.length, right.length); n++) {
    const x = left[n] ?? "";
    const y = right[n] ?? "";
    if (x === y) continue;
    return x.length - y.length || (x < y ? -1 : 1);
  }
  return 0;
}
