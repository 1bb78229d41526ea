import type { Client } from "../client.ts";
import { type Log, ROW_BYTES } from "./append.ts";
import { SEQ_MASK } from "./schema.ts";

const OLDEST = `SELECT pos & ${SEQ_MASK} AS seq, at, length(data) AS size FROM messages
  WHERE pos BETWEEN (?1 << 44) + ?2 AND (?1 << 44) + ${SEQ_MASK} ORDER BY pos LIMIT ?3`;
const RANGE = "pos BETWEEN (?1 << 44) + ?2 AND (?1 << 44) + ?3";
// What each group still has before it of the messages that go. What it has claims for is found missing when it is to be handed out again.
const LOSE = `INSERT INTO losses SELECT g.id, min(m.pos) & ${SEQ_MASK}, max(m.pos) & ${SEQ_MASK}, count(*) FROM groups g
  JOIN messages m ON m.${RANGE} AND m.pos >= (?1 << 44) + g.next AND m.lane = 0 AND (m.expires IS NULL OR m.expires > ?4)
  WHERE g.log = ?1 AND g.next <= ?3 GROUP BY g.id ON CONFLICT DO UPDATE SET
  first = min(first, excluded.first), last = max(last, excluded.last), missing = missing + excluded.missing`;
const DROP = `DELETE FROM messages WHERE ${RANGE}`;
const ANYTHING = "SELECT EXISTS (SELECT 1 FROM messages WHERE expires <= ?1) OR EXISTS (SELECT 1 FROM dedupe WHERE expires <= ?1) AS found";
const EXPIRED = "(SELECT pos, data FROM messages WHERE expires <= ?1 ORDER BY expires, pos LIMIT ?2)";
const LIGHTEN = `UPDATE logs SET bytes = bytes - gone.size
  FROM (SELECT pos >> 44 AS log, sum(length(data) + ${ROW_BYTES}) AS size FROM ${EXPIRED} GROUP BY 1) AS gone WHERE id = gone.log`;
const FORGET_IDS = "DELETE FROM dedupe WHERE (log, id) IN (SELECT log, id FROM dedupe WHERE expires <= ?1 LIMIT ?2)";

/**
 * Takes what is over the topic's retention, oldest first, at most `most` messages; true if there may be more. Changes `log`, which the
 * caller saves. The newest message stays whatever its size. What is handed out at the moment stays with its receiver.
 */
export function trim(sql: Client, log: Log, now: number, most: number): boolean {
  if (log.keepMs === null && log.keepBytes === null) return false;
  const before = log.keepMs === null ? Number.NEGATIVE_INFINITY : now - log.keepMs;
  let to = 0;
  for (const { seq, at, size } of sql.all<{ seq: number; at: number; size: number }>(OLDEST, log.id, log.floor, most)) {
    if (at > before && (log.bytes <= (log.keepBytes ?? Number.POSITIVE_INFINITY) || seq === log.last)) break;
    log.bytes -= size + ROW_BYTES;
    log.gone = at;
    to = seq;
  }
  if (to > 0) forget(sql, log, to, now);
  return to > 0;
}

/** Removes a log's messages up to `to`, and notes each group's loss. */
export function forget(sql: Client, log: Log, to: number, now: number): void {
  sql.run(LOSE, log.id, log.floor, to, now);
  sql.run(DROP, log.id, log.floor, to);
  log.floor = to + 1;
  sql.changed(log.home);
}

/** Frees the space of expired messages, which are handed out no more in any case, and of ids whose window is over. */
export function sweep(sql: Client, now: number, most: number): void {
  if (sql.one<{ found: number }>(ANYTHING, now)?.found === 0) return;
  sql.run(LIGHTEN, now, most);
  sql.run(`DELETE FROM messages WHERE pos IN (SELECT pos FROM ${EXPIRED})`, now, most);
  sql.run(FORGET_IDS, now, most);
}
