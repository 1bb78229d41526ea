// #region record
import type { Capabilities, Features } from "brokerkit/driver";

export const capabilities: { readonly shelf: Capabilities } = Object.freeze({
  shelf: Object.freeze({
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
  } satisfies Capabilities),
});

/** The boolean view, literal so that types can follow it. `connect` refuses an adapter whose two views differ. */
export const features = {
  groups: true,
  replay: false,
  seek: false,
  lag: false,
  delay: false,
  keyOrder: false, // means: among all members of a group
  atLeastOnce: true,
} as const satisfies Features;
// #endregion
