import type { Client } from "../client.ts";
import { type Log, ROW_BYTES } from "./append.ts";
import { unpark } from "./claim.ts";
import { SEQ, SEQ_MASK } from "./schema.ts";

const OLDEST = `SELECT ${SEQ} AS seq, at, length(data) AS size FROM messages
  WHERE pos BETWEEN (?1 << 44) + ?2 AND (?1 << 44) + ${SEQ_MASK} ORDER BY pos LIMIT ?3`;
const GROUPS = "SELECT id FROM groups WHERE log = ?1";
const UNREAD = `SELECT count(*) AS missing, min(${SEQ}) AS first, max(${SEQ}) AS last FROM messages m
  WHERE m.pos BETWEEN (?2 << 44) + ?3 AND (?2 << 44) + ?4 AND (m.expires IS NULL OR m.expires > ?5)
  AND (m.${SEQ}) >= (SELECT next FROM fronts f WHERE f.grp = ?1 AND f.lane = m.lane)`;
const UNSETTLED = `DELETE FROM claims WHERE grp = ?1 AND pos BETWEEN (?2 << 44) + ?3 AND (?2 << 44) + ?4 AND owner IS NULL
  RETURNING ${SEQ} AS seq, key`;
const LOSE = `INSERT INTO losses VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET
  first = min(first, excluded.first), last = max(last, excluded.last), missing = missing + excluded.missing`;
const FORGET = "DELETE FROM messages WHERE pos BETWEEN (?1 << 44) + ?2 AND (?1 << 44) + ?3";
const EXPIRED = `DELETE FROM messages WHERE pos IN (SELECT pos FROM messages WHERE expires <= ?1 LIMIT ?2)
  RETURNING pos >> 44 AS log, length(data) AS size`;
const LIGHTER = "UPDATE logs SET bytes = bytes - ?2 WHERE id = ?1";
const NTH_ID = "SELECT log, id FROM dedupe WHERE (log, id) > (?1, ?2) ORDER BY log, id LIMIT 1 OFFSET ?3";
const FORGET_IDS = "DELETE FROM dedupe WHERE (log, id) > (?1, ?2) AND (log, id) <= (?3, ?4) AND expires <= ?5";
const OF_LOG = [
  `DELETE FROM messages WHERE pos IN (SELECT pos FROM messages WHERE pos BETWEEN (?1 << 44) AND (?1 << 44) + ${SEQ_MASK} LIMIT ?2)`,
  "DELETE FROM dedupe WHERE log = ?1 AND id IN (SELECT id FROM dedupe WHERE log = ?1 LIMIT ?2)",
  "DELETE FROM latest WHERE log = ?1 AND key IN (SELECT key FROM latest WHERE log = ?1 LIMIT ?2)",
  "DELETE FROM delayed WHERE id IN (SELECT id FROM delayed WHERE log = ?1 LIMIT ?2)",
];

/** Notes that a group was not given messages that are gone; its next reader is told. */
export function lose(sql: Client, group: number, first: number | null, last: number, missing: number | null): void {
  sql.run(LOSE, group, first, last, missing);
}

/**
 * Takes what is over the topic's retention, oldest first, at most `most` messages; true if there may be more. Changes `log`, which the
 * caller saves. The newest message is kept whatever its size. What is handed out at the moment stays with its receiver.
 */
export function trim(sql: Client, log: Log, now: number, most: number): boolean {
  if (log.keepMs === null && log.keepBytes === null) return false;
  const before = log.keepMs === null ? Number.NEGATIVE_INFINITY : now - log.keepMs;
  const limit = log.keepBytes ?? Number.POSITIVE_INFINITY;
  let bytes = log.bytes;
  let to = 0;
  const rows = sql.all<{ seq: number; at: number; size: number }>(OLDEST, log.id, log.floor, most);
  for (const { seq, at, size } of rows) {
    if (at > before && (bytes <= limit || seq === log.last)) break;
    bytes -= size + ROW_BYTES;
    log.gone = at;
    to = seq;
  }
  if (to === 0) return false;
  forget(sql, log, to, now);
  log.bytes = bytes;
  return to === rows.at(-1)?.seq;
}

/** Removes a log's messages up to `to`, and notes each group's loss. */
export function forget(sql: Client, log: Log, to: number, now: number): void {
  for (const { id } of sql.all<{ id: number }>(GROUPS, log.id)) {
    const unread = sql.one<{ missing: number; first: number; last: number }>(UNREAD, id, log.id, log.floor, to, now);
    if (unread !== undefined && unread.missing > 0) lose(sql, id, unread.first, unread.last, unread.missing);
    const unsettled = sql.all<{ seq: number; key: Uint8Array | null }>(UNSETTLED, id, log.id, log.floor, to);
    if (unsettled.length === 0) continue;
    const seqs = unsettled.map(({ seq }) => seq);
    lose(sql, id, Math.min(...seqs), Math.max(...seqs), seqs.length);
    unpark(
      sql,
      id,
      unsettled.map(({ key }) => key),
    );
  }
  sql.run(FORGET, log.id, log.floor, to);
  log.floor = to + 1;
  sql.changed(log.home);
}

/** Removes messages whose time to live is over. They are handed out no more in any case: this frees their space. */
export function removeExpired(sql: Client, now: number, most: number): void {
  const sizes = new Map<number, number>();
  for (const { log, size } of sql.all<{ log: number; size: number }>(EXPIRED, now, most)) {
    sizes.set(log, (sizes.get(log) ?? 0) + size + ROW_BYTES);
  }
  for (const [log, size] of sizes) sql.run(LIGHTER, log, size);
}

export interface DedupePoint {
  readonly log: number;
  readonly id: string;
}

/** Forgets ids whose window is over among the next `most`, and answers where to go on: round and round, a little with each publish. */
export function sweepIds(sql: Client, from: DedupePoint, now: number, most: number): DedupePoint {
  const to = sql.one<DedupePoint>(NTH_ID, from.log, from.id, most);
  sql.run(FORGET_IDS, from.log, from.id, to?.log ?? Number.MAX_SAFE_INTEGER, to?.id ?? "", now);
  return to ?? { log: 0, id: "" };
}

/** Removes some of what deleted topics and groups have left; false once nothing is left. */
export function removeGarbage(sql: Client, most: number): boolean {
  const garbage = sql.one<{ log: number }>("SELECT log FROM garbage LIMIT 1");
  if (garbage === undefined) return false;
  for (const remove of OF_LOG) if (sql.run(remove, garbage.log, most) > 0) return true;
  sql.run("DELETE FROM garbage WHERE log = ?1", garbage.log);
  return true;
}
