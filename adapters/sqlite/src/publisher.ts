import { driverError, type PublishResult, type WireRecord } from "brokerkit/driver";
import type { Client } from "./client.ts";
import { noGroup, noTopic } from "./errors.ts";
import { INBOX_SHARD, pack, placeOf, TOPIC_SHARD } from "./mapping.ts";
import { append, findLog, type Log, saveLog } from "./scripts/append.ts";
import { type DedupePoint, removeExpired, removeGarbage, sweepIds, trim } from "./scripts/retention.ts";

const REMEMBER = `INSERT INTO dedupe VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET seq = excluded.seq, expires = excluded.expires
  WHERE expires <= ?5`;
const REMEMBERED = "SELECT seq FROM dedupe WHERE log = ?1 AND id = ?2";
const DELAY = `INSERT INTO delayed (log, due, lane, published, expires, message, klen, hlen, data, failures)
  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)`;
/** Upkeep done by one publish at the least; it grows with the batch, so that what is removed keeps up with what comes in. */
const UPKEEP = 100;

const OK: PublishResult = Object.freeze({ ok: true });

/** Stores batches: one transaction for each, all or nothing but for records that are refused, and then one sync of the disk. */
export class Publisher {
  readonly #client: Client;
  #dedupePoint: DedupePoint = { log: 0, id: "" };

  constructor(client: Client) {
    this.#client = client;
  }

  async publish(batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
    let sent: "no" | "maybe" = "no";
    try {
      const results = await this.#client.transact("write", () => this.#store(batch), signal);
      sent = "maybe";
      await this.#client.durable();
      return results;
    } catch (error) {
      return batch.map(() => ({ ok: false, error, sent }));
    }
  }

  #store(batch: readonly WireRecord[]): PublishResult[] {
    const now = this.#client.now();
    const logs = new Map<string, Log | Error>();
    const results = batch.map((record) => {
      const { topic, group } = record.target;
      const name = group === undefined ? topic : `${topic}\0${group}`;
      let log = logs.get(name);
      if (log === undefined) {
        log = findLog(this.#client, topic, group) ?? missing(this.#client, topic, group);
        logs.set(name, log);
      }
      return log instanceof Error ? refused(log) : this.#storeOne(log, record, now);
    });
    const upkeep = UPKEEP + 2 * batch.length;
    for (const log of logs.values()) {
      if (log instanceof Error) continue;
      trim(this.#client, log, now, upkeep);
      saveLog(this.#client, log);
      this.#client.changed(log.home);
    }
    removeExpired(this.#client, now, upkeep);
    removeGarbage(this.#client, upkeep);
    if (this.#client.settings.dedupeMs > 0) this.#dedupePoint = sweepIds(this.#client, this.#dedupePoint, now, upkeep);
    return results;
  }

  #storeOne(log: Log, record: WireRecord, now: number): PublishResult {
    const { key, priority = 0, delayMs = 0, ttlMs, failures = 0 } = record;
    if (key !== undefined && priority > 0) return refused(keyed(record));
    const shard = log.grp === null ? TOPIC_SHARD : INBOX_SHARD;
    const window = this.#client.settings.dedupeMs;
    const seq = delayMs > 0 ? null : log.last + 1;
    if (window > 0 && this.#client.run(REMEMBER, log.id, record.dedupeId, seq, now + window, now) === 0) {
      const former = this.#client.one<{ seq: number | null }>(REMEMBERED, log.id, record.dedupeId)?.seq ?? undefined;
      return { ok: true, place: former === undefined ? undefined : placeOf(shard, former), duplicate: true };
    }
    const expires = ttlMs === undefined ? null : later(now, ttlMs);
    const published = Math.floor(record.publishedAt);
    const { klen, hlen, data } = pack(record);
    if (seq !== null) {
      append(this.#client, log, { lane: priority, published, expires, id: record.id, klen, hlen, data, failures }, now);
      return { ok: true, place: placeOf(shard, seq) };
    }
    this.#client.run(DELAY, log.id, later(now, delayMs), priority, published, expires, record.id, klen, hlen, data, failures);
    return OK;
  }
}

/** A time to come as a whole number, however far. */
export function later(now: number, ms: number): number {
  return Math.min(Math.ceil(now + ms), Number.MAX_SAFE_INTEGER);
}

function missing(client: Client, topic: string, group: string | undefined): Error {
  return group === undefined || findLog(client, topic) === undefined ? noTopic(topic) : noGroup(topic, group);
}

function refused(error: Error): PublishResult {
  return { ok: false, error, sent: "no" };
}

function keyed({ id, target: { topic } }: WireRecord): Error {
  return driverError(
    "INVALID_ARGUMENT",
    `[sqlite] Message "${id}" for "${topic}" has a key and a priority: a key's messages keep their order, so give it one of the two.`,
  );
}
