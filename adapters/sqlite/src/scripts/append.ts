import type { Client } from "../client.ts";
import type { MessageRow } from "../mapping.ts";

/** A log's row while a transaction works on it, and whom it concerns. */
export interface Log {
  readonly id: number;
  /** The topic's log: this one, or the one whose group has this inbox. */
  readonly home: number;
  /** The group that has this inbox; null for a topic. */
  readonly grp: number | null;
  last: number;
  floor: number;
  at: number;
  gone: number;
  bytes: number;
  lanes: number;
  holes: number;
  readonly keepMs: number | null;
  readonly keepBytes: number | null;
  readonly compact: number;
}

export interface NewMessage extends Pick<MessageRow, "klen" | "hlen" | "data"> {
  readonly lane: number;
  readonly published: number;
  readonly expires: number | null;
  readonly id: string;
  readonly failures: number;
}

/** What a message counts for in `retention.bytes`, beside its data: its row and index entries, about. */
export const ROW_BYTES = 64;
/** Delayed messages that join their log in one transaction at the most. */
const PROMOTE = 1_000;

const COLUMNS = "l.id, l.last, l.floor, l.at, l.gone, l.bytes, l.lanes, l.holes, l.keep_ms AS keepMs, l.keep_bytes AS keepBytes, l.compact";
const TOPIC = `SELECT ${COLUMNS}, l.id AS home, NULL AS grp FROM logs l WHERE l.topic = ?1`;
const INBOX = `SELECT ${COLUMNS}, t.id AS home, g.id AS grp FROM logs t JOIN groups g ON g.log = t.id JOIN logs l ON l.id = g.inbox
  WHERE t.topic = ?1 AND g.name = ?2`;
const BY_ID = `SELECT ${COLUMNS}, ifnull(g.log, l.id) AS home, g.id AS grp FROM logs l LEFT JOIN groups g ON g.inbox = l.id WHERE l.id = ?1`;
const SAVE = "UPDATE logs SET last = ?2, floor = ?3, at = ?4, gone = ?5, bytes = ?6, lanes = ?7, holes = ?8 WHERE id = ?1";
const INSERT = "INSERT INTO messages VALUES ((?1 << 44) + ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
const OFFER = "INSERT INTO claims VALUES (?1, (?2 << 44) + ?3, ?4, ?5, NULL, NULL, ?6, 0, ?7)";
const NEW_LANE = "INSERT OR IGNORE INTO fronts SELECT id, ?2, ?3 FROM groups WHERE log = ?1";
const LATEST = "SELECT seq FROM latest WHERE log = ?1 AND key = ?2";
const SET_LATEST = "INSERT INTO latest VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET seq = excluded.seq";
const TAKE = "DELETE FROM messages WHERE pos = (?1 << 44) + ?2 RETURNING length(data) AS size";
const DUE =
  "SELECT id AS row, lane, published, expires, message AS id, klen, hlen, data, failures FROM delayed WHERE log = ?1 AND due <= ?2 ORDER BY due, id LIMIT ?3";

/** The log of a topic, or of a group's inbox. */
export function findLog(sql: Client, topic: string, group?: string): Log | undefined {
  return group === undefined ? sql.one<Log>(TOPIC, topic) : sql.one<Log>(INBOX, topic, group);
}

export function logById(sql: Client, id: number): Log | undefined {
  return sql.one<Log>(BY_ID, id);
}

export function saveLog(sql: Client, log: Log): void {
  sql.run(SAVE, log.id, log.last, log.floor, log.at, log.gone, log.bytes, log.lanes, log.holes);
}

/** Appends at the end of a log; the caller saves the log's row. */
export function append(sql: Client, log: Log, message: NewMessage, now: number): void {
  const { lane, published, expires, id, klen, hlen, data } = message;
  if ((log.lanes & (1 << lane)) === 0) {
    log.lanes |= 1 << lane;
    sql.run(NEW_LANE, log.id, lane, log.last + 1);
  }
  const seq = ++log.last;
  log.at = Math.max(log.at, now);
  log.bytes += data.length + ROW_BYTES;
  if (expires !== null) log.holes = 1;
  sql.run(INSERT, log.id, seq, lane, log.at, published, expires, id, klen, hlen, data);
  if (log.grp !== null) sql.run(OFFER, log.grp, log.id, seq, keyOf(message), lane, now, message.failures);
  else if (log.compact === 1 && klen !== null) supersede(sql, log, data.subarray(0, klen), seq);
}

/** Compaction as it goes: a key's former message disappears when the next one is stored. */
function supersede(sql: Client, log: Log, key: Uint8Array, seq: number): void {
  const former = sql.one<{ seq: number }>(LATEST, log.id, key);
  sql.run(SET_LATEST, log.id, key, seq);
  if (former === undefined) return;
  const taken = sql.one<{ size: number }>(TAKE, log.id, former.seq);
  if (taken === undefined) return;
  log.bytes -= taken.size + ROW_BYTES;
  log.holes = 1;
}

function keyOf({ klen, data }: Pick<NewMessage, "klen" | "data">): Uint8Array | null {
  return klen === null ? null : data.subarray(0, klen);
}

/** Lets delayed messages whose time has come join their log. */
export function promote(sql: Client, id: number, now: number): void {
  const due = sql.all<NewMessage & { row: number }>(DUE, id, now, PROMOTE);
  const log = due.length === 0 ? undefined : logById(sql, id);
  if (log === undefined) return;
  for (const message of due) {
    append(sql, log, message, now);
    sql.run("DELETE FROM delayed WHERE id = ?1", message.row);
  }
  saveLog(sql, log);
  sql.changed(log.home);
}
