import type { SubscriptionEvents, WireStart } from "brokerkit/driver";
import type { Client } from "../client.ts";
import { placeOf, seqOf, TOPIC_SHARD } from "../mapping.ts";
import type { Log } from "./append.ts";
import { SEQ_MASK } from "./schema.ts";

const NEXT_AT = `SELECT pos & ${SEQ_MASK} AS seq, at FROM messages WHERE pos BETWEEN (?1 << 44) + ?2 AND (?1 << 44) + ${SEQ_MASK} ORDER BY pos LIMIT 1`;

/** What retention took before a reader had it. `first` and `missing` are null where they can't be known. */
export type Loss = { readonly first: number | null; readonly last: number; readonly missing: number | null };

export function tellLoss(events: Pick<SubscriptionEvents, "dataLoss">, { first, last, missing }: Loss): void {
  const from = first === null ? undefined : placeOf(TOPIC_SHARD, first);
  events.dataLoss(TOPIC_SHARD, from, placeOf(TOPIC_SHARD, last), missing ?? undefined);
}

/**
 * The seq at which a start begins, and what retention took of what comes after it. A position beyond the end, from a topic that was
 * deleted and made again, is the end.
 */
export function beginning(sql: Client, log: Log, start: WireStart): { next: number; loss?: Loss } {
  const { floor, last, gone, sparse } = log;
  if (start.kind === "latest") return { next: last + 1 };
  if (start.kind === "earliest") return { next: floor };
  if (start.kind === "time") {
    const next = firstSince(sql, log, start.ms);
    return gone >= start.ms ? { next, loss: { first: null, last: floor - 1, missing: null } } : { next };
  }
  const next = Math.min(seqOf(start.cut), last) + 1;
  return next >= floor ? { next } : { next: floor, loss: { first: next, last: floor - 1, missing: sparse === 1 ? null : floor - next } };
}

/** The first seq that was stored at `ms` or later: times never fall within a log, so halving finds it. */
function firstSince(sql: Client, log: Log, ms: number): number {
  let [low, high] = [log.floor, log.last + 1];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const row = sql.one<{ seq: number; at: number }>(NEXT_AT, log.id, middle);
    if (row === undefined || row.at >= ms) high = middle;
    else low = row.seq + 1;
  }
  return low;
}

/** The last seq that a bound lets through: a position includes its place, a time is exclusive. */
export function lastBefore(sql: Client, log: Log, to: WireStart): number {
  return to.kind === "position" ? seqOf(to.cut) : beginning(sql, log, to).next - 1;
}
