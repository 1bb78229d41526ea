import type { Clock } from "../driver/adapter.ts";
import type { SettleResult } from "../driver/wire.ts";
import { Alarm } from "./alarm.ts";

interface Leased {
  leaseUntil: number;
}

/**
 * Keeps the lease of everything owned alive, buffered messages too, and fences on the monotonic clock: past its deadline a delivery
 * counts as lost here, whatever the server thinks.
 */
export class Leases<T extends Leased> {
  readonly #clock: Clock;
  readonly #ms: number;
  readonly #alarm: Alarm;
  readonly #owned: () => Iterable<T>;
  readonly #extend: ((items: readonly T[], ms: number) => Promise<readonly SettleResult[]>) | undefined;
  readonly #expired: (items: readonly T[]) => void;
  #extending = false;

  constructor(wiring: {
    clock: Clock;
    leaseMs: number;
    owned: () => Iterable<T>;
    extend: ((items: readonly T[], ms: number) => Promise<readonly SettleResult[]>) | undefined;
    expired: (items: readonly T[]) => void;
  }) {
    this.#clock = wiring.clock;
    this.#ms = wiring.leaseMs;
    this.#owned = wiring.owned;
    this.#extend = wiring.extend;
    this.#expired = wiring.expired;
    this.#alarm = new Alarm(wiring.clock, () => void this.#sweep());
  }

  /** Something new is owned. */
  watch(): void {
    if (this.#ms > 0) this.#alarm.at(this.#clock.monotonic() + this.#ms / 4);
  }

  /** Gives one item at least `ms` from now. `false`: it is no longer ours. */
  async extend(item: T, ms: number): Promise<boolean> {
    if (this.#extend === undefined) return true;
    const until = this.#clock.monotonic() + ms;
    if (until <= item.leaseUntil) return true;
    const [result] = await this.#extend([item], ms);
    if (result === "lost") this.#expired([item]);
    else if (typeof result === "string") item.leaseUntil = Math.max(item.leaseUntil, until);
    return result !== "lost";
  }

  stop(): void {
    this.#alarm.cancel();
  }

  async #sweep(): Promise<void> {
    const now = this.#clock.monotonic();
    const due: T[] = [];
    const expired: T[] = [];
    let earliest = Number.POSITIVE_INFINITY;
    let owned = 0;
    for (const item of this.#owned()) {
      owned++;
      if (item.leaseUntil <= now) {
        expired.push(item);
        continue;
      }
      if (item.leaseUntil - now <= (this.#ms * 2) / 3) due.push(item);
      if (item.leaseUntil < earliest) earliest = item.leaseUntil;
    }
    if (expired.length > 0) this.#expired(expired);
    if (owned > expired.length) this.#alarm.at(Math.max(now + 1, Math.min(earliest, now + this.#ms / 4)));
    if (due.length === 0 || this.#extend === undefined || this.#extending) return;
    this.#extending = true;
    try {
      const results = await this.#extend(due, this.#ms);
      for (let n = 0; n < due.length; n++) {
        const item = due[n] as T;
        const result = results[n];
        if (result === "lost") this.#expired([item]);
        // Counted from before the call: early rather than late.
        else if (typeof result === "string") item.leaseUntil = Math.max(item.leaseUntil, now + this.#ms);
      }
    } catch {
      // The next sweep tries again while the lease lasts; then the fence falls.
    } finally {
      this.#extending = false;
    }
  }
}
