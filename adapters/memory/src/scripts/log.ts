import type { Place, Retention, ShardId, SubscriptionEvents, WireHeader, WireRecord, WireStart } from "brokerkit/driver";
import { behind, hashBytes, placeOf, textOf } from "../mapping.ts";
import { Slab } from "./slab.ts";

const CHUNK = 1024;
/** How long a compacted log shows that a key is gone, as Kafka's `delete.retention.ms` has it. */
const TOMBSTONE_MS = 86_400_000;
const NONE: readonly never[] = Object.freeze([]);

/** What few messages have. */
export interface Extra {
  readonly priority: number;
  readonly failures: number;
  /** Monotonic ms. */
  readonly expires: number;
  /** Its turn among the delayed publishes of its topic; 0: not delayed. */
  readonly ticket: number;
  /** The records that were published with it, where one acknowledgement covers them all. */
  readonly entry: { size: number } | undefined;
}

/** A stored message: its bytes copied once into a slab, key first, then header values, then the body. */
export class Stored {
  readonly id: string;
  readonly publishedAt: number;
  readonly size: number;
  readonly hash: number;
  readonly extra: Extra | undefined;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly at: number;
  readonly length: number;
  /** Lengths in bytes; −1: no key, no body. */
  readonly keyLength: number;
  readonly bodyLength: number;
  readonly headers: readonly (readonly [name: string, length: number])[];
  seq = -1;
  /** Monotonic ms, rounded up: a small integer is stored without a box. */
  storedAt = 0;

  constructor(record: WireRecord, size: number, slab: Slab, extra: Extra | undefined) {
    const { key, headers, body } = record;
    this.id = record.id;
    this.publishedAt = record.publishedAt;
    this.size = size;
    this.hash = key === undefined ? 0 : hashBytes(key);
    this.extra = extra;
    let at = slab.reserve(size);
    const { bytes } = slab;
    this.bytes = bytes;
    this.at = at;
    this.keyLength = key === undefined ? -1 : key.length;
    this.bodyLength = body === null ? -1 : body.length;
    this.headers = headers.length === 0 ? NONE : headers.map(([name, value]) => [name, value.length]);
    if (key !== undefined) {
      bytes.set(key, at);
      at += key.length;
    }
    for (let n = 0; n < headers.length; n++) {
      const value = (headers[n] as WireHeader)[1];
      bytes.set(value, at);
      at += value.length;
    }
    if (body !== null) {
      bytes.set(body, at);
      at += body.length;
    }
    this.length = at - this.at;
  }

  get keyed(): boolean {
    return this.keyLength >= 0;
  }

  get tombstone(): boolean {
    return this.bodyLength < 0;
  }

  /** A view, for comparing only. */
  get key(): Uint8Array {
    return new Uint8Array(this.bytes.buffer, this.at, Math.max(0, this.keyLength));
  }

  hasKey(key: Uint8Array): boolean {
    if (key.length !== this.keyLength) return false;
    for (let n = 0; n < key.length; n++) if (key[n] !== this.bytes[this.at + n]) return false;
    return true;
  }
}

/** One ordered part of a topic, or a group's inbox: numbered messages in chunks, so that a kept prefix or a freed one costs nothing. */
export class Log {
  readonly shard: ShardId;
  /** `readers`: those that read for themselves are told their places, whether groups are or not. */
  readonly places: { readonly perDelivery: boolean; readonly dense: boolean; readonly readers: boolean };
  readonly #retention: Retention;
  readonly #limited: boolean;
  /** The oldest number that may still be there, and the one that comes next. */
  first = 0;
  next = 0;
  /** The newest number that retention took, and the newest publish time among them. */
  lost = -1;
  lostTime: number = Number.NEGATIVE_INFINITY;
  bytes = 0;
  /** No holes, and no message with conditions: what is there can be counted by subtraction. */
  plain = true;
  /** Compaction has taken some. */
  holed = false;
  prioritised = false;
  readonly slab: Slab = new Slab();
  #chunks: (Stored | undefined)[][] = [];
  #newest: number[] = [];
  #base = 0;
  readonly #latest = new Map<string, Stored>();
  readonly #tombstones: Stored[] = [];

  constructor(shard: ShardId, places: Log["places"], retention: Retention) {
    this.shard = shard;
    this.places = places;
    this.#retention = retention;
    this.#limited = Object.values(retention).some((limit) => limit !== undefined && limit !== false);
  }

  place(seq: number): Place | undefined {
    return this.places.perDelivery ? this.spotAt(seq) : undefined;
  }

  spotAt(seq: number): Place {
    return placeOf(this.shard, seq, this.places.dense);
  }

  get(seq: number): Stored | undefined {
    const slot = seq - this.#base;
    return this.#chunks[Math.floor(slot / CHUNK)]?.[slot % CHUNK];
  }

  *from(seq: number): Iterable<Stored> {
    for (let n = Math.max(seq, this.first); n < this.next; n++) {
      const stored = this.get(n);
      if (stored !== undefined) yield stored;
    }
  }

