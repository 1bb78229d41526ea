import type { Capabilities, Features } from "brokerkit/driver";

const MIB = 1_048_576;

function frozen<T extends object>(record: T): T {
  for (const value of Object.values(record)) if (typeof value === "object" && value !== null) frozen(value);
  return Object.freeze(record);
}

const kafka: Capabilities = {
  delivery: { group: "at-least-once", broadcast: "at-least-once", groups: Number.POSITIVE_INFINITY },
  durable: true,
  // acks=all with min.insync.replicas of 2 or more; connect says less for one replica: "fsync" where every message is flushed, else "page-cache".
  durabilityOnAck: "replicated",
  publish: { maxRecords: 5_000, maxBytes: 32 * MIB, inFlight: 1, order: "call" },
  settle: { unit: "prefix", ack: "confirmed" },
  receive: { maxRecords: 5_000, concurrency: 1, maxWaitMs: 30_000 },
  redelivery: { native: false, maxDelayMs: 0, counted: "none" },
  // A partition is owned while the member's session lasts, whatever becomes of single messages.
  lease: { ms: 0, extend: false },
  hold: { maxMs: Number.POSITIVE_INFINITY, maxUnacked: 10_000, scope: "shard" },
  keyOrder: "members",
  coordination: false,
  from: {
    group: ["latest", "earliest", "time", "position"],
    broadcast: ["latest", "earliest", "time", "position"],
    replay: ["earliest", "time", "position"],
  },
  seek: "idle",
  cursorEnd: true,
  delay: { maxMs: 0 },
  ttl: { maxMs: 0 },
  priority: { levels: 0 },
  // The broker drops what one producer sends again by itself; that is no window over ids.
  dedupe: { windowMs: 0 },
  groupInbox: "stream",
  // Offsets that compaction and transactions leave unused are counted as messages.
  lag: { count: "upper-bound", unit: "message", inFlight: false, oldest: true },
  places: { perDelivery: true, dense: false },
  topics: { explicit: true, partitions: 10_000, describe: true },
  retention: { ms: true, bytes: true, compact: true },
  message: { maxBytes: 32 * MIB, maxHeaders: Number.POSITIVE_INFINITY, key: true, headers: true, tombstone: true },
};

/** The most that the driver can do. The cluster's settings narrow it at connect, a topic's settings once more. */
export const capabilities: Readonly<Record<"kafka", Capabilities>> = frozen({ kafka });

export type KafkaFeatures = Features & {
  readonly groups: true;
  readonly replay: true;
  readonly seek: true;
  readonly lag: true;
  readonly delay: false;
  readonly keyOrder: true;
  readonly atLeastOnce: true;
};

/** The boolean view of the record above, as literals. */
export const features: { readonly kafka: KafkaFeatures } = frozen({
  kafka: { groups: true, replay: true, seek: true, lag: true, delay: false, keyOrder: true, atLeastOnce: true },
});
