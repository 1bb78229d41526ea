import type { Clock } from "../driver/adapter.ts";

const HORIZON_MS = 500;
const MEASURE_MS = 20;
const MAX_MESSAGES = 10_000;
const AHEAD = 16;
const MAX_BYTES = 32 * 2 ** 20;

/**
 * How many deliveries to own at once. Starts at twice the concurrency, doubles whenever handlers ran dry while more was on its way, and
 * never owns more than half a second of measured work: enough to hide the round trip, not enough to starve other members.
 */
export class Window {
  readonly #clock: Clock;
  readonly #most: number;
  #concurrency: number;
  #target: number;
  #rate = 0;
  #handled = 0;
  #since: number;

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

  /** How many more to ask for, with `active` at work or ready for it, `owned` in all, of `bytes` bytes. 0 until a batch is worthwhile. */
  room(active: number, owned: number, bytes: number): number {
    if (bytes >= MAX_BYTES) return 0;
    const room = this.#target - active;
    return room * 2 >= this.#target ? Math.min(room, this.#most - owned) : 0;
  }

  /** Streams: how many more to ask for, with `wanted` asked for by their user and `waiting` here already. */
  ahead(wanted: number, waiting: number): number {
    return Math.max(0, Math.min(this.#most, wanted + AHEAD) - waiting);
  }

  handled(messages: number): void {
    this.#handled += messages;
  }

  /** The reader got a full answer and found its handlers idle. */
  starved(): void {
    this.#measure();
    const worth = Math.ceil(this.#rate * HORIZON_MS);
    this.#target = Math.max(this.#floor, Math.min(this.#target * 2, worth, this.#most));
  }

  /** Shrinks to what the measured rate justifies. */
  settle(): void {
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
