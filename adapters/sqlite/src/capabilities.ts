import type { Capabilities, Features } from "brokerkit/driver";
import { DAY_MS } from "./options.ts";

function deepFreeze<T extends object>(value: T): T {
  for (const child of Object.values(value)) if (typeof child === "object" && child !== null) deepFreeze(child);
  return Object.freeze(value);
}

const ANYWHERE = ["latest", "earliest", "time", "position"] as const;

/** What the adapter does at most, without options; `connect` answers what the options have left of it. */
export const capabilities: Readonly<Record<"sqlite", Capabilities>> = deepFreeze({
  sqlite: {
    delivery: { group: "at-least-once", broadcast: "at-least-once", groups: Number.POSITIVE_INFINITY },
    durable: true,
    durabilityOnAck: "fsync",
    publish: { maxRecords: 1_000, maxBytes: 32 * 2 ** 20, inFlight: 2, order: "call" },
    settle: { unit: "message", ack: "confirmed" },
    receive: { maxRecords: 1_000, concurrency: 1, maxWaitMs: 60_000 },
    redelivery: { native: true, maxDelayMs: Number.POSITIVE_INFINITY, counted: "failures" },
    lease: { ms: 30_000, extend: true },
    hold: { maxMs: Number.POSITIVE_INFINITY, maxUnacked: 10_000, scope: "subscription" },
    keyOrder: "members",
    coordination: false,
    from: { group: ANYWHERE, broadcast: ANYWHERE, replay: ["earliest", "time", "position"] },
    seek: "live",
    cursorEnd: true,
    delay: { maxMs: Number.POSITIVE_INFINITY },
    ttl: { maxMs: Number.POSITIVE_INFINITY },
    priority: { levels: 10 },
    dedupe: { windowMs: DAY_MS },
    groupInbox: "native",
    lag: { count: "exact", unit: "message", inFlight: true, oldest: true },
    places: { perDelivery: true, dense: true },
    topics: { explicit: true, partitions: 1, describe: true },
    retention: { ms: true, bytes: true, compact: true },
    message: { maxBytes: 16 * 2 ** 20, maxHeaders: 1_000, key: true, headers: true, tombstone: true },
  },
});

type Everything = { readonly [K in keyof Features]: true };

/** The boolean view of the record above; literal, so that types know it. */
export const features: Everything = Object.freeze({
  groups: true,
  replay: true,
  seek: true,
  lag: true,
  delay: true,
  keyOrder: true,
  atLeastOnce: true,
});
