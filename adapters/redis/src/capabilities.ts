import type { Capabilities, Features } from "brokerkit/driver";

const DAY_MS = 86_400_000;
const MIB = 1_048_576;

function frozen<T extends object>(record: T): T {
  for (const value of Object.values(record)) if (typeof value === "object" && value !== null) frozen(value);
  return Object.freeze(record);
}

const streams: Capabilities = {
  delivery: { group: "at-least-once", broadcast: "at-least-once", groups: Number.POSITIVE_INFINITY },
  durable: true,
  // With appendonly yes and appendfsync always; connect says "memory" for anything less or unknown.
  durabilityOnAck: "fsync",
  publish: { maxRecords: 500, maxBytes: 32 * MIB, inFlight: 4, order: "call" },
  settle: { unit: "message", ack: "confirmed" },
  receive: { maxRecords: 1_000, concurrency: 1, maxWaitMs: 30_000 },
  redelivery: { native: true, maxDelayMs: 365 * DAY_MS, counted: "failures" },
  lease: { ms: 30_000, extend: true },
  hold: { maxMs: Number.POSITIVE_INFINITY, maxUnacked: 10_000, scope: "subscription" },
  keyOrder: "process",
  coordination: true,
  from: {
    group: ["latest", "earliest", "time", "position"],
    broadcast: ["latest", "earliest", "time", "position"],
    replay: ["earliest", "time", "position"],
  },
  seek: "live",
  cursorEnd: true,
  delay: { maxMs: 365 * DAY_MS },
  ttl: { maxMs: 0 },
  priority: { levels: 0 },
  // What the option `dedupeMs` can be; connect says what it is.
  dedupe: { windowMs: DAY_MS },
  groupInbox: "stream",
  lag: { count: "exact", unit: "message", inFlight: true, oldest: true },
  places: { perDelivery: true, dense: false },
  topics: { explicit: true, partitions: 1, describe: true },
  retention: { ms: true, bytes: false, compact: false },
  // Headers are fields of an entry, and a script can hand on some thousands.
  message: { maxBytes: 32 * MIB, maxHeaders: 1_000, key: true, headers: true, tombstone: true },
};

const pubsub: Capabilities = {
  delivery: { group: "none", broadcast: "at-most-once", groups: 0 },
  durable: false,
  durabilityOnAck: "none",
  publish: { maxRecords: 1_000, maxBytes: 16 * MIB, inFlight: 4, order: "call" },
  settle: { unit: "message", ack: "recorded" },
  receive: { maxRecords: 1_000, concurrency: 1, maxWaitMs: 30_000 },
  redelivery: { native: false, maxDelayMs: 0, counted: "none" },
  lease: { ms: 0, extend: false },
  hold: { maxMs: Number.POSITIVE_INFINITY, maxUnacked: 10_000, scope: "subscription" },
  keyOrder: "process",
  coordination: false,
  from: { group: [], broadcast: ["latest"], replay: [] },
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
  // A server cuts a subscriber off when 32 MiB wait for it (client-output-buffer-limit pubsub).
  message: { maxBytes: 16 * MIB, maxHeaders: Number.POSITIVE_INFINITY, key: true, headers: true, tombstone: true },
};

/** The most that each driver can do, by adapter name. A server and its options narrow it at connect. */
export const capabilities: { readonly redis: Capabilities; readonly "redis+pubsub": Capabilities } = frozen({
  redis: streams,
  "redis+pubsub": pubsub,
});

export type StreamsFeatures = Features & {
  readonly groups: true;
  readonly replay: true;
  readonly seek: true;
  readonly lag: true;
  readonly delay: true;
  readonly keyOrder: true;
  readonly atLeastOnce: true;
};

export type PubSubFeatures = Features & { readonly [K in keyof Features]: false };

/** The boolean views of the records above, as literals. */
export const features: { readonly redis: StreamsFeatures; readonly "redis+pubsub": PubSubFeatures } = frozen({
  redis: { groups: true, replay: true, seek: true, lag: true, delay: true, keyOrder: true, atLeastOnce: true },
  "redis+pubsub": { groups: false, replay: false, seek: false, lag: false, delay: false, keyOrder: false, atLeastOnce: false },
});
