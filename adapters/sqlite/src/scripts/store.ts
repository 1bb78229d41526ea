import { driverError, type PublishResult, type WireRecord } from "brokerkit/driver";
import type { Client } from "../client.ts";
import { notFound } from "../errors.ts";
import { INBOX_SHARD, pack, placeOf, TOPIC_SHARD } from "../mapping.ts";
import { append, findLog, type Log, saveLog } from "./append.ts";
import { sweep, trim } from "./retention.ts";

const REMEMBER = `INSERT INTO dedupe VALUES (?1, ?2, ?3, ?4)
  ON CONFLICT DO UPDATE SET seq = excluded.seq, expires = excluded.expires WHERE expires <= ?5`;
const REMEMBERED = "SELECT seq FROM dedupe WHERE log = ?1 AND id = ?2";
const DELAY = "INSERT INTO delayed VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

/** Stores a batch; one result per record. */
export function store(sql: Client, batch: readonly WireRecord[]): PublishResult[] {
  const now = sql.now();
  const logs = new Map<string, Log | undefined>();
  const results = batch.map((record): PublishResult => {
    const { topic, group } = record.target;
    const name = group === undefined ? topic : `${topic}\0${group}`;
    if (!logs.has(name)) logs.set(name, findLog(sql, topic, group));
    const log = logs.get(name);
    if (log !== undefined) return storeOne(sql, log, record, now);
    return { ok: false, error: notFound(topic, findLog(sql, topic) && group), sent: "no" };
  });
  // Upkeep grows with the batch, so that what goes keeps up with what comes.
  const most = 100 + 2 * batch.length;
  for (const log of logs.values()) {
    if (log === undefined) continue;
    trim(sql, log, now, most);
    saveLog(sql, log);
    sql.changed(log.home);
  }
  sweep(sql, now, most);
  return results;
}

function storeOne(sql: Client, log: Log, record: WireRecord, now: number): PublishResult {
  const { id, key, dedupeId, priority: lane = 0, delayMs = 0, ttlMs, failures = 0 } = record;
  if (key !== undefined && lane > 0) {
    const why = `has a key and a priority: messages of one key keep their order, so it can have only one of the two.`;
    return {
      ok: false,
      error: driverError("INVALID_ARGUMENT", `[sqlite] Message "${id}" for "${record.target.topic}" ${why}`),
      sent: "no",
    };
  }
  const shard = log.grp === null ? TOPIC_SHARD : INBOX_SHARD;
  const window = sql.settings.dedupeMs;
  const seq = delayMs > 0 ? null : log.last + 1;
  if (window > 0 && sql.run(REMEMBER, log.id, dedupeId, seq, now + window, now) === 0) {
    const former = sql.one<{ seq: number | null }>(REMEMBERED, log.id, dedupeId)?.seq ?? undefined;
    return { ok: true, place: former === undefined ? undefined : placeOf(shard, former), duplicate: true };
  }
  const expires = ttlMs === undefined ? null : later(now, ttlMs);
  const message = { ...pack(record), lane, published: Math.floor(record.publishedAt), expires, id, failures };
  if (seq !== null) append(sql, log, message, now);
  else {
    const { published, klen, hlen, data } = message;
    sql.run(DELAY, log.id, later(now, delayMs), lane, published, expires, id, klen, hlen, data, failures);
  }
  return { ok: true, place: seq === null ? undefined : placeOf(shard, seq) };
}

/** A time to come as a whole number, however far. */
export function later(now: number, ms: number): number {
  return Math.min(Math.ceil(now + ms), Number.MAX_SAFE_INTEGER);
}
