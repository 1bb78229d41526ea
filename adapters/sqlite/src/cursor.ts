import type { Cursor, ReplayRequest, Shard, SubscribeRequest, Subscription, SubscriptionEvents, WireStart } from "brokerkit/driver";
import type { Client } from "./client.ts";
import { notFound } from "./errors.ts";
import { cutAt, type Handed, handOut, MESSAGE, type MessageRow, placeOf, seqOf, TOPIC_SHARD } from "./mapping.ts";
import { findLog, type Log, promote } from "./scripts/append.ts";
import { SEQ_MASK } from "./scripts/schema.ts";

const READ = `SELECT ${MESSAGE} FROM messages m
  WHERE m.pos BETWEEN (?1 << 44) + ?2 AND (?1 << 44) + ?3 AND (m.expires IS NULL OR m.expires > ?4) ORDER BY m.pos LIMIT ?5`;
const NEXT_AT = `SELECT pos & ${SEQ_MASK} AS seq, at FROM messages WHERE pos BETWEEN (?1 << 44) + ?2 AND (?1 << 44) + ${SEQ_MASK} ORDER BY pos LIMIT 1`;
const NEXT_DELAYED = "SELECT min(due) AS due FROM delayed WHERE log = ?1";
const BYTES = 8 * 2 ** 20;

/** What retention took before a reader had it. `first` and `missing` are null where they can't be known. */
export type Loss = { readonly first: number | null; readonly last: number; readonly missing: number | null };

export function tellLoss(events: Pick<SubscriptionEvents, "dataLoss">, { first, last, missing }: Loss): void {
  const from = first === null ? undefined : placeOf(TOPIC_SHARD, first);
  events.dataLoss(TOPIC_SHARD, from, placeOf(TOPIC_SHARD, last), missing ?? undefined);
}

/**
 * The seq at which a start begins, and what retention took of what comes after it. A position beyond the end, from a topic that was
 * deleted and made again, is the end.
 */
export function beginning(sql: Client, log: Log, start: WireStart): { next: number; loss?: Loss } {
  const { floor, last, gone, sparse } = log;
  if (start.kind === "latest") return { next: last + 1 };
  if (start.kind === "earliest") return { next: floor };
  if (start.kind === "time") {
    const next = firstSince(sql, log, start.ms);
    return gone >= start.ms ? { next, loss: { first: null, last: floor - 1, missing: null } } : { next };
  }
  const next = Math.min(seqOf(start.cut), last) + 1;
  return next >= floor ? { next } : { next: floor, loss: { first: next, last: floor - 1, missing: sparse === 1 ? null : floor - next } };
}

/** The first seq that was stored at `ms` or later: times never fall within a log, so halving finds it. */
function firstSince(sql: Client, log: Log, ms: number): number {
  let [low, high] = [log.floor, log.last + 1];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const row = sql.one<{ seq: number; at: number }>(NEXT_AT, log.id, middle);
    if (row === undefined || row.at >= ms) high = middle;
    else low = row.seq + 1;
  }
  return low;
}

/** Reads a topic's log from a start on, for itself alone. */
class LogReader {
  readonly #client: Client;
  readonly #request: Pick<ReplayRequest, "topic" | "events">;
  readonly #shard: Shard = { id: TOPIC_SHARD };
  readonly log: Log;
  next: number;
  #closed = false;

  private constructor(client: Client, request: Pick<ReplayRequest, "topic" | "events">, log: Log, next: number) {
    this.#client = client;
    this.#request = request;
    this.log = log;
    this.next = next;
  }

  static async open(client: Client, request: Pick<ReplayRequest, "topic" | "events" | "from">, signal: AbortSignal): Promise<LogReader> {
    return client.transact(
      "write",
      () => {
        const log = findLog(client, request.topic);
        if (log === undefined) throw notFound(request.topic);
        promote(client, log, client.now());
        const { next, loss } = beginning(client, log, request.from);
        if (loss !== undefined) tellLoss(request.events, loss);
        return new LogReader(client, request, log, next);
      },
      signal,
    );
  }

