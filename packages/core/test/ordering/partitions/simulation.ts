import type { Clock, Coordination, Register, Timer } from "brokerkit/driver";
import { Membership } from "../../../src/ordering/partitions/membership.ts";
import type { VirtualClock } from "../../../src/testing/virtual-clock.ts";

/** Numbers from 0 to below 1, the same for the same seed. */
export function seeded(seed: number): () => number {
  let state = seed * 2_654_435_769;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let n = Math.imul(state ^ (state >>> 15), 1 | state);
    n = (n + Math.imul(n ^ (n >>> 7), 61 | n)) ^ n;
    return ((n ^ (n >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** How bad the way to the register is. */
export interface Weather {
  /** Longest way to the register, and back, ms. */
  latencyMs: number;
  /** How often a call never arrives, and how often it arrives and its answer does not. */
  lostCalls: number;
  lostAnswers: number;
  /** How often a call arrives long after its caller has given up. */
  lateCalls: number;
}

/** Registers in one place, as linearizable as can be. */
export class Registers {
  readonly values: Map<string, Register> = new Map();
  writes = 0;

  compareAndSet(name: string, expected: string | undefined, value: Uint8Array): string | undefined {
    if (this.values.get(name)?.revision !== expected) return undefined;
    const revision = String(++this.writes);
    this.values.set(name, { value, revision });
    return revision;
  }
}

/** A member in a process of its own: it can stand still, die, and be cut off. */
export class Process {
  readonly membership: Membership;
  readonly weather: Weather;
  readonly id: string;
  readonly #clock: VirtualClock;
  readonly #random: () => number;
  readonly #registers: Registers;
  /** What happened to it while it stood still. */
  #missed: (() => void)[] | undefined;
  #left = false;
  #dead = false;
  /** What its application believes to own. */
  readonly owned: Set<number> = new Set();

  constructor(o: {
    id: string;
    clock: VirtualClock;
    random: () => number;
    registers: Registers;
    weather: Weather;
    parts: number;
    ttlMs: number;
    drainMs: number;
  }) {
    this.id = o.id;
    this.weather = o.weather;
    this.#clock = o.clock;
    this.#random = o.random;
    this.#registers = o.registers;
    const draining = new Set<number>();
    this.membership = new Membership({
      coordination: this.#coordination(),
      register: "owners/orders/billing",
      id: o.id,
      parts: o.parts,
      ttlMs: o.ttlMs,
      clock: this.#ownClock(),
      random: o.random,
      gained: (parts) => {
        for (const part of parts) this.owned.add(part);
      },
      lost: (parts) => {
        for (const part of parts) this.owned.delete(part);
      },
      excess: (parts) => {
        for (const part of parts) {
          if (draining.has(part)) continue;
          draining.add(part);
          this.#ownClock().timer(o.random() * o.drainMs, () => {
            draining.delete(part);
            if (!this.owned.delete(part)) return;
            this.membership.letGo(part);
          });
        }
      },
      failed: () => {},
    });
  }

  /** What it holds by its own clock at this moment, whether it runs or stands still. */
  holds(part: number): boolean {
    return !this.#dead && this.membership.fence(part) !== undefined;
  }

  get alive(): boolean {
    return !this.#dead && !this.#left;
  }

  freeze(): void {
    this.#missed ??= [];
  }

  /** Everything that was due happens now, in any order. */
  thaw(): void {
    if (this.#dead) return;
    const missed = this.#missed ?? [];
    this.#missed = undefined;
    for (const run of missed.sort(() => this.#random() - 0.5)) run();
  }

  kill(): void {
    this.#dead = true;
    this.freeze();
  }

  async leave(): Promise<void> {
    this.#left = true;
    this.owned.clear();
    await this.membership.leave();
  }

  #ownClock(): Clock {
    return {
      now: () => this.#clock.now(),
      monotonic: () => this.#clock.monotonic(),
      timer: (ms, run): Timer => {
        let cancelled = false;
        const timer = this.#clock.timer(ms, () => this.#here(() => !cancelled && run()));
        return {
          cancel: (): void => {
            cancelled = true;
            timer.cancel();
          },
        };
      },
    };
  }

  #here(run: () => void): void {
    if (this.#missed === undefined) run();
    else this.#missed.push(run);
  }

  /** Calls take their time both ways, may not arrive, and may arrive long after their caller has given up. */
  #coordination(): Coordination {
    const call = <T>(signal: AbortSignal, effect: () => T): Promise<T> =>
      new Promise((resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason), { once: true });
        if (signal.aborted) return reject(signal.reason);
        const { latencyMs, lostCalls, lostAnswers, lateCalls } = this.weather;
        if (this.#random() < lostCalls) return;
        const slow = this.#random() < lateCalls ? 20 : 1;
        this.#clock.timer(this.#random() * latencyMs * slow, () => {
          const result = effect();
          if (this.#random() < lostAnswers) return;
          this.#clock.timer(this.#random() * latencyMs, () => this.#here(() => resolve(result)));
        });
      });
    return {
      read: (name, signal) => call(signal, () => this.#registers.values.get(name)),
      compareAndSet: (name, expected, value, signal) => call(signal, () => this.#registers.compareAndSet(name, expected, value)),
    };
  }
}
