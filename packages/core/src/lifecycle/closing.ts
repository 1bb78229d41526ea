import type { Clock } from "../driver/adapter.ts";
import { Alarm } from "../primitives/alarm.ts";
import { type Deferred, deferred } from "../primitives/deferred.ts";

const GRACE_MS = 1_000;

export interface ClosingWiring {
  readonly clock: Clock;
  /** What it waits for. */
  readonly unfinished: () => number;
  /** Its time is over: what still runs is to be given up. */
  readonly giveUp: () => void;
}

/** The end of a subscription, bounded by a deadline that may come nearer: what waits for what, and for how long. */
export class Closing {
  readonly #wiring: ClosingWiring;
  readonly #end: Alarm;
  readonly #grace: Alarm;
  /** It waits no longer for anybody. */
  readonly #late: Deferred<void> = deferred<void>();
  readonly #stopped = new AbortController();
  readonly #waiting: (() => void)[] = [];
  #underWay = false;

  constructor(wiring: ClosingWiring) {
    this.#wiring = wiring;
    this.#end = new Alarm(wiring.clock, () => this.#giveUp());
    this.#grace = new Alarm(wiring.clock, () => this.#late.resolve());
  }

  get underWay(): boolean {
    return this.#underWay;
  }

  /** Aborts when nothing is tried any more. */
  get stopped(): AbortSignal {
    return this.#stopped.signal;
  }

  /** `deadline`: monotonic ms. */
  begin(deadline: number): void {
    this.#underWay = true;
    this.#grace.at(deadline + GRACE_MS);
  }

  /** Ends at this time already, if it is under way. */
  hurry(deadline: number): void {
    if (!this.#underWay) return;
    this.#end.at(deadline);
    this.#grace.at(deadline + GRACE_MS);
  }

  /** A driver on a dead link may take its time; closing does not. */
  async bounded(work: Promise<unknown>): Promise<void> {
    await Promise.race([work.catch(() => {}), this.#late.promise]);
  }

  /** Resolves when nothing is unfinished any more and `last` is done, or soon after `deadline`, when everything has been given up. */
  async finish(deadline: number, last: () => Promise<unknown>): Promise<void> {
    this.#end.at(deadline);
    while (!this.#stopped.signal.aborted && this.#wiring.unfinished() > 0) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    await this.bounded(last());
    this.#end.cancel();
  }

  /** Something was finished. */
  look(): void {
    if (this.#waiting.length > 0 && this.#wiring.unfinished() === 0) this.#wake();
  }

  #giveUp(): void {
    this.#wiring.giveUp();
    this.#stopped.abort();
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Nothing is tried any more. */
  stop(): void {
    this.#stopped.abort();
  }

  end(): void {
    this.#grace.cancel();
  }
}
