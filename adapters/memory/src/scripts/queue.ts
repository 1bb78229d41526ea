import type { Shard, SubscriptionEvents } from "brokerkit/driver";
import { Heap } from "./heap.ts";
import type { Log, Spot, Stored } from "./log.ts";

/** A message that waits outside the log: it was given back, or stands behind one of its key. */
export class Item {
  readonly stored: Stored;
  readonly lane: Lane | undefined;
  /** Earlier deliveries and failures, as far as they are counted. */
  readonly deliveries: number;
  readonly failures: number;
  /** Monotonic ms. */
  readonly due: number;

  constructor(stored: Stored, lane: Lane | undefined, deliveries: number, failures: number, due: number) {
    this.stored = stored;
    this.lane = lane;
    this.deliveries = deliveries;
    this.failures = failures;
    this.due = due;
  }
}

const priorityOf = (item: Item): number => item.stored.extra?.priority ?? 0;
const older = (a: Item, b: Item): boolean => a.stored.seq < b.stored.seq;
const sooner = (a: Item, b: Item): boolean => {
  const [left, right] = [priorityOf(a), priorityOf(b)];
  return left === right ? older(a, b) : left > right;
};

/** One key's messages. While one member has some of them, only it gets more; what was given back goes before what is newer. */
export class Lane {
  readonly key: Uint8Array;
  /** Another key with the same hash. */
  readonly next: Lane | undefined;
  readonly items: Heap<Item> = new Heap(older);
  /** Who has, or had, what is out. */
  owner: Seat | undefined;
  /** Unsettled deliveries, all with `owner`. */
  out = 0;

  constructor(key: Uint8Array, next: Lane | undefined) {
    this.key = key;
    this.next = next;
  }
}

/** Finds lanes by hash, and forgets idle ones now and then instead of one by one. */
class Lanes {
  #lanes = new Map<number, Lane>();
  #limit = 1024;

