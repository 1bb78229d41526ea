import { Heap } from "../primitives/heap.ts";
import { DeliveryLanes, type LanedDelivery } from "./delivery-lanes.ts";

interface Waiting extends LanedDelivery {
  /** Goes alone: the batch it was in failed. */
  solo: boolean;
}

interface BatchRule {
  readonly max: number;
  readonly waitMs: number;
}

/** What waits for a handler: new deliveries in their lanes, and those whose next attempt is due later. Decides what goes next. */
export class Backlog<T extends Waiting> {
  readonly #batch: BatchRule | undefined;
  readonly #lanes = new DeliveryLanes<T>();
  readonly #later = new Heap<readonly T[]>();
  readonly #due: (readonly T[])[] = [];
  readonly #ours: (item: T, now: number) => boolean;
  #held = 0;
  #solo = 0;
  #filling: number | undefined;

  /** `ours`: asked about each item when its turn has come; what is not may still say `leave`. */
  constructor(batch: BatchRule | undefined, ours: (item: T, now: number) => boolean) {
    this.#batch = batch;
    this.#ours = ours;
  }

  /** Nothing waits in the lanes: handlers would run dry. */
  get dry(): boolean {
    return this.#lanes.size === 0;
  }

  /** New messages that could be taken now. */
  get available(): number {
    return this.#lanes.available;
  }

  /** New messages that wait here. */
  get size(): number {
    return this.#lanes.size;
  }

  /** Messages that wait for the time of their next attempt. */
  get held(): number {
    return this.#held;
  }

  /** When `take` may have something that it has not now (monotonic ms). */
  get due(): number {
    const filled = this.#filling === undefined ? Number.POSITIVE_INFINITY : this.#filling + (this.#batch?.waitMs ?? 0);
    return Math.min(this.#later.due, filled);
  }

  add(item: T): void {
    this.#lanes.add(item);
  }

  /** What goes to one handler now: one message, or a batch; `undefined` for nothing yet. */
  take(now: number): readonly T[] | undefined {
    for (let items = this.#later.take(now); items !== undefined; items = this.#later.take(now)) {
      this.#held -= items.length;
      this.#due.push(items);
    }
    for (let items = this.#due.shift(); items !== undefined; items = this.#due.shift()) {
      const ours = this.#keep(items, now);
      if (ours.length > 0) return ours;
    }
    for (let items = this.#next(now); items !== undefined; items = this.#next(now)) {
      const ours = this.#keep(items, now);
      if (ours.length > 0) return ours;
    }
    return undefined;
  }

  #keep(items: readonly T[], now: number): readonly T[] {
    return items.every((item) => this.#ours(item, now)) ? items : items.filter((item) => this.#ours(item, now));
  }

  #next(now: number): readonly T[] | undefined {
    const { available } = this.#lanes;
    if (available === 0) return undefined;
    if (this.#batch === undefined) return this.#lanes.take(1);
    const { max, waitMs } = this.#batch;
    if (available < max && waitMs > 0 && this.#solo === 0) {
      this.#filling ??= now;
      if (now < this.#filling + waitMs) return undefined;
    }
    this.#filling = undefined;
    const items = this.#lanes.take(this.#solo > 0 ? 1 : max);
    for (const item of items) this.#unmark(item);
    return items;
  }

  /** Taken items go again together at `due`; their lanes stay theirs. */
  again(items: readonly T[], due: number): void {
    this.#held += items.length;
    this.#later.add(due, items);
  }

  /** Taken items go again one by one, in their order. */
  split(items: readonly T[]): void {
    for (const item of items) item.solo = true;
    this.#solo += items.length;
    this.#lanes.restore(items);
  }

  /** A taken item is over: its lane goes on. Saying it twice does no harm. */
  leave(item: T): void {
    this.#lanes.leave(item);
  }

  /** Forgets what waits here and is no longer ours. */
  forget(gone: (item: T) => boolean): void {
    for (const item of this.#lanes.drop(gone)) this.#unmark(item);
    // What waits for its next attempt counts as held until it is forgotten.
    this.#later.filter((items) => {
      if (!items.every(gone)) return true;
      this.#held -= items.length;
      return false;
    });
  }

  /** Removes and returns all that waits. */
  drain(): T[] {
    this.#filling = undefined;
    this.#held = 0;
    return [...this.#lanes.drop(() => true), ...this.#later.drain().flat(), ...this.#due.splice(0).flat()];
  }

  #unmark(item: T): void {
    if (!item.solo) return;
    item.solo = false;
    this.#solo--;
  }
}