  append(stored: Stored, now: number): void {
    stored.seq = this.next;
    stored.storedAt = Math.ceil(now);
    if ((this.next - this.#base) % CHUNK === 0) {
      this.#chunks.push([]);
      this.#newest.push(Number.NEGATIVE_INFINITY);
    }
    const last = this.#chunks.length - 1;
    (this.#chunks[last] as Stored[]).push(stored);
    if (stored.publishedAt > (this.#newest[last] as number)) this.#newest[last] = stored.publishedAt;
    this.next++;
    this.bytes += stored.size;
    if (stored.extra !== undefined) {
      this.plain = false;
      if (stored.extra.priority > 0) this.prioritised = true;
    }
    if (this.#retention.compact === true && stored.keyed) this.#compact(stored);
    this.trim(now);
  }

  /** The first number whose message was published at `ms` or later. */
  since(ms: number): number {
    for (let n = 0; n < this.#chunks.length; n++) {
      if ((this.#newest[n] as number) < ms) continue;
      const found = this.#chunks[n]?.find((stored) => stored !== undefined && stored.publishedAt >= ms);
      if (found !== undefined) return found.seq;
    }
    return this.next;
  }

  /** Lets go of everything before `seq`; it has been read by all who will. */
  drop(seq: number): void {
    while (this.first < seq) {
      this.#remove(this.first++);
      if (this.first - this.#base < CHUNK) continue;
      this.#chunks.shift();
      this.#newest.shift();
      this.#base += CHUNK;
    }
  }

  /** What retention takes, up to now. The newest message stays, however large it is. */
  trim(now: number): void {
    if (!this.#limited) return;
    const { ms = Number.POSITIVE_INFINITY, bytes = Number.POSITIVE_INFINITY } = this.#retention;
    this.#trimTombstones(now);
    while (this.first < this.next) {
      const head = this.get(this.first);
      // A hole at the head goes along: it is no loss.
      const over = head === undefined || head.storedAt + ms <= now || (this.bytes > bytes && this.first < this.next - 1);
      if (!over) return;
      this.take(this.first + 1);
    }
  }

  /** Takes everything before `seq` as retention does: readers that have not seen it are told. */
  take(seq: number): void {
    for (const stored of this.from(this.first)) {
      if (stored.seq >= seq) break;
      this.lost = stored.seq;
      this.lostTime = Math.max(this.lostTime, stored.publishedAt);
      if (this.#retention.compact === true && this.#latest.get(textOf(stored.key)) === stored) this.#latest.delete(textOf(stored.key));
    }
    this.drop(seq);
  }

  #compact(stored: Stored): void {
    const key = textOf(stored.key);
    const older = this.#latest.get(key);
    if (older !== undefined) this.#hole(older);
    this.#latest.set(key, stored);
    if (stored.tombstone) this.#tombstones.push(stored);
  }

  #trimTombstones(now: number): void {
    for (let head = this.#tombstones[0]; head !== undefined && head.storedAt + TOMBSTONE_MS <= now; head = this.#tombstones[0]) {
      this.#tombstones.shift();
      const key = textOf(head.key);
      if (this.#latest.get(key) !== head) continue;
      this.#latest.delete(key);
      this.#hole(head);
    }
  }

  #hole(stored: Stored): void {
    if (stored.seq < this.first) return;
    this.plain = false;
    this.holed = true;
    this.#remove(stored.seq);
  }

  #remove(seq: number): void {
    const slot = seq - this.#base;
    const chunk = this.#chunks[Math.floor(slot / CHUNK)] as (Stored | undefined)[];
    this.bytes -= chunk[slot % CHUNK]?.size ?? 0;
    chunk[slot % CHUNK] = undefined;
  }
}

/** Where a reader of one log is. */
export class Spot {
  readonly log: Log;
  next: number;
  /** Of the delayed publishes, those up to this turn came before the reader's start. */
  readonly since: number;
  /** Something before `next` is gone, and nobody knows how much of it this reader should have seen. */
  #vague = false;

  constructor(log: Log, start: WireStart, tickets: number) {
    this.log = log;
    this.since = start.kind === "latest" ? tickets : 0;
    this.next = start.kind === "latest" ? log.next : log.first;
    if (start.kind === "position") {
      const place = start.cut.get(log.shard);
      // A cut from before the topic was deleted and made again may lie past the end: what comes is still new to its holder.
      this.next = place === undefined ? 0 : Math.min(log.next, behind(place, log.places.dense));
    } else if (start.kind === "time") {
      this.next = log.since(start.ms);
      this.#vague = start.ms <= log.lostTime;
    }
  }

  /** Goes on behind what retention took, and says so once. */
  step(events: Pick<SubscriptionEvents, "dataLoss">): void {
    const { log, next } = this;
    if (next < log.first) this.next = log.first;
    if (next > log.lost && !this.#vague) return;
    const vague = this.#vague;
    this.#vague = false;
    const missing = vague || log.holed ? undefined : log.lost + 1 - next;
    events.dataLoss(log.shard, vague ? undefined : log.spotAt(next), log.spotAt(log.lost), missing);
  }

  /** Whether this reader should see a message that is there. */
  wants(stored: Stored, now: number): boolean {
    const { extra } = stored;
    return extra === undefined || (extra.expires > now && (extra.ticket === 0 || extra.ticket > this.since));
  }
}
