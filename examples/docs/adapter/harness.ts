// #region harness
import { type AdapterHarness, defineHarness, type Harness } from "@brokerkit/conformance";
import type { Capabilities } from "brokerkit/driver";
import { shelf } from "./index.ts";

/** What the suite expects the driver to declare, written down here by hand: declaring less later must not go unnoticed. */
const expected: Capabilities = {
  delivery: { group: "at-least-once", broadcast: "none", groups: Number.POSITIVE_INFINITY },
  durable: false,
  durabilityOnAck: "memory",
  publish: { maxRecords: 100, maxBytes: 1_048_576, inFlight: 1, order: "call" },
  settle: { unit: "message", ack: "confirmed" },
  receive: { maxRecords: 100, concurrency: 1, maxWaitMs: 30_000 },
  redelivery: { native: false, maxDelayMs: 0, counted: "none" },
  lease: { ms: 0, extend: false },
  hold: { maxMs: Number.POSITIVE_INFINITY, maxUnacked: 1_000, scope: "subscription" },
  keyOrder: "process",
  coordination: false,
  from: { group: ["latest"], broadcast: [], replay: [] },
  seek: "none",
  cursorEnd: false,
  delay: { maxMs: 0 },
  ttl: { maxMs: 0 },
  priority: { levels: 0 },
  dedupe: { windowMs: 0 },
  groupInbox: "none",
  lag: { count: "none", unit: "message", inFlight: false, oldest: false },
  places: { perDelivery: false, dense: false },
  topics: { explicit: true, partitions: 1, describe: true },
  retention: { ms: false, bytes: false, compact: false },
  message: { maxBytes: 1_048_576, maxHeaders: 100, key: true, headers: true, tombstone: true },
};

const adapter: AdapterHarness = {
  name: "shelf",
  url: () => undefined, // a shelf lies in one process, so no second one can share it
  adapter: (site) => shelf({ name: site.name }),
  expected,
};

export const harness: Harness = defineHarness({ name: "shelf", adapters: [adapter] });
// #endregion
