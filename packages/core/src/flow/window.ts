import type { Clock } from "../driver/adapter.ts";

const HORIZON_MS = 500;
const MEASURE_MS = 20;
const MAX_MESSAGES = 10_000;
const AHEAD = 16;
const MAX_BYTES = 32 * 2 ** 20;

/**
 * How many deliveries to own at once. Starts at twice the concurrency, doubles whenever handlers ran dry while more was on its way or while
 * what is owned waited for its acks to be answered, and never owns more than half a second of measured work: enough to hide the round
 * trips, not enough to starve other members.
 */
export class Window {
  readonly #clock: Clock;
  readonly #most: number;
  #concurrency: number;
  #target: number;
  #rate = 0;
  #handled = 0;
  #since: number;
  /** Handlers were idle while nothing more could be asked for. */
  #pinched = false;

  /** `most`: how many the backend lets one reader own. */
  constructor(clock: Clock, concurrency: number, most: number = Number.POSITIVE_INFINITY) {
    this.#clock = clock;
    this.#most = Math.min(MAX_MESSAGES, most);
    this.#concurrency = concurrency;
    this.#target = this.#floor;
    this.#since = clock.monotonic();
  }

  set concurrency(concurrency: number) {
    this.#concurrency = concurrency;
    this.#target = Math.max(this.#target, this.#floor);
  }

  /**
   * How many more to ask for, with `active` at work or ready for it, `owned` in all, of `bytes` bytes. 0 until a batch is worthwhile.
   * `idle`: handlers have nothing to do.
   */
  room(active: number, owned: number, bytes: number, idle: boolean): number {
    const room = this.#target - active;
    const asked = bytes < MAX_BYTES && room * 2 >= this.#target ? Math.min(room, this.#most - owned) : 0;
    if (idle && asked <= 0) this.#pinched = true;
    return asked;
  }

  /** Streams: how many more to ask for, with `wanted` asked for by their user and `waiting` here already. */
  ahead(wanted: number, waiting: number): number {
    return Math.max(0, Math.min(this.#most, wanted + AHEAD) - waiting);
  }

  handled(messages: number): void {
    this.#handled += messages;
  }

  /** Deliveries came, and found handlers with nothing to do or at work; `full`: as many as were asked for. */
  arrived(idle: boolean, full: boolean): void {
    if (!idle) this.#shrink();
    else if (full || this.#pinched) this.#grow();
    this.#pinched = false;
  }

  #grow(): void {
    this.#measure();
    const worth = Math.ceil(this.#rate * HORIZON_MS);
    this.#target = Math.max(this.#floor, Math.min(this.#target * 2, worth, this.#most));
  }

  /** To what the measured rate justifies. */
  #shrink(): void {
    this.#measure();
    const worth = Math.max(this.#floor, Math.ceil(this.#rate * HORIZON_MS));
    if (worth < this.#target) this.#target = worth;
  }

  get #floor(): number {
    return Math.min(this.#most, this.#concurrency * 2);
  }

  #measure(): void {
    const now = this.#clock.monotonic();
    const elapsed = now - this.#since;
    if (elapsed < MEASURE_MS) {
      // Too short to trust, but a burst that was handled at once says enough to grow on.
      if (this.#rate === 0 && this.#handled > 0) this.#rate = this.#handled / Math.max(1, elapsed);
      return;
    }
    const rate = this.#handled / elapsed;
    this.#rate = this.#rate === 0 ? rate : (this.#rate + rate) / 2;
    this.#handled = 0;
    this.#since = now;
  }
}
