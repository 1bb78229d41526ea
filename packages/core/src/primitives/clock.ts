import { performance } from "node:perf_hooks";
import type { Clock, Timer } from "../driver/adapter.ts";

// setTimeout holds a signed 32-bit number; a longer delay would fire at once.
const LONGEST_MS = 2_147_483_647;

class SystemTimer implements Timer {
  #run: (() => void) | undefined;
  #handle: NodeJS.Timeout;
  #rest: number;

  constructor(ms: number, run: () => void) {
    this.#run = run;
    this.#rest = Math.max(0, ms);
    this.#handle = this.#next();
  }

  #next(): NodeJS.Timeout {
    const step = Math.min(this.#rest, LONGEST_MS);
    this.#rest -= step;
    return setTimeout(() => {
      if (this.#rest > 0) this.#handle = this.#next();
      else this.#fire();
    }, step).unref();
  }

  #fire(): void {
    const run = this.#run;
    this.#run = undefined;
    run?.();
  }

  cancel(): void {
    this.#run = undefined;
    clearTimeout(this.#handle);
  }
}

/** The machine's own time. Its timers never keep the process alive, and take delays beyond 24.8 days (`Infinity`: never). */
export const systemClock: Clock = Object.freeze({
  now: (): number => Date.now(),
  monotonic: (): number => performance.now(),
  timer: (ms: number, run: () => void): Timer => new SystemTimer(ms, run),
});
