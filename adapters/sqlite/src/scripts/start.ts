import type { WireStart } from "brokerkit/driver";
import type { Client } from "../client.ts";
import { seqOf } from "../mapping.ts";
import type { Log } from "./append.ts";
import { SEQ, SEQ_MASK } from "./schema.ts";

const AT_OR_AFTER = `SELECT ${SEQ} AS seq, at FROM messages WHERE pos BETWEEN (?1 << 44) + ?2 AND (?1 << 44) + ${SEQ_MASK} ORDER BY pos LIMIT 1`;

/** Where a reader begins: the first seq it gets, and the seqs before `floor` that it should have had but that retention took. */
export interface Beginning {
  readonly next: number;
  /** `missing` is undefined where some of them may have been gone for other reasons. */
  readonly loss: { readonly first: number | null; readonly last: number; readonly missing: number | null } | undefined;
}

/**
 * Resolves a start within a log. Time is the time at which a message was stored, which never falls within a log, so a search by halves
 * finds it. A position beyond the end, from a topic that was deleted and made again, is the end.
 */
export function beginning(sql: Client, log: Log, start: WireStart): Beginning {
  const last = log.floor - 1;
  if (start.kind === "latest") return { next: log.last + 1, loss: undefined };
  if (start.kind === "earliest") return { next: log.floor, loss: undefined };
  if (start.kind === "time") {
    const loss = log.gone >= start.ms ? { first: null, last, missing: null } : undefined;
    return { next: firstSince(sql, log, start.ms), loss };
  }
  const next = Math.min(seqOf(start.cut), log.last) + 1;
  if (next >= log.floor) return { next, loss: undefined };
  return { next: log.floor, loss: { first: next, last, missing: log.holes === 1 ? null : log.floor - next } };
}

/** The first seq that was stored at `ms` or later; one more than the newest if there is none. */
export function firstSince(sql: Client, log: Log, ms: number): number {
  let [low, high] = [log.floor, log.last + 1];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const row = sql.one<{ seq: number; at: number }>(AT_OR_AFTER, log.id, middle);
    if (row === undefined || row.at >= ms) high = middle;
    else low = row.seq + 1;
  }
  return low;
}
