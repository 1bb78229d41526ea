import type { Shard } from "brokerkit/driver";
import type { Client } from "../client.ts";
import { type Handed, handOut, MESSAGE, type MessageRow } from "../mapping.ts";

const READ = `SELECT ${MESSAGE} FROM messages m
  WHERE m.pos BETWEEN (?1 << 44) + ?2 AND (?1 << 44) + ?3 AND (m.expires IS NULL OR m.expires > ?4) ORDER BY m.pos LIMIT ?5`;
const NEXT_DELAYED = "SELECT min(due) AS due FROM delayed WHERE log = ?1";
/** Bytes after which a read ends. */
const BYTES = 8 * 2 ** 20;

/** Up to `max` messages from `next` to `end`, and where to read on. */
export function readLog(sql: Client, log: number, shard: Shard, next: number, end: number, max: number): { found: Handed[]; next: number } {
  const found: Handed[] = [];
  let bytes = 0;
  for (const row of sql.each<MessageRow>(READ, log, next, end, sql.now(), max)) {
    found.push(handOut(row, { shard, log, token: 0, leaseUntil: Number.POSITIVE_INFINITY }, 1, 0));
    bytes += row.data.length;
    if (bytes >= BYTES) break;
  }
  // Unless a bound ended it, all up to `end` has been seen: what is missing has expired or was compacted away.
  const bounded = found.length >= max || bytes >= BYTES;
  return { found, next: bounded ? (found.at(-1)?.seq ?? next - 1) + 1 : end + 1 };
}

/** When the next delayed message of a log is due. */
export function nextDelayed(sql: Client, log: number): number {
  return sql.one<{ due: number | null }>(NEXT_DELAYED, log)?.due ?? Number.POSITIVE_INFINITY;
}
