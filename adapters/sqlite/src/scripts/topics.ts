import { driverError, type Retention, type TopicInfo, type WireLag, type WireStart } from "brokerkit/driver";
import type { Client } from "../client.ts";
import { notFound } from "../errors.ts";
import { findLog, type Log, promote, saveLog } from "./append.ts";
import { trim } from "./retention.ts";
import { MAX_LOG, SEQ_MASK } from "./schema.ts";
import { beginning } from "./start.ts";

export type GroupRow = Readonly<Record<"id" | "log" | "inbox" | "next" | "epoch", number>>;

const OF_LOG = `pos BETWEEN (?1 << 44) AND (?1 << 44) + ${SEQ_MASK}`;
const GROUP = "SELECT * FROM groups WHERE log = ?1 AND name = ?2";
const NEW_LOG = "INSERT INTO logs (topic, keepMs, keepBytes, compact) VALUES (?1, ?2, ?3, ?4) RETURNING id";
const NEW_GROUP = "INSERT INTO groups (log, name, inbox, next) VALUES (?1, ?2, ?3, 0) RETURNING *";
const SET_NEXT = "UPDATE groups SET next = ?2 WHERE id = ?1";
const SET_LOSS = "INSERT OR REPLACE INTO losses VALUES (?1, ?2, ?3, ?4)";
const OFFER_URGENT = `INSERT INTO claims SELECT ?2, pos, NULL, lane, NULL, NULL, 0, 0, 0 FROM messages WHERE ${OF_LOG} AND lane > 0 AND pos >= (?1 << 44) + ?3`;
const UNREAD = `FROM messages m WHERE m.pos BETWEEN (?1 << 44) + ?2 AND (?1 << 44) + ${SEQ_MASK} AND m.lane = 0 AND (m.expires IS NULL OR m.expires > ?3)`;
const FIRST_CLAIM = `SELECT min(pos) & ${SEQ_MASK} AS seq FROM claims WHERE ${OF_LOG} AND grp = ?2`;
const CLAIMED = `SELECT count(*) AS n, ifnull(sum(c.owner IS NOT NULL AND c.due > ?2), 0) AS inFlight, min(m.published) AS oldest
  FROM claims c LEFT JOIN messages m ON m.pos = c.pos
  WHERE c.grp = ?1 AND (c.owner IS NOT NULL OR (m.pos IS NOT NULL AND (m.expires IS NULL OR m.expires > ?2)))`;
const DELAYED = "SELECT count(*) AS n, min(published) AS oldest FROM delayed WHERE log IN (?1, ?2)";
/** Rows that one transaction of upkeep removes at the most, so that nobody waits long for it. */
const PIECE = 1_000;
const DELETED = "SELECT id FROM logs WHERE topic IS NULL AND id NOT IN (SELECT inbox FROM groups) LIMIT 1";
const REMAINS = [
  `DELETE FROM messages WHERE pos IN (SELECT pos FROM messages WHERE ${OF_LOG} LIMIT ${PIECE})`,
  `DELETE FROM dedupe WHERE (log, id) IN (SELECT log, id FROM dedupe WHERE log = ?1 LIMIT ${PIECE})`,
  `DELETE FROM latest WHERE (log, key) IN (SELECT log, key FROM latest WHERE log = ?1 LIMIT ${PIECE})`,
  "DELETE FROM delayed WHERE log = ?1",
  "DELETE FROM logs WHERE id = ?1",
];

/** Makes a topic unless it is there. */
export function ensureTopic(sql: Client, topic: string, retention: Retention | undefined): "created" | "existing" {
  if (findLog(sql, topic) !== undefined) return "existing";
  newLog(sql, topic, retention);
  return "created";
}

/** Makes a group unless it is there, in the caller's transaction. */
export function ensureGroup(sql: Client, topic: string, name: string, from: WireStart): { group: GroupRow; created: boolean } {
  const log = topicLog(sql, topic);
  const found = sql.one<GroupRow>(GROUP, log.id, name);
  if (found !== undefined) return { group: found, created: false };
  const group = sql.one<GroupRow>(NEW_GROUP, log.id, name, newLog(sql, null)) as GroupRow;
  place(sql, log, group.id, from);
  return { group, created: true };
}

/** Puts a group at a start, and notes what it will not get. */
function place(sql: Client, log: Log, group: number, to: WireStart): void {
  const { next, loss } = beginning(sql, log, to);
  sql.run(SET_NEXT, group, next);
  sql.run(OFFER_URGENT, log.id, group, next);
  if (loss !== undefined) sql.run(SET_LOSS, group, loss.first, loss.last, loss.missing);
}

function newLog(
  sql: Client,
  topic: string | null,
  { ms = null, bytes = null, compact = false }: { [K in keyof Retention]: Retention[K] | null } = {},
): number {
  const id = sql.one<{ id: number }>(NEW_LOG, topic, ms, bytes, compact ? 1 : 0)?.id ?? 0;
  if (id > MAX_LOG)
    throw driverError("QUOTA_EXCEEDED", `[sqlite] This file has had ${MAX_LOG} topics and groups, which is all it can have.`);
  return id;
}