  of(stored: Stored): Lane | undefined {
    if (!stored.keyed) return undefined;
    for (let lane = this.#lanes.get(stored.hash); lane !== undefined; lane = lane.next) if (stored.hasKey(lane.key)) return lane;
    if (this.#lanes.size >= this.#limit) this.#sweep();
    const lane = new Lane(stored.key.slice(), this.#lanes.get(stored.hash));
    this.#lanes.set(stored.hash, lane);
    return lane;
  }

  #sweep(): void {
    for (const [hash, first] of this.#lanes) {
      let busy = false;
      for (let lane: Lane | undefined = first; lane !== undefined; lane = lane.next) busy ||= lane.out > 0 || lane.items.size > 0;
      if (!busy) this.#lanes.delete(hash);
    }
    this.#limit = Math.max(1024, this.#lanes.size * 2);
  }
}

/** A member's share of one queue, and with it the ownership that its deliveries carry. */
export class Seat {
  readonly member: Member;
  readonly queue: Queue;
  shard: Shard;
  paused = false;
  /** Unsettled deliveries. */
  out = 0;
  /** What only this member may have next, because it has others of the key. */
  readonly own: Heap<Item> = new Heap(sooner);

  constructor(member: Member, queue: Queue) {
    this.member = member;
    this.queue = queue;
    this.shard = { id: queue.spot.log.shard };
  }

  /** Ends the ownership: what was delivered under it counts as lost from here on. */
  lose(reason: string | undefined): void {
    const { shard } = this;
    this.shard = { id: shard.id };
    this.out = 0;
    this.own.clear();
    if (reason !== undefined) this.member.events.lost(shard, reason);
  }
}

export class Member {
  readonly name: string;
  readonly events: SubscriptionEvents;
  seats: Seat[] = [];
  turn = 0;
  gone = false;

  constructor(name: string, events: SubscriptionEvents) {
    this.name = name;
    this.events = events;
  }
}

/** Makes a message a delivery of this seat. */
export type Hand = (seat: Seat, stored: Stored, deliveries: number, failures: number, lane: Lane | undefined, now: number) => unknown;

/** What one group has still to settle of one log. */
export class Queue {
  readonly inbox: boolean;
  /** Messages of one key go to one member at a time, and wait for what was given back before them. */
  keyed: boolean;
  readonly #hand: Hand;
  spot: Spot;
  /** Where acknowledgements cover a prefix: the first number that none covers, and who has the shard. */
  committed: number;
  owner: Seat | undefined;
  readonly waiting: Set<Item> = new Set();
  #lanes = new Lanes();
  readonly #ready = new Heap<Item>(sooner);
  readonly #later = new Heap<Item>((a, b) => a.due < b.due);

  constructor(spot: Spot, inbox: boolean, keyed: boolean, hand: Hand) {
    this.#hand = hand;
    this.spot = spot;
    this.committed = spot.next;
    this.inbox = inbox;
    this.keyed = keyed;
  }

  get log(): Log {
    return this.spot.log;
  }

  /** When the next delayed one is due. */
  get due(): number {
    return this.#later.first?.due ?? Number.POSITIVE_INFINITY;
  }

  /** Starts again from `spot`, with nothing pending. */
  restart(spot: Spot): void {
    this.spot = spot;
    this.committed = spot.next;
    this.waiting.clear();
    this.#lanes = new Lanes();
    this.#ready.clear();
    this.#later.clear();
  }

  /** Keeps a message outside the log until it may be delivered. */
  add(item: Item, now: number): void {
    this.waiting.add(item);
    if (item.lane !== undefined) {
      item.lane.items.push(item);
      this.offer(item.lane, now);
    } else if (item.due > now) this.#later.push(item);
    else this.#ready.push(item);
  }

  /** The first of a lane goes to where it can be taken from: nobody until it is due, its owner, or everybody. */
  offer(lane: Lane, now: number): void {
    const item = lane.items.first;
    if (item === undefined) return;
    if (item.due > now) this.#later.push(item);
    else if (lane.out > 0) lane.owner?.own.push(item);
    else this.#ready.push(item);
  }

  /** Hands out up to `max` messages that `seat` may have. */
  take(seat: Seat, max: number, now: number, into: unknown[]): void {
    const { spot } = this;
    const { log } = spot;
    spot.step(seat.member.events);
    // The report may have made the member leave.
    if (seat.member.gone || this.spot !== spot) return;
    for (let item = this.#later.first; item !== undefined && item.due <= now; item = this.#later.first) {
      this.#later.pop();
      if (item.lane !== undefined) this.offer(item.lane, now);
      else this.#ready.push(item);
    }
    for (const end = into.length + max; into.length < end; ) {
      // With priorities the newest may be the first, so all have to be known before one is picked.
      const item = spot.next < log.next && log.prioritised ? undefined : this.#pick(seat, now);
      if (item !== undefined) {
        into.push(this.#hand(seat, item.stored, item.deliveries + 1, item.failures, item.lane, now));
        if (item.lane !== undefined) this.offer(item.lane, now);
        continue;
      }
      if (spot.next >= log.next) return;
      const stored = log.get(spot.next++);
      if (stored === undefined || !spot.wants(stored, now)) continue;
      const lane = this.keyed ? this.#lanes.of(stored) : undefined;
      const failures = stored.extra?.failures ?? 0;
      const held = lane !== undefined && (lane.items.size > 0 || (lane.out > 0 && lane.owner !== seat));
      if (held || log.prioritised) this.add(new Item(stored, lane, 0, failures, 0), now);
      else into.push(this.#hand(seat, stored, 1, failures, lane, now));
    }
  }

  #pick(seat: Seat, now: number): Item | undefined {
    while (this.#ready.size + seat.own.size > 0) {
      const own = seat.own.first;
      const open = this.#ready.first;
      const item = own !== undefined && (open === undefined || sooner(own, open)) ? seat.own.pop() : this.#ready.pop();
      if (item === undefined) break;
      const { lane } = item;
      // A lane is offered anew whenever it changes, so an offer may be out of date.
      if (!this.waiting.has(item) || (lane !== undefined && lane.items.first !== item)) continue;
      if (lane !== undefined) {
        if (item.due > now || (lane.out > 0 && lane.owner !== seat)) {
          this.offer(lane, now);
          continue;
        }
        lane.items.pop();
      }
      this.waiting.delete(item);
      if (this.spot.wants(item.stored, now)) return item;
      if (lane !== undefined) this.offer(lane, now);
    }
    return undefined;
  }
}
