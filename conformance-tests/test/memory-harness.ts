import type { Capabilities } from "brokerkit/driver";
import { memory } from "brokerkit/memory";
import { type AdapterHarness, defineHarness, type Harness } from "../src/index.ts";

const ANYWHERE = ["latest", "earliest", "time", "position"] as const;

/** The built-in backend with short leases, for the suite's own tests: the conforming one that mutants are made of. */
const expected: Capabilities = {
  delivery: { group: "at-least-once", broadcast: "at-least-once", groups: Number.POSITIVE_INFINITY },
  durable: false,
  durabilityOnAck: "memory",
  publish: { maxRecords: 1_000, maxBytes: 64 * 2 ** 20, inFlight: 1, order: "call" },
  settle: { unit: "message", ack: "confirmed" },
  receive: { maxRecords: 1_000, concurrency: 16, maxWaitMs: Number.POSITIVE_INFINITY },
  redelivery: { native: true, maxDelayMs: Number.POSITIVE_INFINITY, counted: "failures" },
  lease: { ms: 600, extend: true },
  hold: { maxMs: Number.POSITIVE_INFINITY, maxUnacked: Number.POSITIVE_INFINITY, scope: "shard" },
  keyOrder: "members",
  coordination: false,
  from: { group: ANYWHERE, broadcast: ANYWHERE, replay: ["earliest", "time", "position"] },
  seek: "live",
  cursorEnd: true,
  delay: { maxMs: Number.POSITIVE_INFINITY },
  ttl: { maxMs: Number.POSITIVE_INFINITY },
  priority: { levels: 10 },
  dedupe: { windowMs: 5_000 },
  groupInbox: "native",
  lag: { count: "exact", unit: "message", inFlight: true, oldest: true },
  places: { perDelivery: true, dense: true },
  topics: { explicit: true, partitions: 1_024, describe: true },
  retention: { ms: true, bytes: true, compact: true },
  message: { maxBytes: 16 * 2 ** 20, maxHeaders: 1_000, key: true, headers: true, tombstone: true },
};

export const adapter: AdapterHarness = {
  name: "memory",
  url: () => undefined,
  adapter: (site) => memory({ world: site.name, leaseMs: expected.lease.ms }),
  expected,
};

export const harness: Harness = defineHarness({ name: "memory", adapters: [adapter] });
