import type { Capabilities, DeliveryLevel, StartKind } from "../driver/capabilities.ts";

/** Whether `a` promises more than `b`, or something else that `b` does not. */
type Exceeds<T> = (a: T, b: T) => boolean;

// Distributive conditional types would split unions and booleans, so leaves are recognised in a tuple.
type Orders<T> = {
  readonly [K in keyof T]: [T[K]] extends [string | number | boolean | readonly unknown[]] ? Exceeds<T[K]> : Orders<T[K]>;
};

/** Levels from least to most. */
function ladder<T>(...levels: readonly T[]): Exceeds<T> {
  // A level that is not on the ladder is more than all of them: an unknown claim is never let through.
  const height = (level: T): number => (levels.includes(level) ? levels.indexOf(level) : levels.length);
  return (a, b) => height(a) > height(b);
}

const more: Exceeds<number> = (a, b) => !(a <= b);
const yes: Exceeds<boolean> = ladder(false, true);
const no: Exceeds<boolean> = ladder(true, false);
const contains: Exceeds<readonly StartKind[]> = (a, b) => a.some((kind) => !b.includes(kind));
/** A property that promises nothing: any value goes with any other. */
const any: Exceeds<unknown> = () => false;
const delivery: Exceeds<DeliveryLevel> = ladder<DeliveryLevel>("none", "at-most-once", "at-least-once");

/** The order of every field. The type makes it total: a field that is added to `Capabilities` must be added here. */
const ORDERS: Orders<Capabilities> = {
  delivery: { group: delivery, broadcast: delivery, groups: more },
  durable: yes,
  durabilityOnAck: ladder<Capabilities["durabilityOnAck"]>("none", "memory", "page-cache", "fsync", "replicated"),
  publish: { maxRecords: more, maxBytes: more, inFlight: more, order: ladder<Capabilities["publish"]["order"]>("record", "call") },
  settle: {
    unit: ladder<Capabilities["settle"]["unit"]>("prefix", "entry", "message"),
    ack: ladder<Capabilities["settle"]["ack"]>("recorded", "written", "confirmed"),
  },
  receive: { maxRecords: more, concurrency: more, maxWaitMs: more },
  redelivery: {
    native: yes,
    maxDelayMs: more,
    counted: ladder<Capabilities["redelivery"]["counted"]>("none", "deliveries", "failures"),
  },
  // Neither a long lease nor a short one is a promise, and each delivery carries its own.
  lease: { ms: any, extend: yes },
  hold: { maxMs: more, maxUnacked: more, scope: ladder<Capabilities["hold"]["scope"]>("group", "subscription", "shard") },
  keyOrder: ladder<Capabilities["keyOrder"]>("none", "process", "members"),
  coordination: yes,
  from: { group: contains, broadcast: contains, replay: contains },
  seek: ladder<Capabilities["seek"]>("none", "idle", "live"),
  cursorEnd: yes,
  delay: { maxMs: more },
  ttl: { maxMs: more },
  priority: { levels: more },
  dedupe: { windowMs: more },
  groupInbox: ladder<Capabilities["groupInbox"]>("none", "stream", "native"),
  lag: {
    count: ladder<Capabilities["lag"]["count"]>("none", "estimate", "upper-bound", "exact"),
    unit: ladder<Capabilities["lag"]["unit"]>("entry", "message"),
    inFlight: yes,
    oldest: yes,
  },
  places: { perDelivery: yes, dense: yes },
  topics: { explicit: no, partitions: more, describe: yes },
  retention: { ms: yes, bytes: yes, compact: yes },
  message: { maxBytes: more, maxHeaders: more, key: yes, headers: yes, tombstone: yes },
};

/** The paths in which `actual` claims more than `ceiling`, such as `"delay.maxMs"`; none where it is as narrow or narrower. */
export function checkNarrower(ceiling: Capabilities, actual: Capabilities): string[] {
  const paths: string[] = [];
  walk(ORDERS, actual, ceiling, "", paths);
  return paths;
}

/** The first path in which `after` promises less than `before`: what a server must not do across a reconnect. */
export function firstNarrowing(before: Capabilities, after: Capabilities): string | undefined {
  return checkNarrower(after, before)[0];
}

/** What both promise: the lesser of the two in every field. */
export function common(a: Capabilities, b: Capabilities): Capabilities {
  return meet(ORDERS, a, b) as Capabilities;
}

function meet(orders: object, a: object, b: object): object {
  const fields = Object.entries(orders).map(([field, order]) => {
    const [left, right] = [Reflect.get(a, field) as unknown, Reflect.get(b, field) as unknown];
    if (typeof order !== "function") return [field, meet(order as object, left as object, right as object)];
    if (Array.isArray(left)) return [field, left.filter((one) => (right as readonly unknown[]).includes(one))];
    return [field, (order as Exceeds<unknown>)(left, right) ? right : left];
  });
  return Object.fromEntries(fields) as object;
}

function walk(orders: object, a: object, b: object, path: string, paths: string[]): void {
  for (const [field, order] of Object.entries(orders)) {
    const here = path === "" ? field : `${path}.${field}`;
    const [left, right] = [Reflect.get(a, field) as unknown, Reflect.get(b, field) as unknown];
    if (typeof order === "function") {
      if ((order as Exceeds<unknown>)(left, right)) paths.push(here);
    } else walk(order as object, left as object, right as object, here, paths);
  }
}
