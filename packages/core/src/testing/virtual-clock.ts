import type { Clock, Timer } from "../driver/adapter.ts";
import { invalidArgument } from "../errors.ts";

// Taken when loaded, so that a test's faked timers do not stop this clock.
const immediate = setImmediate;

/** Turns of the event loop between two timers: enough for a chain of promises that takes a few I/O callbacks. */
const TURNS = 3;

interface Entry {
  readonly at: number;
  run: (() => void) | undefined;
}

/** A clock that stands still until `advance` moves it: for brokers and drivers under test. */
export class VirtualClock implements Clock {
  readonly #start: number;
  #elapsed = 0;
  /** By time, and in the order of making where times are equal. */
  readonly #timers: Entry[] = [];
  #advancing: Promise<void> = Promise.resolve();

  /** `startAt`: the wall time to begin with, epoch ms. Default: 2026-01-01T00:00:00Z. */
  constructor(startAt: number = Date.UTC(2026, 0, 1)) {
    this.#start = startAt;
  }

  now(): number {
    return this.#start + Math.floor(this.#elapsed);
  }

  monotonic(): number {
    return this.#elapsed;
  }

  timer(ms: number, run: () => void): Timer {
    const entry: Entry = { at: this.#elapsed + Math.max(0, ms), run };
    let low = 0;
    for (let high = this.#timers.length; low < high; ) {
      const middle = (low + high) >>> 1;
      if ((this.#timers[middle]?.at ?? 0) <= entry.at) low = middle + 1;
      else high = middle;
    }
    this.#timers.splice(low, 0, entry);
    return {
      cancel: (): void => {
        const index = entry.run === undefined ? -1 : this.#timers.indexOf(entry);
        if (index !== -1) this.#timers.splice(index, 1);
        entry.run = undefined;
      },
    };
  }

  /**
   * Moves time on by `ms`. Timers fire in order, each at its own time, and what they set going settles before the next one fires.
   * Calls queue up. Throws `INVALID_ARGUMENT` for a time that is no number from 0.
   */
  advance(ms: number): Promise<void> {
    if (!(Number.isFinite(ms) && ms >= 0)) throw invalidArgument("ms", "advance: ms must be a number from 0; time does not go back.");
    const turn = this.#advancing.then(() => this.#advance(ms));
    this.#advancing = turn.catch(() => {});
    return turn;
  }

  async #advance(ms: number): Promise<void> {
    const until = this.#elapsed + ms;
    await settle();
    for (let next = this.#timers[0]; next !== undefined && next.at <= until; next = this.#timers[0]) {
      this.#timers.shift();
      this.#elapsed = Math.max(this.#elapsed, next.at);
      const run = next.run;
      next.run = undefined;
      run?.();
      await settle();
    }
    this.#elapsed = until;
  }
}

/** Lets promise jobs and I/O callbacks run. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await new Promise<void>((resolve) => immediate(() => resolve()));
}
