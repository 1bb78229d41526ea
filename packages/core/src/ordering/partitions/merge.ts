import type { Clock } from "../../driver/adapter.ts";
import type { WireDelivery } from "../../driver/wire.ts";
import type { Fifo } from "../../primitives/fifo.ts";

/** One of several that are read together. */
export interface Strand {
  /** Received, and not handed on yet. */
  readonly buffer: Fifo<WireDelivery>;
  /** A receive is under way. */
  receiving: boolean;
  /** Nothing more is to be received of it now. */
  readonly still: boolean;
  /** Of what it says from now on nobody wants to know. */
  readonly over: boolean;
  /** Receives at most `max` into the buffer. */
  fill(max: number, waitMs: number, signal: AbortSignal): Promise<void>;
}

/** All of them optional. */
export interface MergeEvents<S extends Strand> {
  /** Nothing will ever come. */
  readonly done?: () => boolean;
  /** A strand's receive has failed. */
  readonly broken?: (error: unknown) => void;
  /** Something waits in a buffer: nobody else keeps its lease. */
  readonly kept?: () => void;
  /** A lease in this strand's buffer has ended. What was behind it is dropped with it, and must not be overtaken. */
  readonly stale?: (strand: S) => void;
}

const IDLE_MS = 30_000;

/**
 * Receives from several strands as from one: fairly, and bounded. Each has one receive under way at the most, for its share of what is
 * wanted; what comes for nobody is kept for the next call.
 */
export class Merge<S extends Strand = Strand> {
  readonly #clock: Clock;
  readonly #waitMs: number;
  readonly #done: () => boolean;
  readonly #broken: (error: unknown) => void;
  readonly #kept: () => void;
  readonly #stale: (strand: S) => void;
  readonly #strands = new Set<S>();
  readonly #waiting = new Set<() => void>();
  #stop = new AbortController();
  #failure: { readonly error: unknown } | undefined;
  #closed = false;
  #wanted = 0;
  #turn = 0;

  /** `waitMs`: the longest wait of a strand's receive. */
  constructor(clock: Clock, waitMs: number, events: MergeEvents<S> = {}) {
    this.#clock = clock;
    this.#kept = events.kept ?? ((): void => {});
    this.#stale = events.stale ?? ((): void => {});
    this.#done = events.done ?? ((): boolean => false);
    this.#broken = events.broken ?? ((error): void => this.fail(error));
    this.#waitMs = Math.min(IDLE_MS, waitMs);
  }

  add(strand: S): void {
    this.#strands.add(strand);
    if (this.#waiting.size > 0) this.#pull(strand);
  }

  remove(strand: S): void {
    this.#strands.delete(strand);
  }

  /** Every receive rejects from now on. */
  fail(error: unknown): void {
    this.#failure ??= { error };
    this.#wake();
  }

  close(): void {
    this.#closed = true;
    this.#stop.abort();
    this.#wake();
  }

  async receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    this.#wanted = max;
    const due = this.#clock.monotonic() + waitMs;
    for (;;) {
      if (!signal.aborted) for (const strand of this.#strands) this.#pull(strand);
      if (this.#failure !== undefined) throw this.#failure.error;
      const deliveries = this.#take(max);
      if (deliveries.length > 0 || this.#closed || signal.aborted) return signal.aborted ? this.#last(max, deliveries) : deliveries;
      const left = due - this.#clock.monotonic();
      if (left <= 0 || this.#done()) return deliveries;
      await this.#news(left, signal);
    }
  }

  /** The caller stops: what is assigned to receives under way is handed out as well. */
  async #last(max: number, deliveries: WireDelivery[]): Promise<readonly WireDelivery[]> {
    this.#stop.abort();
    while ([...this.#strands].some((strand) => strand.receiving)) await this.#news(Number.POSITIVE_INFINITY, undefined);
    this.#stop = new AbortController();
    if (this.#closed) this.#stop.abort();
    for (const delivery of this.#take(max - deliveries.length)) deliveries.push(delivery);
    return deliveries;
  }

  /** Keeps one receive of a strand under way while somebody waits and nothing of it is buffered. */
  #pull(strand: S): void {
    if (strand.receiving || strand.still || strand.over || strand.buffer.length > 0 || this.#stop.signal.aborted) return;
    strand.receiving = true;
    const share = Math.max(1, Math.ceil(this.#wanted / this.#strands.size));
    strand.fill(share, this.#waitMs, this.#stop.signal).then(
      () => {
        strand.receiving = false;
        if (strand.buffer.length > 0) this.#kept();
        if (strand.buffer.length > 0 || strand.still || this.#stop.signal.aborted) this.#wake();
        else if (this.#waiting.size > 0) this.#pull(strand);
      },
      (error: unknown) => {
        strand.receiving = false;
        // Of one that is no longer ours nobody wants to know.
        if (!strand.over && !this.#closed) this.#broken(error);
        this.#wake();
      },
    );
  }

  /** What is buffered, in turns: a share of each first, then what is left. */
  #take(max: number): WireDelivery[] {
    const taken: WireDelivery[] = [];
    const strands = [...this.#strands];
    const now = this.#clock.monotonic();
    this.#turn++;
    for (const share of strands.length > 1 ? [Math.ceil(max / strands.length), max] : [max]) {
      for (let n = 0; n < strands.length && taken.length < max; n++) {
        const strand = strands[(this.#turn + n) % strands.length] as S;
        const { buffer } = strand;
        for (let left = Math.min(share, max - taken.length); left > 0 && buffer.length > 0; ) {
          const delivery = buffer.shift() as WireDelivery;
          if (delivery.leaseUntil <= now) {
            // It comes again, so nothing behind it may go before.
            buffer.drain();
            this.#stale(strand);
            break;
          }
          taken.push(delivery);
          left--;
        }
      }
    }
    return taken;
  }

  #news(ms: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#waiting.delete(done);
        timer?.cancel();
        signal?.removeEventListener("abort", done);
        resolve();
      };
      const timer = ms === Number.POSITIVE_INFINITY ? undefined : this.#clock.timer(ms, done);
      this.#waiting.add(done);
      signal?.addEventListener("abort", done, { once: true });
    });
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}
