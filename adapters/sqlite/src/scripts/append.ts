import type { Client } from "../client.ts";
import type { Packed } from "../mapping.ts";

/** A log's row while a transaction works on it. `home`: its topic's log; `grp`: the group whose inbox it is, null for a topic. */
export type Log = Record<"id" | "home" | "last" | "floor" | "at" | "gone" | "bytes" | "sparse" | "compact", number> &
  Readonly<Record<"grp" | "keepMs" | "keepBytes", number | null>>;

export type NewMessage = Packed & Readonly<{ lane: number; published: number; expires: number | null; id: string; failures: number }>;

/** What a message counts for in `retention.bytes` beside its data: its row and index entries, about. */
export const ROW_BYTES = 64;

const TOPIC = "SELECT *, id AS home, NULL AS grp FROM logs WHERE topic = ?1";
const INBOX = `SELECT l.*, t.id AS home, g.id AS grp FROM logs t JOIN groups g ON g.log = t.id JOIN logs l ON l.id = g.inbox
  WHERE t.topic = ?1 AND g.name = ?2`;
const SAVE = "UPDATE logs SET last = ?2, floor = ?3, at = ?4, gone = ?5, bytes = ?6, sparse = ?7 WHERE id = ?1";
const INSERT = "INSERT INTO messages VALUES ((?1 << 44) + ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
const OFFER = "INSERT INTO claims VALUES (?1, (?2 << 44) + ?3, ?4, ?5, NULL, NULL, ?6, 0, ?7)";
const OFFER_ALL = "INSERT INTO claims SELECT id, (?1 << 44) + ?2, NULL, ?3, NULL, NULL, ?4, 0, 0 FROM groups WHERE log = ?1";
const LATEST = "INSERT INTO latest VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET seq = excluded.seq";
const FORMER = `DELETE FROM messages WHERE pos = (?1 << 44) + (SELECT seq FROM latest WHERE log = ?1 AND key = ?2) RETURNING length(data) AS size`;
const DUE = "SELECT * FROM delayed WHERE log = ?1 AND due <= ?2 ORDER BY due, row LIMIT 1000";

/** The log of a topic, or of a group's inbox. */
export function findLog(sql: Client, topic: string, group?: string): Log | undefined {
  return group === undefined ? sql.one<Log>(TOPIC, topic) : sql.one<Log>(INBOX, topic, group);
}

export function saveLog(sql: Client, { id, last, floor, at, gone, bytes, sparse }: Log): void {
  sql.run(SAVE, id, last, floor, at, gone, bytes, sparse);
}

/** Appends at the end of a log; the caller saves the log's row. An inbox's message, or an urgent one, is offered at once. */
export function append(sql: Client, log: Log, { lane, published, expires, id, klen, hlen, data, failures }: NewMessage, now: number): void {
  const seq = ++log.last;
  const key = klen === null ? null : data.subarray(0, klen);
  log.at = Math.max(log.at, now);
  log.bytes += data.length + ROW_BYTES;
  if (expires !== null || lane > 0) log.sparse = 1;
  if (log.compact === 1 && key !== null) {
    // Compaction as it goes: a key's former message disappears as the next is stored.
    const former = sql.one<{ size: number }>(FORMER, log.id, key);
    if (former !== undefined) log.bytes -= former.size + ROW_BYTES;
    if (former !== undefined) log.sparse = 1;
    sql.run(LATEST, log.id, key, seq);
  }
  sql.run(INSERT, log.id, seq, lane, log.at, published, expires, id, klen, hlen, data);
  if (log.grp !== null) sql.run(OFFER, log.grp, log.id, seq, key, lane, now, failures);
  else if (lane > 0) sql.run(OFFER_ALL, log.id, seq, lane, now);
}

/** Lets delayed messages whose time has come join their log, and saves it. */
export function promote(sql: Client, log: Log, now: number): void {
  const due = sql.all<NewMessage & { row: number }>(DUE, log.id, now);
  for (const message of due) {
    append(sql, log, message, now);
    sql.run("DELETE FROM delayed WHERE row = ?1", message.row);
  }
  if (due.length > 0) saveLog(sql, log);
  if (due.length > 0) sql.changed(log.home);
}
