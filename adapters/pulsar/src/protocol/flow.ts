/** Bytes that may wait here or be on their way, for all partitions of a consumer. */
const MAX_BYTES = 33_554_432;
/** Entries that are asked for before one was seen. */
const FIRST_ENTRIES = 8;

/**
 * How many messages a broker may send. It counts messages but stops between entries, and reads as many entries as it has permits, so that
 * permits for a thousand messages can bring a thousand full batches: here they are granted for as many entries as hold the credit.
 */
export class Flow {
  readonly #grant: (permits: number) => void;
  readonly #credit: number;
  readonly #maxBytes: number;
  /** Permits that the broker has left; it may overdraw them by an entry. */
  #outstanding = 0;
  /** Messages here that the user has not taken. */
  #waiting = 0;
  /** Moving averages; 0 before an entry was seen. */
  #entrySize = 0;
  #messageBytes = 0;
  #running = false;

  /** `share`: which part of the limit of bytes is this partition's. */
  constructor(credit: number, share: number, grant: (permits: number) => void) {
    this.#credit = Math.max(1, credit);
    this.#maxBytes = MAX_BYTES * share;
    this.#grant = grant;
  }

  /** An entry came: `charged` is what the broker takes for it, `kept` what waits to be handed out. */
  received(charged: number, kept: number, bytes: number): void {
    this.#outstanding -= charged;
    this.#waiting += kept;
    const weight = this.#entrySize === 0 ? 1 : 1 / 8;
    this.#entrySize += (Math.max(1, charged) - this.#entrySize) * weight;
    this.#messageBytes += (bytes / Math.max(1, charged) - this.#messageBytes) * weight;
    this.refill();
  }

  handedOut(messages: number): void {
    this.#waiting -= messages;
  }

  /** Grants more once half of what may be outstanding is used. */
  refill(): void {
    if (!this.#running) return;
    const target = this.#target();
    if (target <= 0 || this.#outstanding * 2 > target) return;
    const permits = target - this.#outstanding;
    this.#outstanding = target;
    this.#grant(permits);
  }

  /** Entries that there is room for; one of them whenever nothing waits. */
  #target(): number {
    if (this.#entrySize === 0) return Math.min(this.#credit, FIRST_ENTRIES);
    const room = Math.min(this.#credit, this.#maxBytes / Math.max(1, this.#messageBytes)) - this.#waiting;
    return this.#waiting > 0 && room <= 0 ? 0 : Math.max(1, Math.floor(room / this.#entrySize));
  }

  /** `false`: what was granted still comes, and nothing more. */
  run(on: boolean): void {
    this.#running = on;
    this.refill();
  }

  /** What waited is void, which makes room for more. */
  dropped(): void {
    this.#waiting = 0;
    this.refill();
  }
}
