import type { Place, Shard, WireDelivery, WireHeader } from "brokerkit/driver";
import type { Log, Stored } from "./log.ts";
import type { Lane, Seat } from "./queue.ts";
import { Slab } from "./slab.ts";

const NONE: readonly never[] = Object.freeze([]);
const outgoing = new Slab();

/** A message in a member's or a reader's hands. */
export class Delivery implements WireDelivery {
  readonly shard: Shard;
  readonly id: string;
  readonly key: Uint8Array | undefined;
  readonly headers: readonly WireHeader[];
  readonly body: Uint8Array | null;
  readonly publishedAt: number;
  readonly deliveries: number;
  readonly failures: number;
  readonly inbox: boolean;
  leaseUntil: number = Number.POSITIVE_INFINITY;
  readonly stored: Stored;
  readonly log: Log;
  /** Neither settled nor taken away. */
  live = true;
  readonly seat: Seat | undefined;
  readonly lane: Lane | undefined;
  /** When it was handed out, and when it comes back by itself (monotonic ms). */
  handedAt = 0;
  ends: number = Number.POSITIVE_INFINITY;
  list: Leased | undefined = undefined;
  previous: Delivery | undefined = undefined;
  next: Delivery | undefined = undefined;

  constructor(
    shard: Shard,
    log: Log,
    stored: Stored,
    deliveries: number,
    failures: number,
    seat: Seat | undefined,
    lane: Lane | undefined,
  ) {
    const { keyLength, bodyLength, headers, length } = stored;
    // Bytes of the receiver's own: what one does to them reaches nobody else.
    let at = outgoing.reserve(length);
    const { bytes } = outgoing;
    const { buffer } = bytes;
    bytes.set(new Uint8Array(stored.bytes.buffer, stored.at, length), at);
    this.key = keyLength < 0 ? undefined : new Uint8Array(buffer, at, keyLength);
    if (keyLength > 0) at += keyLength;
    if (headers.length === 0) this.headers = NONE;
    else {
      this.headers = headers.map(([name, size]): WireHeader => {
        at += size;
        return [name, new Uint8Array(buffer, at - size, size)];
      });
    }
    this.body = bodyLength < 0 ? null : new Uint8Array(buffer, at, bodyLength);
    this.shard = shard;
    this.id = stored.id;
    this.publishedAt = stored.publishedAt;
    this.deliveries = deliveries;
    this.failures = failures;
    this.inbox = seat?.queue.inbox === true;
    this.stored = stored;
    this.log = log;
    this.seat = seat;
    this.lane = lane;
  }

  get place(): Place | undefined {
    const { log, stored } = this;
    return this.seat === undefined && log.places.readers ? log.spotAt(stored.seq) : log.place(stored.seq);
  }
}

/** Deliveries that were given the same time, so in the order in which it ends. */
interface Leased {
  readonly ms: number;
  first: Delivery | undefined;
  last: Delivery | undefined;
}

/** What a group's members have in hand: a list for each length of lease instead of a heap, because there are few lengths and many messages. */
export class Leases {
  readonly #lists = new Map<number, Leased>();
  #latest: Leased = { ms: -1, first: undefined, last: undefined };
  size = 0;

  add(delivery: Delivery, ms: number, now: number): void {
    let list = this.#latest;
    if (list.ms !== ms) {
      if (list.first === undefined) this.#lists.delete(list.ms);
      list = this.#lists.get(ms) ?? { ms, first: undefined, last: undefined };
      this.#lists.set(ms, list);
      this.#latest = list;
    }
    delivery.ends = now + ms;
    delivery.list = list;
    delivery.previous = list.last;
    if (list.last === undefined) list.first = delivery;
    else list.last.next = delivery;
    list.last = delivery;
    this.size++;
  }

  remove(delivery: Delivery): void {
    const { list, previous, next } = delivery;
    if (list === undefined) return;
    if (previous === undefined) list.first = next;
    else previous.next = next;
    if (next === undefined) list.last = previous;
    else next.previous = previous;
    delivery.list = undefined;
    delivery.previous = undefined;
    delivery.next = undefined;
    this.size--;
    if (list.first === undefined && list !== this.#latest) this.#lists.delete(list.ms);
  }

  /** Whose time ends first. */
  first(): Delivery | undefined {
    let earliest: Delivery | undefined;
    for (const { first } of this.#lists.values()) {
      if (first !== undefined && (earliest === undefined || first.ends < earliest.ends)) earliest = first;
    }
    return earliest;
  }

  *[Symbol.iterator](): Iterator<Delivery> {
    for (const list of this.#lists.values()) {
      for (let delivery = list.first, next = delivery?.next; delivery !== undefined; delivery = next, next = delivery?.next) yield delivery;
    }
  }
}
