import { Fifo } from "../primitives/fifo.ts";

/** What a batch is limited by. */
export interface BatchLimits {
  readonly maxRecords: number;
  readonly maxBytes: number;
  readonly inFlight: number;
}

/** What the batcher asks about an item when it would go into a batch: take it, leave it to its lane, or forget it. */
export type Admission = "take" | "parked" | "drop";

const TURNS = 256;

interface Sized {
  readonly bytes: number;
}

/**
 * Group commit without a linger timer. The first item leaves in the same turn of the event loop; what arrives while calls are in flight
 * forms the next batch. So a lone publish waits for nothing, and load makes batches by itself.
 */
export class Batcher<T extends Sized> {
  readonly #limits: () => BatchLimits;
  readonly #admit: (item: T, batch: object) => Admission;
  readonly #send: (items: T[], batch: object) => Promise<void>;
  readonly #ready = new Fifo<T>();
  #inFlight = 0;
  #scheduled = false;
  #paused = false;
  #turns = 0;

  constructor(wiring: {
    limits: () => BatchLimits;
    admit: (item: T, batch: object) => Admission;
    /** Must not reject. */
    send: (items: T[], batch: object) => Promise<void>;
  }) {
    this.#limits = wiring.limits;
    this.#admit = wiring.admit;
    this.#send = wiring.send;
  }

  push(item: T): void {
    this.#ready.push(item);
    this.#schedule();
  }

  /** Items that go before everything that waits, in their order: retries, and what a lane let go. */
  pushFirst(items: readonly T[]): void {
    if (items.length === 0) return;
    this.#ready.unshift(items);
    this.#schedule();
  }

  /** While paused nothing leaves; calls in flight go on. */
  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#schedule();
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** Removes and returns what has not left. */
  drain(): T[] {
    return this.#ready.drain();
  }

  readonly #run = (): void => {
    this.#scheduled = false;
    this.#flush();
  };

  #schedule(): void {
    if (this.#scheduled || this.#paused) return;
    this.#scheduled = true;
    // An application that awaits one publish after the other, on a backend without I/O, must not starve its own timers.
    if (++this.#turns % TURNS === 0) setImmediate(this.#run);
    else queueMicrotask(this.#run);
  }

  #flush(): void {
    const limits = this.#limits();
    while (!this.#paused && this.#inFlight < limits.inFlight && this.#ready.length > 0) {
      const batch = {};
      const items = this.#take(limits, batch);
      if (items.length === 0) continue;
      this.#inFlight++;
      void this.#send(items, batch).finally(() => {
        this.#inFlight--;
        this.#flush();
      });
    }
  }

  #take(limits: BatchLimits, batch: object): T[] {
    const items: T[] = [];
    let bytes = 0;
    for (let item = this.#ready.peek(); item !== undefined && items.length < limits.maxRecords; item = this.#ready.peek()) {
      if (items.length > 0 && bytes + item.bytes > limits.maxBytes) break;
      this.#ready.shift();
      if (this.#admit(item, batch) !== "take") continue;
      items.push(item);
      bytes += item.bytes;
    }
    return items;
  }
}
