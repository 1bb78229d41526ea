import type { Clock, Timer } from "brokerkit/driver";

/** Time that passes only by `advance`. Timers fire in order, each at its own time. */
export class VirtualClock implements Clock {
  readonly #timers = new Set<{ readonly due: number; readonly run: () => void }>();
  #ms = 0;

  now(): number {
    return 1_700_000_000_000 + this.#ms;
  }

  monotonic(): number {
    return this.#ms;
  }

  /** Timers that have neither fired nor been cancelled. */
  get pending(): number {
    return this.#timers.size;
  }

  timer(ms: number, run: () => void): Timer {
    const timer = { due: this.#ms + ms, run };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  advance(ms: number): void {
    const end = this.#ms + ms;
    for (;;) {
      const [next] = [...this.#timers].filter(({ due }) => due <= end).sort((a, b) => a.due - b.due);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#ms = Math.max(this.#ms, next.due);
      next.run();
    }
    this.#ms = end;
  }
}
