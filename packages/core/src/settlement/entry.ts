import type { WireDelivery } from "../driver/wire.ts";
import type { Link } from "../primitives/chain.ts";

/**
 * buffered: waits for a handler. running: a handler has it. waiting: held for its next attempt. copying: its dead letter or requeued
 * copy is on the way. settling: its ack is on the way. over: settled. lost: somebody else's now; nothing of it goes to the wire any more.
 */
export type EntryState = "buffered" | "running" | "waiting" | "copying" | "settling" | "over" | "lost";

/** One owned delivery, from `receive` to its settlement. */
export class Entry implements Link<Entry> {
  readonly wire: WireDelivery;
  readonly id: string;
  readonly bytes: number;
  /** What it must be handled in order with; `undefined` for nothing. */
  readonly lane: string | undefined;
  readonly receivedAt: number;
  state: EntryState = "buffered";
  leaseUntil: number;
  /** Handler runs here. */
  runs = 0;
  /** Failures, earlier ones that the backend kept included. */
  failures: number;
  firstFailedAt = 0;
  /** Retried alone after its batch failed. */
  solo = false;
  /** Its number among the acks taken. */
  turn = 0;
  /** Whoever awaits `ack()`. */
  awaiting: { resolve: () => void; reject: (error: unknown) => void } | undefined = undefined;
  /** Out of its lane's queue: the lane waits for it. */
  out = false;
  previous: Entry | undefined = undefined;
  next: Entry | undefined = undefined;

  constructor(wire: WireDelivery, id: string, lane: string | undefined, receivedAt: number) {
    this.wire = wire;
    this.id = id;
    this.lane = lane;
    this.receivedAt = receivedAt;
    this.leaseUntil = wire.leaseUntil;
    this.failures = wire.failures;
    this.bytes = (wire.body?.byteLength ?? 0) + 256;
  }

  /** Counts native deliveries, failures that came along with a requeued copy, and runs here; read it before a run for that run's number. */
  get attempt(): number {
    return Math.max(this.wire.deliveries, this.wire.failures + 1) + this.runs;
  }
}
