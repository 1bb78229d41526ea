import { setImmediate } from "node:timers/promises";
import { type Admin, type Cut, driverError, type TopicInfo, type TopicSpec, type WireLag, type WireStart } from "brokerkit/driver";
import type { Client } from "./client.ts";
import { noGroup, noTopic } from "./errors.ts";
import { cutAt } from "./mapping.ts";
import { findLog, type Log, logById, promote, saveLog } from "./scripts/append.ts";
import { lose, removeExpired, removeGarbage, trim } from "./scripts/retention.ts";
import { MAX_LOG, SEQ, SEQ_MASK } from "./scripts/schema.ts";
import { beginning } from "./scripts/start.ts";

export interface GroupRow {
  readonly id: number;
  readonly log: number;
  readonly inbox: number;
  readonly epoch: number;
}

const GROUP = "SELECT id, log, inbox, epoch FROM groups WHERE log = ?1 AND name = ?2";
const NEW_LOG = "INSERT INTO logs (topic, keep_ms, keep_bytes, compact) VALUES (?1, ?2, ?3, ?4) RETURNING id";
const NEW_GROUP = "INSERT INTO groups (log, name, inbox) VALUES (?1, ?2, ?3) RETURNING id, log, inbox, epoch";
const NEW_FRONT = "INSERT INTO fronts VALUES (?1, ?2, ?3)";
const FORGET_GROUP = ["fronts WHERE grp", "losses WHERE grp", "claims WHERE grp", "groups WHERE id"];
const FIRST_CLAIM = `SELECT min(${SEQ}) AS seq FROM claims WHERE grp = ?1 AND pos BETWEEN (?2 << 44) AND (?2 << 44) + ${SEQ_MASK}`;
const UNREAD_FROM = `FROM fronts f JOIN messages m ON m.pos BETWEEN (?2 << 44) + f.next AND (?2 << 44) + ${SEQ_MASK} AND m.lane = f.lane
  WHERE f.grp = ?1 AND (m.expires IS NULL OR m.expires > ?3)`;
const FIRST_UNREAD = `SELECT min(m.pos & ${SEQ_MASK}) AS seq ${UNREAD_FROM}`;
const COUNT_UNREAD = `SELECT count(*) AS n ${UNREAD_FROM}`;
const CLAIMED = `SELECT count(*) AS n, ifnull(sum(c.owner IS NOT NULL AND c.due > ?2), 0) AS inFlight, min(m.published) AS oldest
  FROM claims c LEFT JOIN messages m ON m.pos = c.pos WHERE c.grp = ?1 AND (c.owner IS NOT NULL OR m.expires IS NULL OR m.expires > ?2)`;
const PUBLISHED = "SELECT published FROM messages WHERE pos = (?1 << 44) + ?2";
const SET_FRONTS = "UPDATE fronts SET next = ?2 WHERE grp = ?1";
const UPKEEP = 1_000;

/** Makes a group unless it is there. Part of the caller's transaction. */
export function ensureGroup(sql: Client, topic: string, name: string, from: WireStart): { group: GroupRow; created: boolean } {
  const log = topicLog(sql, topic);
  const found = sql.one<GroupRow>(GROUP, log.id, name);
  if (found !== undefined) return { group: found, created: false };
  const group = sql.one<GroupRow>(NEW_GROUP, log.id, name, newLog(sql, null));
  if (group === undefined) throw noGroup(topic, name);
  for (let lane = 0; log.lanes >> lane > 0; lane++) if ((log.lanes >> lane) & 1) sql.run(NEW_FRONT, group.id, lane, log.last + 1);
  place(sql, log, group.id, from);
  return { group, created: true };
}

/** Puts a group's fronts at a start, and notes what it will not get. */
function place(sql: Client, log: Log, group: number, to: WireStart): void {
  const { next, loss } = beginning(sql, log, to);
  sql.run(SET_FRONTS, group, next);
  if (loss !== undefined) lose(sql, group, loss.first, loss.last, loss.missing);
}

