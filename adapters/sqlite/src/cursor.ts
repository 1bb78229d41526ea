import type { Cursor, ReplayRequest, Shard, SubscribeRequest, Subscription } from "brokerkit/driver";
import type { Client } from "./client.ts";
import { notFound } from "./errors.ts";
import { cutAt, type Handed, TOPIC_SHARD } from "./mapping.ts";
import { findLog, type Log, promote } from "./scripts/append.ts";
import { nextDelayed, readLog } from "./scripts/read.ts";
import { beginning, lastBefore, tellLoss } from "./scripts/start.ts";
import { topicLog } from "./scripts/topics.ts";

/** Reads a topic's log from a start on, for itself alone. */
class LogReader {
  readonly #client: Client;
  readonly #request: Pick<ReplayRequest, "topic" | "events">;
  readonly #shard: Shard = { id: TOPIC_SHARD };
  readonly log: Log;
  next: number;
  #paused = false;
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
        const log = topicLog(client, request.topic);
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
      if (this.#paused) return Number.POSITIVE_INFINITY;
      const { found, due } = await this.#client.transact("read", () => this.#look(max, to), signal);
      if (found.length > 0 || this.next > to) return found;
      if (due <= this.#client.now())
        await this.#client.transact("write", () => promote(this.#client, this.#log(), this.#client.now()), signal);
      return due;
    });
  }

  #log(): Log {
    const log = findLog(this.#client, this.#request.topic);
    if (log?.id !== this.log.id) throw notFound(this.#request.topic);
    return log;
  }

  #look(max: number, to: number): { found: Handed[]; due: number } {
    const { id, floor, last, sparse } = this.#log();
    if (this.next < floor)
      tellLoss(this.#request.events, { first: this.next, last: floor - 1, missing: sparse === 1 ? null : floor - this.next });
    this.next = Math.max(this.next, floor);
    const { found, next } = readLog(this.#client, id, this.#shard, this.next, Math.min(to, last), max);
    this.next = Math.max(this.next, next);
    return { found, due: nextDelayed(this.#client, id) };
  }

  pause(paused: boolean): void {
    this.#paused = paused;
    this.#client.nudge(this.log.id);
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

/** One broadcast subscriber. Nothing is kept of it: its place is core's. */
export async function broadcast(client: Client, request: SubscribeRequest, signal: AbortSignal): Promise<Subscription> {
  const reader = await LogReader.open(client, request, signal);
  return {
    created: true,
    start: cutAt(reader.next - 1),
    receive: (max, waitMs, signal) => reader.read(max, Number.MAX_SAFE_INTEGER, waitMs, signal),
    pause: () => reader.pause(true),
    resume: () => reader.pause(false),
    ack: async (deliveries) => deliveries.map(() => "confirmed"),
    flush: async () => {},
    close: async () => reader.close(),
  };
}
