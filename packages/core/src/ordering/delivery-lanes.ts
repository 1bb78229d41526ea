import { Fifo } from "../primitives/fifo.ts";

/** An item that may belong to a lane: one key, or a whole topic. */
export interface LanedDelivery {
  readonly lane: string | undefined;
  /** Taken and not back: kept by the lanes. */
  out: boolean;
}

class Lane<T> {
  readonly key: string;
  readonly queue = new Fifo<T>();
  /** Items of this lane that are out and not back yet: nothing newer leaves before. */
  out = 0;

  constructor(key: string) {
    this.key = key;
  }
}

/**
 * Hands out items so that one lane's are handled in order, one (or one batch) at a time, while lanes do not wait for each other.
 * Items without a lane wait for nothing.
 */
export class DeliveryLanes<T extends LanedDelivery> {
  readonly #lanes = new Map<string, Lane<T>>();
  /** What can be taken now, oldest first: free items, and lanes with nothing out. */
  #ready = new Fifo<T | Lane<T>>();
  /** Items whose lane is held by themselves and that may run again: they come first. */
  readonly #again = new Fifo<T>();
  #available = 0;
  #waiting = 0;

  /** Items that could be taken at this moment. */
  get available(): number {
    return this.#available;
  }

  /** Items inside, whether they could be taken or not. */
  get size(): number {
    return this.#waiting;
  }

  add(item: T): void {
    this.#waiting++;
    if (item.lane === undefined) {
      this.#available++;
      this.#ready.push(item);
      return;
    }
    let lane = this.#lanes.get(item.lane);
    if (lane === undefined) {
      lane = new Lane(item.lane);
      this.#lanes.set(item.lane, lane);
    }
    lane.queue.push(item);
    if (lane.out > 0) return;
    this.#available++;
    if (lane.queue.length === 1) this.#ready.push(lane);
  }

  /** Up to `max` items for one handler; several of one lane only together and in order. */
  take(max: number): T[] {
    const taken: T[] = [];
    while (taken.length < max) {
      const again = this.#again.shift();
      if (again !== undefined) {
        this.#count(1);
        taken.push(again);
        continue;
      }
      const next = this.#ready.shift();
      if (next === undefined) break;
      if (!(next instanceof Lane)) {
        this.#count(1);
        taken.push(next);
        continue;
      }
      const before = taken.length;
      for (let item = next.queue.peek(); item !== undefined && taken.length < max; item = next.queue.peek()) {
        next.queue.shift();
        item.out = true;
        taken.push(item);
      }
      next.out += taken.length - before;
      this.#waiting -= taken.length - before;
      this.#available -= taken.length - before + next.queue.length;
      if (next.out === 0) this.#lanes.delete(next.key);
    }
    return taken;
  }

  /** The item taken is over: its lane goes on once everything taken from it is back. Saying it twice does no harm. */
  leave(item: T): void {
    if (item.lane === undefined || !item.out) return;
    item.out = false;
    const lane = this.#lanes.get(item.lane);
    if (lane === undefined) return;
    lane.out--;
    if (lane.out === 0) this.#open(lane);
  }

  /** A taken item may be taken again, before anything else; it has kept its lane. */
  again(item: T): void {
    this.#waiting++;
    this.#available++;
    this.#again.push(item);
  }

  /** Taken items go back to the head of their lanes, in their order, as if they had never left. */
  restore(items: readonly T[]): void {
    const byLane = new Map<Lane<T>, T[]>();
    for (const item of items) {
      const lane = item.lane === undefined ? undefined : this.#lanes.get(item.lane);
      if (lane === undefined) {
        this.again(item);
        continue;
      }
      item.out = false;
      const group = byLane.get(lane);
      if (group === undefined) byLane.set(lane, [item]);
      else group.push(item);
    }
    for (const [lane, group] of byLane) {
      lane.queue.unshift(group);
      lane.out -= group.length;
      this.#waiting += group.length;
      if (lane.out === 0) this.#open(lane);
    }
  }

  /** Removes what `drop` says from what waits inside; returns it. */
  drop(drop: (item: T) => boolean): T[] {
    const dropped: T[] = this.#again.filter((item) => !drop(item));
    for (const next of this.#ready.filter((entry) => entry instanceof Lane || !drop(entry))) dropped.push(next as T);
    this.#available -= dropped.length;
    for (const lane of this.#lanes.values()) {
      const out = lane.queue.filter((item) => !drop(item));
      if (lane.out === 0) this.#available -= out.length;
      for (const item of out) dropped.push(item);
      if (lane.queue.length === 0 && lane.out === 0) this.#lanes.delete(lane.key);
    }
    this.#ready.filter((entry) => !(entry instanceof Lane) || entry.queue.length > 0);
    this.#waiting -= dropped.length;
    return dropped;
  }

  #count(items: number): void {
    this.#waiting -= items;
    this.#available -= items;
  }

  #open(lane: Lane<T>): void {
    if (lane.queue.length === 0) {
      this.#lanes.delete(lane.key);
      return;
    }
    this.#available += lane.queue.length;
    this.#ready.push(lane);
  }
}
