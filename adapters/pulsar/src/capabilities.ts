import type { Capabilities, Features } from "brokerkit/driver";

const MIB = 1_048_576;
const DAY_MS = 86_400_000;

function frozen<T extends object>(record: T): T {
  for (const value of Object.values(record)) if (typeof value === "object" && value !== null) frozen(value);
  return Object.freeze(record);
}

const pulsar: Capabilities = {
  delivery: { group: "at-least-once", broadcast: "at-least-once", groups: Number.POSITIVE_INFINITY },
  durable: true,
  // Two or more copies of each entry, each synced; connect says less for a namespace with one.
  durabilityOnAck: "replicated",
  publish: { maxRecords: 5_000, maxBytes: 64 * MIB, inFlight: 4, order: "call" },
  // Where brokers keep acknowledgements within a batch; elsewhere connect says "entry": a batch comes again as a whole.
  settle: { unit: "message", ack: "confirmed" },
  receive: { maxRecords: 5_000, concurrency: 1, maxWaitMs: 30_000 },
  // The broker's count is forgotten when a consumer's connection breaks, which is when it would be needed. Giving back one message of a batch
  // gives back all of it, so core holds instead, and leaving gives back.
  redelivery: { native: false, maxDelayMs: 0, counted: "none" },
  lease: { ms: 0, extend: false },
  // A broker stops at 50,000 unacknowledged messages of one consumer, what waits to be received included.
  hold: { maxMs: Number.POSITIVE_INFINITY, maxUnacked: 40_000, scope: "subscription" },
  keyOrder: "members",
  coordination: false,
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
  // The broker drops what one producer sends again under an old sequence number; that is no window over ids.
  dedupe: { windowMs: 0 },
  groupInbox: "stream",
  // Entries are known exactly; their messages are counted as far as a broker looks into a backlog at once.
  lag: { count: "estimate", unit: "message", inFlight: true, oldest: true },
  places: { perDelivery: true, dense: false },
  topics: { explicit: true, partitions: 10_000, describe: true },
  retention: { ms: true, bytes: true, compact: false },
  message: { maxBytes: 64 * MIB, maxHeaders: Number.POSITIVE_INFINITY, key: true, headers: true, tombstone: true },
};

/** The most that the driver can do. Brokers and namespaces narrow it at connect, a topic's retention once more. */
export const capabilities: Readonly<Record<"pulsar", Capabilities>> = frozen({ pulsar });

export type PulsarFeatures = Features & { readonly [K in keyof Features]: true };

/** The boolean view of the record above, as literals. */
export const features: { readonly pulsar: PulsarFeatures } = frozen({
  pulsar: { groups: true, replay: true, seek: true, lag: true, delay: true, keyOrder: true, atLeastOnce: true },
});
