import type { Capabilities } from "../../src/driver/capabilities.ts";

/** A record that can do everything, for tests to take away from. */
export const EVERYTHING: Capabilities = {
  delivery: { group: "at-least-once", broadcast: "at-least-once", groups: Number.POSITIVE_INFINITY },
  durable: true,
  durabilityOnAck: "replicated",
  publish: { maxRecords: 1_000, maxBytes: 1_000_000, inFlight: 8, order: "call" },
  settle: { unit: "message", ack: "confirmed" },
  receive: { maxRecords: 1_000, concurrency: 4, maxWaitMs: 30_000 },
  redelivery: { native: true, maxDelayMs: 86_400_000, counted: "failures" },
  lease: { ms: 30_000, extend: true },
  hold: { maxMs: 3_600_000, maxUnacked: 10_000, scope: "shard" },
  keyOrder: "members",
  coordination: true,
  from: {
    group: ["latest", "earliest", "time", "position"],
    broadcast: ["latest", "earliest", "time", "position"],
    replay: ["earliest", "time", "position"],
  },
  seek: "live",
  cursorEnd: true,
  delay: { maxMs: Number.POSITIVE_INFINITY },
  ttl: { maxMs: Number.POSITIVE_INFINITY },
  priority: { levels: 10 },
  dedupe: { windowMs: 120_000 },
  groupInbox: "native",
  lag: { count: "exact", unit: "message", inFlight: true, oldest: true },
  places: { perDelivery: true, dense: true },
  topics: { explicit: false, partitions: 1_000, describe: true },
  retention: { ms: true, bytes: true, compact: true },
  message: { maxBytes: 1_000_000, maxHeaders: 100, key: true, headers: true, tombstone: true },
};

/** A record that can do nothing. */
export const NOTHING: Capabilities = {
  delivery: { group: "none", broadcast: "none", groups: 0 },
  durable: false,
  durabilityOnAck: "none",
  publish: { maxRecords: 1, maxBytes: 0, inFlight: 1, order: "record" },
  settle: { unit: "prefix", ack: "recorded" },
  receive: { maxRecords: 1, concurrency: 1, maxWaitMs: 0 },
  redelivery: { native: false, maxDelayMs: 0, counted: "none" },
  lease: { ms: 1_000, extend: false },
  hold: { maxMs: 0, maxUnacked: 0, scope: "group" },
  keyOrder: "none",
  coordination: false,
  from: { group: [], broadcast: [], replay: [] },
  seek: "none",
  cursorEnd: false,
  delay: { maxMs: 0 },
  ttl: { maxMs: 0 },
  priority: { levels: 0 },
  dedupe: { windowMs: 0 },
  groupInbox: "none",
  lag: { count: "none", unit: "entry", inFlight: false, oldest: false },
  places: { perDelivery: false, dense: false },
  topics: { explicit: true, partitions: 0, describe: false },
  retention: { ms: false, bytes: false, compact: false },
  message: { maxBytes: 0, maxHeaders: 0, key: false, headers: false, tombstone: false },
};

/** Every leaf of a record as `path → value`; a list is a leaf. */
export function leaves(record: object, path = ""): Map<string, unknown> {
  const found = new Map<string, unknown>();
  for (const [field, value] of Object.entries(record)) {
    const here = path === "" ? field : `${path}.${field}`;
    if (typeof value === "object" && value !== null && !Array.isArray(value))
      for (const [deep, leaf] of leaves(value, here)) found.set(deep, leaf);
    else found.set(here, value);
  }
  return found;
}

/** A copy of `record` with one leaf replaced. */
export function withLeaf(record: Capabilities, path: string, value: unknown): Capabilities {
  const copy = structuredClone(record);
  const fields = path.split(".");
  const last = fields.pop() ?? "";
  const parent = fields.reduce<object>((at, field) => Reflect.get(at, field) as object, copy);
  Reflect.set(parent, last, value);
  return copy;
}
