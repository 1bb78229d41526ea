/** A run that lost, doubled or swapped a message: its figures count for nothing. */
export class AccountError extends Error {
  override readonly name = "AccountError";
}

export interface Expected {
  readonly count: number;
  readonly keys: number;
  /** No message for this long means that the rest is lost. */
  readonly stallMs: number;
}

/** Takes every message that a consumer gets, and knows when all have come. Exact, and cheap enough to run inside each measurement. */
export class Account {
  readonly #expected: Expected;
  readonly #seen: Uint8Array;
  readonly #last: Int32Array;
  readonly #complete = Promise.withResolvers<void>();
  readonly #watch: NodeJS.Timeout;
  #received = 0;
  #duplicates = 0;
  #unknown = 0;
  #swapped = 0;
  #watched = -1;
  #times: { readonly took: Float64Array; readonly start: number; readonly apart: number } | undefined;
  #restMs = 0;

  constructor(expected: Expected) {
    this.#expected = expected;
    this.#seen = new Uint8Array(expected.count);
    this.#last = new Int32Array(expected.keys).fill(-1);
    this.#complete.promise.catch(() => {});
    this.#watch = setInterval(() => this.#look(), expected.stallMs);
  }

  /** Resolves when each message has come; rejects with `AccountError` when nothing comes any more. */
  get complete(): Promise<void> {
    return this.#complete.promise;
  }

  get received(): number {
    return this.#received;
  }

  /** Notes each message's delay from the moment it was meant to be sent: `start` and then every `apart` ms. */
  time(start: number, apart: number): Float64Array {
    const took = new Float64Array(this.#expected.count);
    this.#times = { took, start, apart };
    return took;
  }

  /** Makes this a slow consumer, `ms` a message. */
  slow(ms: number): void {
    this.#restMs = ms;
  }

  get isSlow(): boolean {
    return this.#restMs > 0;
  }

  /** Call after `messages` messages, one of `lanes` handlers at once; wait for what it gives. */
  rest(messages: number, lanes: number): Promise<void> | undefined {
    if (this.#restMs === 0) return undefined;
    return new Promise((resolve) => setTimeout(resolve, this.#restMs * messages * lanes));
  }

  take(index: number): void {
    const { count, keys } = this.#expected;
    if (index >= count) {
      this.#unknown++;
      return;
    }
    if (this.#seen[index] !== 0) {
      this.#duplicates++;
      return;
    }
    this.#seen[index] = 1;
    if (keys > 0) {
      const key = index % keys;
      if (index < (this.#last[key] as number)) this.#swapped++;
      else this.#last[key] = index;
    }
    if (this.#times !== undefined) this.#times.took[index] = performance.now() - this.#times.start - index * this.#times.apart;
    if (++this.#received === count) this.#complete.resolve();
  }

  /** Ends the watch. Throws `AccountError` unless every message came once, one key's in order. */
  close(): void {
    clearInterval(this.#watch);
    const wrong = this.#wrong();
    if (wrong !== undefined) throw new AccountError(wrong);
  }

  /** The consumer can't go on: `complete` rejects with its error. */
  fail(error: unknown): void {
    this.#complete.reject(error);
  }

  /** Ends the watch without judging: for runs that are not meant to come to their end. */
  abandon(): void {
    clearInterval(this.#watch);
    this.#complete.resolve();
  }

  #look(): void {
    const come = this.#received + this.#duplicates + this.#unknown;
    if (come === this.#watched && this.#received < this.#expected.count)
      this.#complete.reject(new AccountError(this.#wrong() ?? "stalled"));
    this.#watched = come;
  }

  #wrong(): string | undefined {
    const lost = this.#expected.count - this.#received;
    const parts = [
      lost > 0 ? `${lost} of ${this.#expected.count} messages were lost (the first: ${this.#seen.indexOf(0)})` : "",
      this.#duplicates > 0 ? `${this.#duplicates} came twice` : "",
      this.#unknown > 0 ? `${this.#unknown} were never published` : "",
      this.#swapped > 0 ? `${this.#swapped} came out of their key's order` : "",
    ].filter((part) => part !== "");
    return parts.length === 0 ? undefined : parts.join(", ");
  }
}
