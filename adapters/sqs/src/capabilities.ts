import type { Capabilities, Features } from "brokerkit/driver";

const MIB = 1_048_576;
/** What keys, ids and the names of attributes may need beside what core counts. */
const ROOM = 4_096;
/** A visibility time-out may last 12 h from the receive; an hour is left for clocks and for what waits here. */
const LONGEST_HOLD_MS = 39_600_000;

/** The most that one SNS message carries (its topics' default) and one of SQS, as core counts. */
export const SNS_BYTES: number = MIB / 4 - ROOM;
export const SQS_BYTES: number = MIB - ROOM;

function frozen<T extends object>(record: T): T {
  for (const value of Object.values(record)) if (typeof value === "object" && value !== null) frozen(value);
  return Object.freeze(record);
}

const standard: Capabilities = {
  // A broadcast reader's queue lives as long as its subscription: what comes between two of them it does not see.
  delivery: { group: "at-least-once", broadcast: "at-most-once", groups: Number.POSITIVE_INFINITY },
  durable: true,
  durabilityOnAck: "replicated",
  // Of two entries of one request the first may fail and the second be stored.
  publish: { maxRecords: 100, maxBytes: 4 * MIB, inFlight: 4, order: "record" },
  settle: { unit: "message", ack: "confirmed" },
  receive: { maxRecords: 500, concurrency: 1, maxWaitMs: 20_000 },
  redelivery: { native: true, maxDelayMs: LONGEST_HOLD_MS, counted: "deliveries" },
  lease: { ms: 60_000, extend: true },
  // What may be in flight is a limit of the queue, which all members share.
  hold: { maxMs: LONGEST_HOLD_MS, maxUnacked: 10_000, scope: "group" },
  keyOrder: "none",
  from: { group: ["latest"], broadcast: ["latest"], replay: [] },
  seek: "none",
  cursorEnd: false,
  delay: { maxMs: 900_000 },
  ttl: { maxMs: 0 },
  priority: { levels: 0 },
  dedupe: { windowMs: 0 },
  groupInbox: "native",
  lag: { count: "estimate", unit: "message", inFlight: true, oldest: false },
  places: { perDelivery: false, dense: false },
  topics: { explicit: true, partitions: 1, describe: true },
  retention: { ms: false, bytes: false, compact: false },
  message: { maxBytes: SQS_BYTES, maxHeaders: 100, key: true, headers: true, tombstone: true },
  coordination: false,
};

const fifo: Capabilities = {
  ...standard,
  keyOrder: "members",
  delay: { maxMs: 0 },
  dedupe: { windowMs: 300_000 },
};

/** What each adapter does at most, on AWS; `connect` answers what options and endpoint leave of it. */
export const capabilities: Readonly<Record<"sqs" | "sqs+fifo", Capabilities>> = frozen({ sqs: standard, "sqs+fifo": fifo });

const COMMON = { groups: true, replay: false, seek: false, lag: true, atLeastOnce: true } as const;

export type SqsFeatures = Features & typeof COMMON & { readonly delay: true; readonly keyOrder: false };
export type SqsFifoFeatures = Features & typeof COMMON & { readonly delay: false; readonly keyOrder: true };

/** The boolean views, literal so that types can follow them. */
export const features: { readonly sqs: SqsFeatures; readonly "sqs+fifo": SqsFifoFeatures } = Object.freeze({
  sqs: Object.freeze({ ...COMMON, delay: true, keyOrder: false } as const),
  "sqs+fifo": Object.freeze({ ...COMMON, delay: false, keyOrder: true } as const),
});