function newLog(sql: Client, topic: string | null, { retention = {} }: Partial<TopicSpec> = {}): number {
  const { ms = null, bytes = null, compact = false } = retention;
  const id = sql.one<{ id: number }>(NEW_LOG, topic, ms, bytes, compact ? 1 : 0)?.id ?? 0;
  if (id > MAX_LOG)
    throw driverError("QUOTA_EXCEEDED", `[sqlite] This file has had ${MAX_LOG} topics and groups in its life, which is all it can have.`);
  return id;
}

/** The topic's log, with its retention applied. */
function topicLog(sql: Client, topic: string): Log {
  const found = findLog(sql, topic);
  if (found === undefined) throw noTopic(topic);
  const now = sql.now();
  promote(sql, found.id, now);
  const log = logById(sql, found.id) ?? found;
  if (log.keepMs === null && log.keepBytes === null) return log;
  while (trim(sql, log, now, UPKEEP));
  saveLog(sql, log);
  return log;
}

export class SqliteAdmin implements Admin {
  readonly #client: Client;

  constructor(client: Client) {
    this.#client = client;
  }

  async #change<T>(signal: AbortSignal, work: (sql: Client) => T): Promise<T> {
    const value = await this.#client.transact("write", () => work(this.#client), signal);
    this.#client.recheck();
    await this.#client.durable();
    return value;
  }

  createTopic(spec: TopicSpec, signal: AbortSignal): Promise<"created" | "existing"> {
    const { name, partitions = 1, native = {} } = spec;
    if (partitions > 1)
      throw driverError("INVALID_ARGUMENT", `[sqlite] Topic "${name}" can't have ${partitions} partitions: a file's topics have one.`);
    const unknown = Object.keys(Object(native));
    if (unknown.length > 0) throw driverError("INVALID_ARGUMENT", `[sqlite] Topic "${name}": there is no native option "${unknown[0]}".`);
    return this.#change(signal, (sql) => {
      if (findLog(sql, name) !== undefined) return "existing";
      newLog(sql, name, spec);
      return "created";
    });
  }

  describeTopic(topic: string, signal: AbortSignal): Promise<TopicInfo | undefined> {
    return this.#client.transact(
      "read",
      () => {
        const log = findLog(this.#client, topic);
        if (log === undefined) return undefined;
        const groups = this.#client.all<{ name: string }>("SELECT name FROM groups WHERE log = ?1 ORDER BY name", log.id);
        const { keepMs, keepBytes, compact } = log;
        const retention = { ms: keepMs ?? undefined, bytes: keepBytes ?? undefined, compact: compact === 1 };
        return { partitions: 1, retention, groups: groups.map(({ name }) => name) };
      },
      signal,
    );
  }

  /** The names are gone at once; the space is freed piece by piece, so that nobody has to wait for a long transaction. */
  async deleteTopic(topic: string, signal: AbortSignal): Promise<void> {
    await this.#change(signal, (sql) => {
      const log = findLog(sql, topic);
      if (log === undefined) return;
      for (const group of sql.all<GroupRow>("SELECT id, inbox FROM groups WHERE log = ?1", log.id)) forgetGroup(sql, group);
      forgetLog(sql, log.id);
      sql.changed(log.id);
    });
    await this.#clean(signal);
  }

  async createGroup(topic: string, group: string, from: WireStart, signal: AbortSignal): Promise<"created" | "existing"> {
    const { created } = await this.#change(signal, (sql) => ensureGroup(sql, topic, group, from));
    return created ? "created" : "existing";
  }

  async deleteGroup(topic: string, group: string, signal: AbortSignal): Promise<void> {
    await this.#change(signal, (sql) => {
      const log = findLog(sql, topic);
      const found = log && sql.one<GroupRow>(GROUP, log.id, group);
      if (found === undefined) return;
      forgetGroup(sql, found);
      sql.changed(found.log);
    });
    await this.#clean(signal);
  }

  async #clean(signal: AbortSignal): Promise<void> {
    while (!signal.aborted && (await this.#client.transact("write", () => removeGarbage(this.#client, UPKEEP), signal)))
      await setImmediate();
  }

  position(topic: string, group: string | undefined, signal: AbortSignal): Promise<Cut> {
    return this.#client.transact(
      "read",
      () => {
        const log = findLog(this.#client, topic);
        if (log === undefined) throw noTopic(topic);
        if (group === undefined) return cutAt(log.last);
        const { id } = this.#group(log, topic, group);
        return cutAt(Math.min(this.#firstClaim(log, id), this.#firstUnread(log, id)) - 1);
      },
      signal,
    );
  }

  async seek(topic: string, group: string, to: WireStart, signal: AbortSignal): Promise<void> {
    await this.#change(signal, (sql) => {
      const log = topicLog(sql, topic);
      const { id } = this.#group(log, topic, group);
      sql.run("UPDATE groups SET epoch = epoch + 1 WHERE id = ?1", id);
      sql.run("DELETE FROM losses WHERE grp = ?1", id);
      sql.run(`DELETE FROM claims WHERE grp = ?1 AND pos BETWEEN (?2 << 44) AND (?2 << 44) + ${SEQ_MASK}`, id, log.id);
      // The inbox is no part of the topic: nothing in it is passed over by moving, it is only taken back from who has it.
      sql.run("UPDATE claims SET owner = NULL, token = NULL, due = 0 WHERE grp = ?1", id);
      place(sql, log, id, to);
      sql.changed(log.id);
    });
  }

  lag(topic: string, group: string, signal: AbortSignal): Promise<WireLag> {
    return this.#client.transact(
      "write",
      () => {
        const log = topicLog(this.#client, topic);
        const { id, inbox } = this.#group(log, topic, group);
        const now = this.#client.now();
        promote(this.#client, inbox, now);
        removeExpired(this.#client, now, UPKEEP);
        const claimed = this.#client.one<{ n: number; inFlight: number; oldest: number | null }>(CLAIMED, id, now);
        const unread = this.#firstUnread(log, id);
        const oldest = this.#client.one<{ published: number }>(PUBLISHED, log.id, unread)?.published ?? now;
        const count = (claimed?.n ?? 0) + this.#countUnread(log, id, unread, now);
        return {
          count,
          inFlight: claimed?.inFlight ?? 0,
          oldestMs: count === 0 ? 0 : Math.max(0, now - Math.min(oldest, claimed?.oldest ?? oldest)),
        };
      },
      signal,
    );
  }

  #group(log: Log, topic: string, name: string): GroupRow {
    const group = this.#client.one<GroupRow>(GROUP, log.id, name);
    if (group === undefined) throw noGroup(topic, name);
    return group;
  }

  #firstClaim(log: Log, group: number): number {
    return this.#client.one<{ seq: number | null }>(FIRST_CLAIM, group, log.id)?.seq ?? Number.POSITIVE_INFINITY;
  }

  /** The first message that no member was handed yet; one more than the newest if there is none. */
  #firstUnread(log: Log, group: number): number {
    const simple = log.holes === 0 && log.lanes === 1;
    if (!simple) return this.#client.one<{ seq: number | null }>(FIRST_UNREAD, group, log.id, this.#client.now())?.seq ?? log.last + 1;
    const next = this.#client.one<{ next: number }>("SELECT next FROM fronts WHERE grp = ?1 AND lane = 0", group)?.next ?? log.last + 1;
    return Math.max(next, log.floor);
  }

  /** By arithmetic where every seq is there and in one lane, else by counting. */
  #countUnread(log: Log, group: number, first: number, now: number): number {
    if (log.holes === 0 && log.lanes === 1) return log.last + 1 - first;
    return this.#client.one<{ n: number }>(COUNT_UNREAD, group, log.id, now)?.n ?? 0;
  }
}

function forgetGroup(sql: Client, { id, inbox }: GroupRow): void {
  for (const where of FORGET_GROUP) sql.run(`DELETE FROM ${where} = ?1`, id);
  forgetLog(sql, inbox);
}

function forgetLog(sql: Client, id: number): void {
  sql.run("DELETE FROM logs WHERE id = ?1", id);
  sql.run("INSERT INTO garbage VALUES (?1)", id);
}
