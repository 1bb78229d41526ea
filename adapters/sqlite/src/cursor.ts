import type { Cursor, Place, ReplayRequest, Shard, SubscribeRequest, Subscription, WireDelivery, WireStart } from "brokerkit/driver";
import { type Client, Listener } from "./client.ts";
import { noTopic } from "./errors.ts";
import { cutAt, delivery, type Handed, type MessageRow, type Ownership, placeOf, seqOf, TOPIC_SHARD } from "./mapping.ts";
import { findLog, type Log, logById, promote } from "./scripts/append.ts";
import { SEQ } from "./scripts/schema.ts";
import { beginning, firstSince } from "./scripts/start.ts";

const READ = `SELECT ${SEQ} AS seq, id, published, klen, hlen, data FROM messages
  WHERE pos BETWEEN (?1 << 44) + ?2 AND (?1 << 44) + ?3 AND (expires IS NULL OR expires > ?4) ORDER BY pos LIMIT ?5`;
const NEXT_DELAYED = "SELECT min(due) AS due FROM delayed WHERE log = ?1";
const BYTES = 8 * 2 ** 20;

type LossEvent = SubscribeRequest["events"]["dataLoss"];

/** Reads a topic's log from a start on, for itself alone. */
export class LogReader {
  readonly #client: Client;
  readonly #topic: string;
  readonly #lost: LossEvent;
  readonly #ownership: Ownership;
  readonly #listener: Listener;
  #next: number;
  #closed = false;
  /** The topic's newest seq when the reader was made. */
  readonly end: number;

  private constructor(client: Client, topic: string, shard: Shard, log: Log, next: number, lost: LossEvent) {
    this.#client = client;
    this.#topic = topic;
    this.#lost = lost;
    this.#ownership = { shard, log: log.id, token: 0, leaseUntil: Number.POSITIVE_INFINITY };
    this.#listener = new Listener(client, log.id, this);
    this.#next = next;
    this.end = log.last;
  }

  static async open(client: Client, topic: string, from: WireStart, lost: LossEvent, signal: AbortSignal): Promise<[LogReader, Log]> {
    const { log, start } = await client.transact(
      "write",
      () => {
        const found = findLog(client, topic);
        if (found === undefined) throw noTopic(topic);
        promote(client, found.id, client.now());
        const log = logById(client, found.id) ?? found;
        return { log, start: beginning(client, log, from) };
      },
      signal,
    );
    if (start.loss !== undefined) tell(lost, start.loss.first, start.loss.last, start.loss.missing ?? undefined);
    return [new LogReader(client, topic, { id: TOPIC_SHARD }, log, start.next, lost), log];
  }

  /** The next seq to be read. */
  get next(): number {
    return this.#next;
  }

