import { randomUUID } from "node:crypto";
import type { Clock } from "brokerkit/driver";

/** How long the driver's own message stays in a queue that nobody reads any more; behind others it waits until it is the oldest. */
export const MARK_MS = 10_000;

/** The driver's own messages that wait in queues of groups, as far as this process knows: lag leaves them out. */
export class Marks {
  readonly #clock: Clock;
  readonly #waiting = new Map<string, { readonly queue: string; readonly until: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** One more is on its way to this queue. Gives its id. */
  add(queue: string): string {
    const id = `mark-${randomUUID()}`;
    this.#waiting.set(id, { queue, until: this.#clock.monotonic() + MARK_MS });
    return id;
  }

  /** It was read, or has not been stored. */
  remove(id: string): void {
    this.#waiting.delete(id);
  }

  /** How many wait there. One that may have expired is not counted: lag is rather too large than too small. */
  in(queue: string): number {
    const now = this.#clock.monotonic();
    let count = 0;
    for (const [id, mark] of this.#waiting) {
      if (mark.until <= now) this.#waiting.delete(id);
      else if (mark.queue === queue) count++;
    }
    return count;
  }
}
