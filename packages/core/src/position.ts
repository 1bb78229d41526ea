import type { Cut, Place } from "./driver/wire.ts";
import { invalidArgument } from "./errors.ts";

declare const brand: unique symbol;
/** A cut over all shards of a topic, tagged with its adapter: save it, compare it, start from it. Opaque text. */
export type Position = string & { readonly [brand]: "Position" };

/** Where a reader starts. */
export type Start = "latest" | "earliest" | Date | Position;

interface Decoded {
  readonly adapter: string;
  readonly topic: string;
  readonly cut: Cut;
}

const VERSION = 1;
// No leading zeros: places are compared as digit strings.
const PLACE = /^[A-Za-z0-9_-]+:(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))*$/;

export function encodePosition(adapter: string, topic: string, cut: Cut): Position {
  const places = [...cut.values()].sort();
  return Buffer.from(JSON.stringify([VERSION, adapter, topic, ...places])).toString("base64url") as Position;
}

/** Reads a position back; throws `INVALID_ARGUMENT` for text that is none. */
export function decodePosition(position: string): Decoded {
  const parts = read(position);
  const [version, adapter, topic, ...places] = parts;
  if (version !== VERSION || typeof adapter !== "string" || typeof topic !== "string") throw notAPosition();
  const cut = new Map<string, Place>();
  for (const place of places) {
    if (typeof place !== "string" || !PLACE.test(place)) throw notAPosition();
    const shard = shardOf(place as Place);
    if (cut.has(shard)) throw notAPosition();
    cut.set(shard, place as Place);
  }
  return { adapter, topic, cut };
}

function read(position: string): readonly unknown[] {
  try {
    const value: unknown = JSON.parse(Buffer.from(position, "base64url").toString("utf8"));
    if (Array.isArray(value)) return value;
  } catch {
    // Falls through: any unreadable text gets the same answer.
  }
  throw notAPosition();
}

function notAPosition(): Error {
  return invalidArgument("position", "That text is no position. Use what replay.position(), replay.end or group.position() gave.");
}

/** Checks text that was saved earlier and gives it its type back. Throws `INVALID_ARGUMENT`. */
export function parsePosition(text: string): Position {
  decodePosition(text);
  return text as Position;
}

/** −1: `a` is before `b`. 0: the same cut. 1: after. `undefined`: neither, or of different topics or adapters. */
export function comparePositions(a: Position, b: Position): -1 | 0 | 1 | undefined {
  const left = decodePosition(a);
  const right = decodePosition(b);
  if (left.adapter !== right.adapter || left.topic !== right.topic) return undefined;
  let sign: -1 | 0 | 1 = 0;
  for (const shard of new Set([...left.cut.keys(), ...right.cut.keys()])) {
    const next = comparePlaces(left.cut.get(shard), right.cut.get(shard));
    if (next === 0) continue;
    if (sign !== 0 && next !== sign) return undefined;
    sign = next;
  }
  return sign;
}

export function shardOf(place: Place): string {
  return place.slice(0, place.indexOf(":"));
}

/** Compares two places of one shard; a missing one is before everything. */
export function comparePlaces(a: Place | undefined, b: Place | undefined): -1 | 0 | 1 {
  if (a === b) return 0;
  if (a === undefined) return -1;
  if (b === undefined) return 1;
  const left = a.slice(a.indexOf(":") + 1).split(".");
  const right = b.slice(b.indexOf(":") + 1).split(".");
  for (let n = 0; n < Math.max(left.length, right.length); n++) {
    const x = left[n];
    const y = right[n];
    if (x === undefined) return -1;
    if (y === undefined) return 1;
    // Digit strings, not numbers: a sequence may exceed 2^53.
    if (x.length !== y.length) return x.length < y.length ? -1 : 1;
    if (x !== y) return x < y ? -1 : 1;
  }
  return 0;
}
