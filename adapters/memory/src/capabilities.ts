import type { Capabilities, Features } from "brokerkit/driver";

const ANYWHERE = ["latest", "earliest", "time", "position"] as const;

export function deepFreeze<T extends object>(value: T): T {
  for (const child of Object.values(value)) if (typeof child === "object" && child !== null) deepFreeze(child);
  return Object.freeze(value);
}

/** Everything that the interface knows. */
const memory: Capabilities = {
  delivery: { group: "at-least-once", broadcast: "at-least-once", groups: Number.POSITIVE_INFINITY },
  durable: false,
  durabilityOnAck: "memory",
  publish: { maxRecords: 1_000, maxBytes: 64 * 2 ** 20, inFlight: 1, order: "call" },
  settle: { unit: "message", ack: "confirmed" },
  receive: { maxRecords: 1_000, concurrency: 16, maxWaitMs: Number.POSITIVE_INFINITY },
  redelivery: { native: true, maxDelayMs: Number.POSITIVE_INFINITY, counted: "failures" },
  lease: { ms: 30_000, extend: true },
  hold: { maxMs: Number.POSITIVE_INFINITY, maxUnacked: Number.POSITIVE_INFINITY, scope: "shard" },
  keyOrder: "members",
  coordination: false,
  from: { group: ANYWHERE, broadcast: ANYWHERE, replay: ["earliest", "time", "position"] },
  seek: "live",
  cursorEnd: true,
  delay: { maxMs: Number.POSITIVE_INFINITY },
  ttl: { maxMs: Number.POSITIVE_INFINITY },
  priority: { levels: 10 },
  // Short, because every id within it is remembered: 5 s of a million publishes a second are half a gigabyte.
  dedupe: { windowMs: 5_000 },
  groupInbox: "native",
  lag: { count: "exact", unit: "message", inFlight: true, oldest: true },
  places: { perDelivery: true, dense: true },
  topics: { explicit: true, partitions: 1_024, describe: true },
  retention: { ms: true, bytes: true, compact: true },
  message: { maxBytes: 16 * 2 ** 20, maxHeaders: 1_000, key: true, headers: true, tombstone: true },
};

/** The adapter's record by its name. */
export const capabilities: Readonly<Record<"memory", Capabilities>> = deepFreeze({ memory });

/** Every feature, as literals for types. */
export type MemoryFeatures = Features & { readonly [K in keyof Features]: true };

/** The boolean view of the record. */
export const features: MemoryFeatures = Object.freeze({
  groups: true,
  replay: true,
  seek: true,
  lag: true,
  delay: true,
  keyOrder: true,
  atLeastOnce: true,
});