  /** At most `max` messages up to `to`, waiting for the first of them; `[]` at once where `to` has been reached. */
  read(max: number, to: number, waitMs: number, signal: AbortSignal): Promise<readonly Handed[]> {
    return this.#client.poll(this.log.id, waitMs, signal, async () => {
      if (this.#closed || this.next > to) return [];
      const { found, due } = await this.#client.transact("read", () => this.#look(max, to), signal);
      if (found.length > 0 || this.next > to) return found;
      if (due <= this.#client.now()) await this.#client.transact("write", () => this.#promote(), signal);
      return due;
    });
  }

  #log(): Log {
    const log = findLog(this.#client, this.#request.topic);
    if (log?.id !== this.log.id) throw notFound(this.#request.topic);
    return log;
  }

  #promote(): void {
    promote(this.#client, this.#log(), this.#client.now());
  }

  #look(max: number, to: number): { found: Handed[]; due: number } {
    const { id, floor, last, sparse } = this.#log();
    if (this.next < floor) tellLoss(this.#request.events, { first: this.next, last: floor - 1, missing: sparse === 1 ? null : floor - this.next });
    this.next = Math.max(this.next, floor);
    const found: Handed[] = [];
    let bytes = 0;
    const end = Math.min(to, last);
    for (const row of this.#client.each<MessageRow>(READ, id, this.next, end, this.#client.now(), max)) {
      found.push(handOut(row, { shard: this.#shard, log: id, token: 0, leaseUntil: Number.POSITIVE_INFINITY }, 1, 0));
      bytes += row.data.length;
      if (bytes >= BYTES) break;
    }
    // Unless a bound ended it, all up to `end` has been seen: what is missing has expired or was compacted away.
    const bounded = found.length >= max || bytes >= BYTES;
    this.next = bounded ? (found.at(-1)?.seq ?? this.next - 1) + 1 : Math.max(this.next, end + 1);
    return { found, due: this.#client.one<{ due: number | null }>(NEXT_DELAYED, id)?.due ?? Number.POSITIVE_INFINITY };
  }

  close(): void {
    this.#closed = true;
    this.#client.nudge(this.log.id);
  }
}

export async function replay(client: Client, request: ReplayRequest, signal: AbortSignal): Promise<Cursor> {
  const reader = await LogReader.open(client, request, signal);
  const { to, follow } = request;
  const bound = await client.transact("read", () => (to === undefined ? reader.log.last : lastBefore(client, reader.log, to)), signal);
  const end = Math.min(bound, reader.log.last);
  return {
    end: cutAt(end),
    async receive(max, waitMs, signal) {
      const deliveries = await reader.read(max, follow ? Number.MAX_SAFE_INTEGER : end, waitMs, signal);
      return { deliveries, atEnd: reader.next > end };
    },
    close: async () => reader.close(),
  };
}

/** The last seq that a bound lets through: a position includes its place, a time is exclusive. */
function lastBefore(sql: Client, log: Log, to: WireStart): number {
  return to.kind === "position" ? seqOf(to.cut) : beginning(sql, log, to).next - 1;
}

/** One broadcast subscriber. Nothing is kept of it: its place is core's. */
export async function broadcast(client: Client, request: SubscribeRequest, signal: AbortSignal): Promise<Subscription> {
  const reader = await LogReader.open(client, request, signal);
  let paused = false;
  return {
    created: true,
    start: cutAt(reader.next - 1),
    receive: (max, waitMs, signal) => reader.read(paused ? 0 : max, Number.MAX_SAFE_INTEGER, waitMs, signal),
    pause() {
      paused = true;
    },
    resume() {
      paused = false;
      client.nudge(reader.log.id);
    },
    ack: async (deliveries) => deliveries.map(() => "confirmed"),
    flush: async () => {},
    close: async () => reader.close(),
  };
}