/** A topic's log, with what is due in it and without what is past its retention. */
export function topicLog(sql: Client, topic: string): Log {
  const log = findLog(sql, topic);
  if (log === undefined) throw notFound(topic);
  promote(sql, log, sql.now());
  while (trim(sql, log, sql.now(), PIECE));
  saveLog(sql, log);
  return log;
}

export function findGroup(sql: Client, log: Log, topic: string, name: string): GroupRow {
  const group = sql.one<GroupRow>(GROUP, log.id, name);
  if (group === undefined) throw notFound(topic, name);
  return group;
}

/** The names are gone at once, the space piece by piece. */
function forget(sql: Client, logs: readonly number[], groups: readonly GroupRow[]): void {
  for (const { id } of groups) {
    for (const where of ["claims WHERE grp", "losses WHERE grp", "groups WHERE id"]) sql.run(`DELETE FROM ${where} = ?1`, id);
  }
  for (const id of logs) sql.run("UPDATE logs SET topic = NULL WHERE id = ?1", id);
}

export function describeTopic(sql: Client, topic: string): TopicInfo | undefined {
  const log = findLog(sql, topic);
  if (log === undefined) return undefined;
  const groups = sql.all<{ name: string }>("SELECT name FROM groups WHERE log = ?1 ORDER BY name", log.id);
  const retention = { ms: log.keepMs ?? undefined, bytes: log.keepBytes ?? undefined, compact: log.compact === 1 };
  return { partitions: 1, retention, groups: groups.map(({ name }) => name) };
}

/** Deletes a topic with its groups. */
export function deleteTopic(sql: Client, topic: string): void {
  const log = findLog(sql, topic);
  if (log === undefined) return;
  forget(sql, [log.id], sql.all<GroupRow>("SELECT * FROM groups WHERE log = ?1", log.id));
  sql.changed(log.id);
}

export function deleteGroup(sql: Client, topic: string, name: string): void {
  const log = findLog(sql, topic);
  const group = log && sql.one<GroupRow>(GROUP, log.id, name);
  if (group === undefined) return;
  forget(sql, [], [group]);
  sql.changed(group.log);
}

/** Frees some of what deleted topics and groups have left, also of those that an earlier process did not get done. False if there is none. */
export function removeRemains(sql: Client): boolean {
  const log = sql.one<{ id: number }>(DELETED);
  return log !== undefined && REMAINS.some((remove) => sql.run(remove, log.id) > 0);
}

/** Moves a group. The inbox is no part of the topic: moving passes over nothing in it. */
export function moveGroup(sql: Client, topic: string, name: string, to: WireStart): void {
  const log = topicLog(sql, topic);
  const { id } = findGroup(sql, log, topic, name);
  sql.run("UPDATE groups SET epoch = epoch + 1 WHERE id = ?1", id);
  sql.run("DELETE FROM losses WHERE grp = ?1", id);
  sql.run(`DELETE FROM claims WHERE ${OF_LOG} AND grp = ?2`, log.id, id);
  place(sql, log, id, to);
  sql.changed(log.id);
}

/** The last seq up to which a group has acknowledged everything; without a group, the topic's last. */
export function floorOf(sql: Client, topic: string, name: string | undefined): number {
  const log = findLog(sql, topic);
  if (log === undefined) throw notFound(topic);
  if (name === undefined) return log.last;
  const { id, next } = findGroup(sql, log, topic, name);
  const claimed = sql.one<{ seq: number | null }>(FIRST_CLAIM, log.id, id)?.seq ?? log.last + 1;
  return Math.min(claimed, firstUnread(sql, log, next)?.seq ?? log.last + 1) - 1;
}

export function lagOf(sql: Client, topic: string, name: string): WireLag {
  const log = topicLog(sql, topic);
  const { id, inbox, next } = findGroup(sql, log, topic, name);
  const now = sql.now();
  const claimed = sql.one<{ n: number; inFlight: number; oldest: number | null }>(CLAIMED, id, now);
  const delayed = sql.one<{ n: number; oldest: number | null }>(DELAYED, log.id, inbox);
  const first = firstUnread(sql, log, next);
  // By subtraction where each seq up to the last is one that the group will get.
  const counted = (): number => sql.one<{ n: number }>(`SELECT count(*) AS n ${UNREAD}`, log.id, next, now)?.n ?? 0;
  const unread = first === undefined ? 0 : log.sparse === 1 ? counted() : log.last + 1 - first.seq;
  const oldest = Math.min(first?.published ?? now, claimed?.oldest ?? now, delayed?.oldest ?? now);
  return { count: (claimed?.n ?? 0) + (delayed?.n ?? 0) + unread, inFlight: claimed?.inFlight, oldestMs: now - oldest };
}

/** The first message that a group has not been given yet. */
function firstUnread(sql: Client, log: Log, next: number): { seq: number; published: number } | undefined {
  return sql.one(`SELECT m.pos & ${SEQ_MASK} AS seq, m.published ${UNREAD} ORDER BY m.pos LIMIT 1`, log.id, next, sql.now());
}
