import type { SettleResult, Shard, WireDelivery } from "../driver/wire.ts";
import { Fifo } from "../primitives/fifo.ts";
import type { Entry } from "./entry.ts";
import { PrefixTracker } from "./prefix.ts";

export interface SettlerWiring {
  readonly unit: "message" | "entry" | "prefix";
  /** May reject: then every delivery of the call has that error. */
  readonly ack: (deliveries: readonly WireDelivery[]) => Promise<readonly SettleResult[]>;
  /** Settled, or not any more ours. */
  readonly over: (entry: Entry, verdict: "settled" | "lost") => void;
  /** What to do with an ack that failed: try again (after waiting), or give the delivery up. */
  readonly failed: (error: unknown) => Promise<"again" | "lost">;
}

const MAX_CALL = 5_000;

/** Sends acks in batches: one call under way, what comes meanwhile goes with the next. Heads instead of messages for logs. */
export class Settler {
  readonly #wiring: SettlerWiring;
  readonly #prefix: PrefixTracker | undefined;
  #queue: Entry[] = [];
  /** Met an error: they go first in the next call. */
  #again: Entry[] = [];
  #scheduled = false;
  #busy = false;
  /** Acks taken, and those of them without an answer. */
  #taken = 0;
  #pending = 0;
  /** In order: a flush waits for what was taken before it, not for a quiet moment. */
  readonly #flushes = new Fifo<{ upTo: number; resolve: () => void }>();

  constructor(wiring: SettlerWiring) {
    this.#wiring = wiring;
    this.#prefix = wiring.unit === "prefix" ? new PrefixTracker() : undefined;
  }

  /** Acks without an answer. */
  get pending(): number {
    return this.#pending;
  }

  /** Settled ones that need no more but the head to move. */
  get recorded(): number {
    return this.#prefix?.recorded ?? 0;
  }

  /** A delivery has come in; logs need to know their order. */
  delivered(entry: Entry): void {
    this.#prefix?.delivered(entry);
  }

  /** Its handling is over: acknowledge it. */
  add(entry: Entry): void {
    const head = this.#prefix === undefined ? entry : this.#prefix.settled(entry);
    if (head === undefined) {
      // Recorded behind a gap: it goes out with a later head.
      entry.awaiting?.resolve();
      return;
    }
    head.turn = ++this.#taken;
    this.#pending++;
    this.#queue.push(head);
    if (this.#scheduled || this.#busy) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      void this.#run();
    });
  }

  /** Forgets an ownership that is over; `undefined`: all there are. What waits here says by its state that it is lost. */
  lost(shard: Shard | undefined): void {
    this.#prefix?.lost(shard);
  }

  /** Resolves when every ack given so far has its answer. */
  flush(): Promise<void> {
    if (this.#pending === 0) return Promise.resolve();
    return new Promise((resolve) => this.#flushes.push({ upTo: this.#taken, resolve }));
  }

  async #run(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    while (this.#pending > 0) {
      const room = MAX_CALL - this.#again.length;
      const fresh = this.#queue.length <= room ? this.#queue : this.#queue.slice(0, room);
      this.#queue = this.#queue.length <= room ? [] : this.#queue.slice(room);
      // One that fails again and again must not keep the others from being acknowledged: it goes along with them.
      const entries = this.#again.length === 0 ? fresh : [...this.#again, ...fresh];
      // What was lost while it waited here never reaches the wire.
      const owned = entries.filter((entry) => entry.state === "settling");
      this.#again = owned.length > 0 ? await this.#send(owned) : [];
      this.#pending -= entries.length - this.#again.length;
      const oldest = (this.#again[0] ?? this.#queue[0])?.turn ?? Number.POSITIVE_INFINITY;
      for (let next = this.#flushes.peek(); next !== undefined && next.upTo < oldest; next = this.#flushes.peek()) {
        this.#flushes.shift()?.resolve();
      }
    }
    this.#busy = false;
  }

  /** One call; returns what is to be tried again, in order. */
  async #send(entries: readonly Entry[]): Promise<Entry[]> {
    const results = await this.#call(entries);
    const met: Entry[] = [];
    let failure: unknown;
    for (let n = 0; n < entries.length; n++) {
      const entry = entries[n] as Entry;
      const result = results[n];
      if (entry.state !== "settling") continue;
      if (result === "lost" || result === undefined) this.#wiring.over(entry, "lost");
      else if (typeof result === "string") this.#settled(entry);
      else {
        failure = result.error;
        met.push(entry);
      }
    }
    // A later head of the same call may have covered it, or its shard is lost.
    const again = met.filter(stillSettling);
    if (again.length === 0) return again;
    if ((await this.#wiring.failed(failure)) === "again") return again.filter(stillSettling);
    for (const entry of again) if (entry.state === "settling") this.#wiring.over(entry, "lost");
    return [];
  }

  #settled(entry: Entry): void {
    if (this.#prefix === undefined) return this.#wiring.over(entry, "settled");
    for (const covered of this.#prefix.committed(entry)) this.#wiring.over(covered, "settled");
  }

  async #call(entries: readonly Entry[]): Promise<readonly SettleResult[]> {
    const wires: WireDelivery[] = new Array(entries.length);
    for (let n = 0; n < entries.length; n++) wires[n] = (entries[n] as Entry).wire;
    try {
      return await this.#wiring.ack(wires);
    } catch (error) {
      return entries.map(() => ({ error }));
    }
  }
}

function stillSettling(entry: Entry): boolean {
  return entry.state === "settling";
}
