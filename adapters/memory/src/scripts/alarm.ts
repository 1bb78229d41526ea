import type { Clock, Timer } from "brokerkit/driver";

/** One timer for many due times: keeps the earliest; `run` does what is due and calls `at` again. */
export class Alarm {
  readonly #clock: Clock;
  readonly #run: () => void;
  #timer: Timer | undefined;
  #due = Number.POSITIVE_INFINITY;

  constructor(clock: Clock, run: () => void) {
    this.#clock = clock;
    this.#run = run;
  }

  at(due: number): void {
    if (due >= this.#due) return;
    this.#timer?.cancel();
    this.#due = due;
    this.#timer = this.#clock.timer(Math.max(0, due - this.#clock.monotonic()), () => {
      this.cancel();
      this.#run();
    });
  }

  cancel(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#due = Number.POSITIVE_INFINITY;
  }
}
