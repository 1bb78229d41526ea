import type { Cut, Place, ShardId, WireStart } from "brokerkit/driver";

/** The one shard of a topic, and the group's inbox, which is read beside it. */
export const MAIN: ShardId = "0";
export const RETRY: ShardId = "retry";

const LAST_SEQ = "18446744073709551615";
/** Behind every id that a server gives. */
export const BEYOND: string = `${Number.MAX_SAFE_INTEGER}-${LAST_SEQ}`;

/** `1763735000000-4` ⇄ `0:1763735000000.4`. */
export function placeOf(shard: ShardId, id: string): Place {
  return `${shard}:${id.replace("-", ".")}` as Place;
}

export function cutAt(id: string): Cut {
  return id === "0-0" || id === "" ? new Map() : new Map([[MAIN, placeOf(MAIN, id)]]);
}

/** The id behind which a reader starts. Times are compared with ids, which carry the server's time of storing. */
export function startId(start: WireStart): string {
  if (start.kind === "latest") return BEYOND;
  if (start.kind === "time") return `${Math.max(1, Math.ceil(start.ms)) - 1}-${LAST_SEQ}`;
  const place = start.kind === "position" ? start.cut.get(MAIN) : undefined;
  if (place === undefined) return "0-0";
  const [ms, seq = "0"] = place.slice(MAIN.length + 1).split(".");
  return `${ms}-${seq}`;
}

/** Whether the start names what should be there, so that a hole behind it is a loss; "earliest" is what is there now. */
export function namesMessages(start: WireStart): boolean {
  return start.kind === "time" || start.kind === "position";
}

/** −1, 0, 1. Ids are compared by their numbers; those of one length and one time as text. */
export function compareIds(a: string, b: string): number {
  if (a === b) return 0;
  const x = a.indexOf("-");
  const y = b.indexOf("-");
  if (x !== y) return x < y ? -1 : 1;
  if (a.length === b.length || a.slice(0, x) !== b.slice(0, y)) return a < b ? -1 : 1;
  return a.length < b.length ? -1 : 1;
}

export function timeOf(id: string): number {
  return Number(id.slice(0, id.indexOf("-")));
}