  /** At most `max` messages up to `to`, waiting for the first of them up to `waitMs`. `[]` at once where `to` has been reached. */
  async read(max: number, to: number, waitMs: number, signal: AbortSignal): Promise<Handed[]> {
    const until = this.#client.monotonic() + waitMs;
    while (!this.#closed && !signal.aborted && this.#next <= to) {
      this.#listener.arm();
      const now = this.#client.now();
      const { found, due } = await this.#client.transact("read", () => this.#look(max, to, now));
      if (found.length > 0 || this.#next > to) return found;
      if (due <= now) {
        await this.#client.transact("write", () => promote(this.#client, this.#ownership.log, now));
        continue;
      }
      const left = until - this.#client.monotonic();
      if (left <= 0) return found;
      await this.#listener.wait(Math.min(left, due - now), signal);
    }
    return [];
  }

  #look(max: number, to: number, now: number): { found: Handed[]; due: number } {
    const log = logById(this.#client, this.#ownership.log);
    if (log === undefined) throw noTopic(this.#topic);
    if (this.#next < log.floor) {
      tell(this.#lost, this.#next, log.floor - 1, log.holes === 1 ? undefined : log.floor - this.#next);
      this.#next = log.floor;
    }
    const { due } = this.#client.one<{ due: number | null }>(NEXT_DELAYED, log.id) ?? { due: null };
    return { found: this.#take(max, Math.min(to, log.last), now), due: due ?? Number.POSITIVE_INFINITY };
  }

  #take(max: number, to: number, now: number): Handed[] {
    const found: Handed[] = [];
    let bytes = 0;
    for (const row of this.#client.each<MessageRow>(READ, this.#ownership.log, this.#next, to, now, max)) {
      found.push(delivery(row, this.#ownership, 1, 0));
      this.#next = row.seq + 1;
      bytes += row.data.length;
      if (bytes >= BYTES) return found;
    }
    // What is missing up to here has expired or been compacted away.
    if (found.length < max) this.#next = Math.max(this.#next, to + 1);
    return found;
  }

  /** Has a waiting `read` look again. */
  nudge(): void {
    this.#listener.ring(false);
  }

  close(): void {
    this.#closed = true;
    this.#listener.close();
  }
}

function tell(lost: LossEvent, first: number | null, last: number, missing: number | undefined): void {
  const place = (seq: number): Place => placeOf(TOPIC_SHARD, seq);
  lost(TOPIC_SHARD, first === null ? undefined : place(first), place(last), missing);
}

/** Replay: moves nothing but itself. */
export class SqliteCursor implements Cursor {
  readonly end: Cursor["end"];
  readonly #reader: LogReader;
  readonly #end: number;
  readonly #follow: boolean;

  private constructor(reader: LogReader, end: number, follow: boolean) {
    this.#reader = reader;
    this.#end = end;
    this.#follow = follow;
    this.end = cutAt(end);
  }

  static async open(client: Client, { topic, from, to, follow, events }: ReplayRequest, signal: AbortSignal): Promise<SqliteCursor> {
    const [reader, log] = await LogReader.open(client, topic, from, events.dataLoss, signal);
    const bound = to === undefined ? log.last : await client.transact("read", () => lastBefore(client, log, to), signal);
    return new SqliteCursor(reader, Math.min(bound, log.last), follow);
  }

  async receive(max: number, waitMs: number, signal: AbortSignal): Promise<{ deliveries: readonly WireDelivery[]; atEnd: boolean }> {
    const to = this.#follow ? Number.MAX_SAFE_INTEGER : this.#end;
    const deliveries = await this.#reader.read(max, to, waitMs, signal);
    return { deliveries, atEnd: this.#reader.next > this.#end };
  }

  async close(): Promise<void> {
    this.#reader.close();
  }
}

/** The last seq that a bound lets through: a position includes its place, a time is exclusive. */
function lastBefore(client: Client, log: Log, to: WireStart): number {
  if (to.kind === "latest") return log.last;
  if (to.kind === "earliest") return log.floor - 1;
  return to.kind === "time" ? firstSince(client, log, to.ms) - 1 : seqOf(to.cut);
}

/** One broadcast subscriber: a reader of the log that keeps its place in memory, and core's copy of it in `start`. */
export class Broadcast implements Subscription {
  readonly created = true;
  readonly start: Subscription["start"];
  readonly #reader: LogReader;
  #paused = false;

  private constructor(reader: LogReader) {
    this.#reader = reader;
    this.start = cutAt(reader.next - 1);
  }

  static async open(client: Client, { topic, from, events }: SubscribeRequest, signal: AbortSignal): Promise<Broadcast> {
    return new Broadcast((await LogReader.open(client, topic, from, events.dataLoss, signal))[0]);
  }

  receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    return this.#reader.read(this.#paused ? 0 : max, Number.MAX_SAFE_INTEGER, waitMs, signal);
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#reader.nudge();
  }

  /** Nothing is kept of a broadcast: its place is core's. */
  async ack(deliveries: readonly WireDelivery[]): Promise<readonly "confirmed"[]> {
    return deliveries.map(() => "confirmed");
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {
    this.#reader.close();
  }
}
