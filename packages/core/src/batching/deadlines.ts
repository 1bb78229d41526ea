import type { Clock } from "../driver/adapter.ts";
import { Alarm } from "../primitives/alarm.ts";
import { Chain } from "../primitives/chain.ts";
import type { Pending } from "./pending.ts";

/** Everything that is being published, and the one timer that minds its deadlines. */
export class Deadlines {
  readonly #clock: Clock;
  readonly #late: (item: Pending) => void;
  readonly #pending = new Chain<Pending>();
  readonly #calls = new Map<AbortController, number>();
  readonly #alarm: Alarm;

  /** `late` must settle the item. */
  constructor(clock: Clock, late: (item: Pending) => void) {
    this.#clock = clock;
    this.#late = late;
    this.#alarm = new Alarm(clock, () => this.#expire());
  }

  get size(): number {
    return this.#pending.size;
  }

  add(item: Pending): void {
    this.#pending.add(item);
    this.#alarm.at(item.deadline);
  }

  remove(item: Pending): void {
    this.#pending.remove(item);
  }

  /** A driver's call has begun; it is aborted at the latest deadline among its records. */
  begin(call: AbortController, deadline: number): void {
    this.#calls.set(call, deadline);
    this.#alarm.at(deadline);
  }

  end(call: AbortController): void {
    this.#calls.delete(call);
  }

  /** Settles everything by `settle` and aborts what is under way. */
  giveUp(settle: (item: Pending) => void): void {
    for (const item of this.#pending) settle(item);
    for (const call of this.#calls.keys()) call.abort();
  }

  stop(): void {
    this.#alarm.cancel();
  }

  #expire(): void {
    const now = this.#clock.monotonic();
    let next = Number.POSITIVE_INFINITY;
    for (const item of this.#pending) {
      if (item.deadline <= now) this.#late(item);
      else if (item.deadline < next) next = item.deadline;
    }
    for (const [call, deadline] of this.#calls) {
      if (deadline <= now) call.abort();
      else if (deadline < next) next = deadline;
    }
    if (next !== Number.POSITIVE_INFINITY) this.#alarm.at(next);
  }
}
