import type { Capabilities, Features } from "brokerkit/driver";

const DAY_MS = 86_400_000;
const MIB = 1_048_576;

function frozen<T extends object>(record: T): T {
  for (const value of Object.values(record)) if (typeof value === "object" && value !== null) frozen(value);
  return Object.freeze(record);
}

const jetstream: Capabilities = {
  delivery: { group: "at-least-once", broadcast: "at-least-once", groups: Number.POSITIVE_INFINITY },
  durable: true,
  // On several servers of a cluster; connect says "page-cache" for a single one, which syncs its files now and then.
  durabilityOnAck: "replicated",
  publish: { maxRecords: 1_000, maxBytes: 64 * MIB, inFlight: 4, order: "record" },
  settle: { unit: "message", ack: "confirmed" },
  receive: { maxRecords: 1_000, concurrency: 1, maxWaitMs: 30_000 },
  redelivery: { native: true, maxDelayMs: 365 * DAY_MS, counted: "deliveries" },
  lease: { ms: 30_000, extend: true },
  // What the option `maxUnacked` can be; connect says what it is.
  hold: { maxMs: Number.POSITIVE_INFINITY, maxUnacked: 1_000_000, scope: "group" },
  // What was on its way over a link that broke comes again when its lease ends, behind messages that are newer.
  keyOrder: "none",
  coordination: true,
  from: {
    group: ["latest", "earliest", "time", "position"],
    broadcast: ["latest", "earliest", "time", "position"],
    replay: ["earliest", "time", "position"],
  },
  seek: "live",
  cursorEnd: true,
  delay: { maxMs: 0 },
  ttl: { maxMs: 0 },
  priority: { levels: 0 },
  // What the option `dedupeMs` can be; connect says what it is.
  dedupe: { windowMs: DAY_MS },
  groupInbox: "stream",
  lag: { count: "exact", unit: "message", inFlight: true, oldest: true },
  places: { perDelivery: true, dense: true },
  topics: { explicit: true, partitions: 1, describe: true },
  retention: { ms: true, bytes: true, compact: false },
  // A server lets through 1 MiB unless told otherwise, 64 MiB at the most.
  message: { maxBytes: 64 * MIB, maxHeaders: Number.POSITIVE_INFINITY, key: true, headers: true, tombstone: true },
};

const core: Capabilities = {
  delivery: { group: "at-most-once", broadcast: "at-most-once", groups: Number.POSITIVE_INFINITY },
  durable: false,
  durabilityOnAck: "none",
  publish: { maxRecords: 1_000, maxBytes: 64 * MIB, inFlight: 4, order: "call" },
  settle: { unit: "message", ack: "recorded" },
  receive: { maxRecords: 1_000, concurrency: 1, maxWaitMs: 30_000 },
  redelivery: { native: false, maxDelayMs: 0, counted: "none" },
  lease: { ms: 0, extend: false },
  hold: { maxMs: Number.POSITIVE_INFINITY, maxUnacked: 10_000, scope: "subscription" },
  keyOrder: "process",
  coordination: false,
  from: { group: ["latest"], broadcast: ["latest"], replay: [] },
  seek: "none",
  cursorEnd: false,
  delay: { maxMs: 0 },
  ttl: { maxMs: 0 },
  priority: { levels: 0 },
  dedupe: { windowMs: 0 },
  groupInbox: "none",
  lag: { count: "none", unit: "message", inFlight: false, oldest: false },
  places: { perDelivery: false, dense: false },
  topics: { explicit: false, partitions: 1, describe: false },
  retention: { ms: false, bytes: false, compact: false },
  message: { maxBytes: 64 * MIB, maxHeaders: Number.POSITIVE_INFINITY, key: true, headers: true, tombstone: true },
};

/** The most that each driver can do, by adapter name. A server and its options narrow it at connect. */
export const capabilities: { readonly nats: Capabilities; readonly "nats+core": Capabilities } = frozen({
  nats: jetstream,
  "nats+core": core,
});

export type JetStreamFeatures = Features & {
  readonly groups: true;
  readonly replay: true;
  readonly seek: true;
  readonly lag: true;
  readonly delay: false;
  readonly keyOrder: true;
  readonly atLeastOnce: true;
};

export type CoreFeatures = Features & { readonly groups: true } & { readonly [K in Exclude<keyof Features, "groups">]: false };

/** The boolean views of the records above, as literals. */
export const features: { readonly nats: JetStreamFeatures; readonly "nats+core": CoreFeatures } = frozen({
  nats: { groups: true, replay: true, seek: true, lag: true, delay: false, keyOrder: true, atLeastOnce: true },
  "nats+core": { groups: true, replay: false, seek: false, lag: false, delay: false, keyOrder: false, atLeastOnce: false },
});
