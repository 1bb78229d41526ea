/** An item that may belong to a lane: one topic's one key, or a whole topic. */
export interface Laned {
  readonly lane: string | undefined;
}

interface Lane<T> {
  /** The batch that has the lane now. */
  holder: object | undefined;
  parked: T[];
}

/**
 * Keeps a key out of two publish calls at once, so that nothing newer of it leaves before the call with the older has settled.
 * With `oncePerBatch` a key is not twice in one call either (`publish.order: "record"`).
 */
export class PublishLanes<T extends Laned> {
  readonly #lanes = new Map<string, Lane<T>>();
  readonly #oncePerBatch: () => boolean;

  constructor(oncePerBatch: () => boolean) {
    this.#oncePerBatch = oncePerBatch;
  }

  /** True: the item may go into this batch. False: it waits here until the lane is released. */
  enter(item: T, batch: object): boolean {
    if (item.lane === undefined) return true;
    const lane = this.#lanes.get(item.lane);
    if (lane === undefined) {
      this.#lanes.set(item.lane, { holder: batch, parked: NONE });
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
      this.#lanes.delete(item.lane);
      for (const parked of lane.parked) freed.push(parked);
    }
    return freed;
  }

  /** Removes and returns everything parked. */
  drain(): T[] {
    const all = [...this.#lanes.values()].flatMap((lane) => lane.parked);
    this.#lanes.clear();
    return all;
  }
}

const NONE: never[] = [];
