import type { SettleResult, WireDelivery } from "../driver/wire.ts";
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
  #scheduled = false;
  #busy = false;
  /** Acks taken and acks answered, in order: a flush waits for what was taken before it, not for a quiet moment. */
  #taken = 0;
  #answered = 0;
  readonly #flushes = new Fifo<{ upTo: number; resolve: () => void }>();

  constructor(wiring: SettlerWiring) {
    this.#wiring = wiring;
    this.#prefix = wiring.unit === "prefix" ? new PrefixTracker() : undefined;
  }

  /** Acks without an answer. */
  get pending(): number {
    return this.#taken - this.#answered;
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
    if (this.#prefix === undefined) {
      this.#queue.push(entry);
    } else {
      const head = this.#prefix.settled(entry);
      if (head === undefined) {
        // Recorded behind a gap: it goes out with a later head.
        entry.awaiting?.resolve();
        return;
      }
      this.#queue.push(head);
    }
    this.#taken++;
    if (this.#scheduled || this.#busy) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      void this.#run();
    });
  }

  /** Forgets a delivery that is no longer ours. */
  lost(entry: Entry): void {
    this.#prefix?.lost(entry.wire.shard);
  }

  /** Resolves when every ack given so far has its answer. */
  flush(): Promise<void> {
    if (this.#answered === this.#taken) return Promise.resolve();
    return new Promise((resolve) => this.#flushes.push({ upTo: this.#taken, resolve }));
  }

  async #run(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    while (this.#queue.length > 0) {
      const entries = this.#queue.length <= MAX_CALL ? this.#queue : this.#queue.slice(0, MAX_CALL);
      this.#queue = this.#queue.length <= MAX_CALL ? [] : this.#queue.slice(MAX_CALL);
      // What was lost while it waited here never reaches the wire.
      const owned = entries.filter((entry) => entry.state === "settling");
      if (owned.length > 0) await this.#send(owned);
      this.#answered += entries.length;
      for (let next = this.#flushes.peek(); next !== undefined && next.upTo <= this.#answered; next = this.#flushes.peek()) {
        this.#flushes.shift()?.resolve();
      }
    }
    this.#busy = false;
  }

  async #send(entries: Entry[]): Promise<void> {
    let pending = entries;
    while (pending.length > 0) {
      const results = await this.#call(pending);
      const again: Entry[] = [];
      let failure: unknown;
      for (let n = 0; n < pending.length; n++) {
        const entry = pending[n] as Entry;
        const result = results[n];
        if (entry.state !== "settling") continue;
        if (result === "lost" || result === undefined) this.#wiring.over(entry, "lost");
        else if (typeof result === "string") this.#settled(entry);
        else {
          failure = result.error;
          again.push(entry);
        }
      }
      if (again.length > 0 && (await this.#wiring.failed(failure)) === "lost") {
        for (const entry of again) if (entry.state === "settling") this.#wiring.over(entry, "lost");
        return;
      }
      pending = again.filter((entry) => entry.state === "settling");
    }
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
