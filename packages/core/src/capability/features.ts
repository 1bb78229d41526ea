import type { EffectiveCapabilities } from "../capabilities.ts";
import type { Capabilities, Features, StartKind } from "../driver/capabilities.ts";
import { effectiveCapabilities } from "./effective.ts";

type Test = (c: EffectiveCapabilities) => boolean;

const FEATURES: { readonly [K in keyof Features]: Test } = {
  groups: (c) => c.delivery.group !== "none",
  replay: (c) => c.from.replay.length > 0,
  seek: (c) => c.seek !== "none",
  lag: (c) => c.lag.count !== "none",
  delay: (c) => c.delay.maxMs > 0,
  keyOrder: (c) => c.keyOrder === "members",
  atLeastOnce: (c) => c.delivery.group === "at-least-once",
};

/** The seven features by name. */
export const FEATURE_NAMES: readonly (keyof Features)[] = Object.freeze(Object.keys(FEATURES) as (keyof Features)[]);

/** What an `UNSUPPORTED` error can name: a feature, or something finer. */
export type CapabilityName =
  | keyof Features
  | `from.group.${StartKind}`
  | `from.broadcast.${StartKind}`
  | `replay.${Exclude<StartKind, "latest"> | "end"}`
  | `retention.${keyof Capabilities["retention"]}`
  | `deadLetter${"" | ".list"}`
  | `lag.${"inFlight" | "oldest"}`
  | "broadcast"
  | "broadcast.atLeastOnce"
  | "dedupe"
  | "describe"
  | "durable"
  | "extend"
  | "headers"
  | "key"
  | "keyOrder.process"
  | "nack.delay"
  | "partitions"
  | "places"
  | "priority"
  | "redrive"
  | "requeue"
  | "seek.live"
  | "tombstone"
  | "ttl";

const NAMED: { readonly [K in CapabilityName]: Test } = {
  ...FEATURES,
  broadcast: (c) => c.delivery.broadcast !== "none",
  "broadcast.atLeastOnce": (c) => c.delivery.broadcast === "at-least-once",
  durable: (c) => c.durable,
  ttl: (c) => c.ttl.maxMs > 0,
  priority: (c) => c.priority.levels > 0,
  dedupe: (c) => c.dedupe.windowMs > 0,
  key: (c) => c.message.key,
  headers: (c) => c.message.headers,
  tombstone: (c) => c.message.tombstone,
  places: (c) => c.places.perDelivery,
  "keyOrder.process": (c) => c.keyOrder !== "none",
  "from.group.latest": (c) => c.from.group.includes("latest"),
  "from.group.earliest": (c) => c.from.group.includes("earliest"),
  "from.group.time": (c) => c.from.group.includes("time"),
  "from.group.position": (c) => c.from.group.includes("position"),
  "from.broadcast.latest": (c) => c.from.broadcast.includes("latest"),
  "from.broadcast.earliest": (c) => c.from.broadcast.includes("earliest"),
  "from.broadcast.time": (c) => c.from.broadcast.includes("time"),
  "from.broadcast.position": (c) => c.from.broadcast.includes("position"),
  "replay.earliest": (c) => c.from.replay.includes("earliest"),
  "replay.time": (c) => c.from.replay.includes("time"),
  "replay.position": (c) => c.from.replay.includes("position"),
  "replay.end": (c) => c.cursorEnd,
  "seek.live": (c) => c.seek === "live",
  "lag.inFlight": (c) => c.lag.inFlight,
  "lag.oldest": (c) => c.lag.oldest,
  "nack.delay": (c) => c.supply.delayedNack !== "none",
  extend: (c) => c.supply.extend !== "none",
  requeue: (c) => c.supply.requeue !== "none",
  deadLetter: (c) => c.supply.deadLetter !== "none",
  "deadLetter.list": (c) => c.supply.deadLetterList !== "none",
  redrive: (c) => c.supply.redrive !== "none",
  partitions: (c) => c.topics.partitions > 1,
  describe: (c) => c.topics.describe,
  "retention.ms": (c) => c.retention.ms,
  "retention.bytes": (c) => c.retention.bytes,
  "retention.compact": (c) => c.retention.compact,
};

/** The boolean view of a record. */
export function featuresOf(capabilities: Capabilities): Features {
  const effective = effectiveCapabilities(capabilities);
  return Object.freeze(Object.fromEntries(FEATURE_NAMES.map((name) => [name, FEATURES[name](effective)])) as unknown as Features);
}

/** Every capability of a record by name, finer ones than features included: what `UNSUPPORTED … supportedBy` is looked up in. */
export function featureNames(capabilities: Capabilities): readonly CapabilityName[] {
  const effective = effectiveCapabilities(capabilities);
  return (Object.keys(NAMED) as CapabilityName[]).filter((name) => NAMED[name](effective));
}
