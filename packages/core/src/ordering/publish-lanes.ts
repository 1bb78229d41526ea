import type { BoundTopic } from "../definition.ts";

/** An item that may belong to a lane: one topic's one key, or a whole topic. */
export interface Laned {
  readonly lane: string | undefined;
}

/** Which lane a message goes through; `undefined`: it waits for no other. */
export function publishLane({ order, wire }: Pick<BoundTopic, "order" | "wire">, key: string | undefined): string | undefined {
  if (order === "topic") return `${wire}\0`;
  return order === "none" || key === undefined ? undefined : `${wire}\0\0${key}`;
}

interface Lane<T> {
  /** The batch that has the lane now; `undefined`: it is free. */
  holder: object | undefined;
  parked: T[];
}

/** Free lanes that are kept for their next message: taking one out and putting it back costs more than the rest of a lane's work. */
const KEPT = 4_096;

/**
 * Keeps a key out of two publish calls at once, so that nothing newer of it leaves before the call with the older has settled.
 * With `oncePerBatch` a key is not twice in one call either (`publish.order: "record"`).
 */
export class PublishLanes<T extends Laned> {
  readonly #lanes = new Map<string, Lane<T>>();
  readonly #oncePerBatch: () => boolean;
  #free = 0;

  constructor(oncePerBatch: () => boolean) {
    this.#oncePerBatch = oncePerBatch;
  }

  /** Lanes in a call, and those kept for their next message. */
  get size(): number {
    return this.#lanes.size;
  }

  /** True: the item may go into this batch. False: it waits here until the lane is released. */
  enter(item: T, batch: object): boolean {
    if (item.lane === undefined) return true;
    const lane = this.#lanes.get(item.lane);
    if (lane === undefined) {
      this.#lanes.set(item.lane, { holder: batch, parked: NONE });
      return true;
    }
    if (lane.holder === undefined) {
      lane.holder = batch;
      this.#free--;
      return true;
    }
    // Nothing overtakes what is parked, not even inside the holder's own batch.
    if (lane.holder === batch && lane.parked.length === 0 && !this.#oncePerBatch()) return true;
    if (lane.parked === NONE) lane.parked = [];
    lane.parked.push(item);
    return false;
  }

  /** The batch is over for these items: returns what was parked behind them, in order, for the front of the queue. */
  leave(items: readonly T[], batch: object): T[] {
    const freed: T[] = [];
    for (const item of items) {
      if (item.lane === undefined) continue;
      const lane = this.#lanes.get(item.lane);
      if (lane === undefined || lane.holder !== batch) continue;
      lane.holder = undefined;
      this.#free++;
      if (lane.parked === NONE) continue;
      for (const parked of lane.parked) freed.push(parked);
      lane.parked = NONE;
    }
    if (this.#free > KEPT) this.#sweep();
    return freed;
  }

  /** Removes and returns everything parked. */
  drain(): T[] {
    const all = [...this.#lanes.values()].flatMap((lane) => lane.parked);
    this.#lanes.clear();
    this.#free = 0;
    return all;
  }

  /** Forgets all free lanes at once: the few that are held are moved, since deleting one by one costs more. */
  #sweep(): void {
    const held: [string, Lane<T>][] = [];
    if (this.#free < this.#lanes.size) for (const entry of this.#lanes) if (entry[1].holder !== undefined) held.push(entry);
    this.#lanes.clear();
    for (const [name, lane] of held) this.#lanes.set(name, lane);
    this.#free = 0;
  }
}

const NONE: never[] = [];
