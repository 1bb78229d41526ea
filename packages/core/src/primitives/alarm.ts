import type { Clock, Timer } from "../driver/adapter.ts";

/** One timer for many due times: `at` keeps the earliest, `run` decides what is due and calls `at` again. */
export class Alarm {
  readonly #clock: Clock;
  readonly #run: () => void;
  #timer: Timer | undefined;
  #due = Number.POSITIVE_INFINITY;

  constructor(clock: Clock, run: () => void) {
    this.#clock = clock;
    this.#run = run;
  }

  /** Rings at `due` (monotonic ms) unless it rings earlier anyway. */
  at(due: number): void {
    if (due >= this.#due) return;
    this.#timer?.cancel();
    this.#due = due;
    this.#timer = this.#clock.timer(Math.max(0, due - this.#clock.monotonic()), () => {
      this.#due = Number.POSITIVE_INFINITY;
      this.#timer = undefined;
      this.#run();
    });
  }

  cancel(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#due = Number.POSITIVE_INFINITY;
  }
}
