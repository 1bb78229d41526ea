import type { ConsumeMessage } from "amqplib";
import type { Clock } from "brokerkit/driver";

/** What a channel's consumer was sent and nobody has taken yet, and the one that waits for more of it. */
export class Arrivals {
  readonly #clock: Clock;
  #messages: ConsumeMessage[] = [];
  #wake: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get any(): boolean {
    return this.#messages.length > 0;
  }

  add(message: ConsumeMessage): void {
    this.#messages.push(message);
    this.#wake?.();
  }

  /** At most `max`, oldest first. */
  take(max: number): ConsumeMessage[] {
    if (this.#messages.length > max) return this.#messages.splice(0, max);
    return this.forget();
  }

  /** All there is, which is nobody's any more. */
  forget(): ConsumeMessage[] {
    const all = this.#messages;
    this.#messages = [];
    return all;
  }

  /** Something has changed besides. */
  wake(): void {
    this.#wake?.();
  }

  /** Resolves when there may be something, the time is over, or the signal aborts. */
  wait(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        timer.cancel();
        signal.removeEventListener("abort", end);
        this.#wake = undefined;
        resolve();
      };
      const timer = this.#clock.timer(ms, end);
      signal.addEventListener("abort", end);
      this.#wake = end;
    });
  }
}
