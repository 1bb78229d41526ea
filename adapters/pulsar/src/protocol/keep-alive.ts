import type { Timer } from "brokerkit/driver";
import type { Settings } from "./options.ts";

/** Finds out that the other side of a connection is gone: one that is half open gives no error by itself. */
export class KeepAlive {
  readonly #settings: Settings;
  readonly #send: () => void;
  readonly #dead: (silentMs: number) => void;
  /** Whom the answers to our pings, in their order, are for. */
  readonly #asked: (() => void)[] = [];
  #heardAt: number;
  #doubtful = false;
  #timer: Timer | undefined;

  /** `send` writes a PING; `dead` is called once nothing came for an interval after one. */
  constructor(settings: Settings, send: () => void, dead: (silentMs: number) => void) {
    this.#settings = settings;
    this.#send = send;
    this.#dead = dead;
    this.#heardAt = settings.clock.monotonic();
  }

  /** When something came last, monotonic ms. */
  get heardAt(): number {
    return this.#heardAt;
  }

  /** Something came. */
  heard(): void {
    this.#heardAt = this.#settings.clock.monotonic();
  }

  ping(answered: () => void): void {
    this.#asked.push(answered);
    this.#send();
  }

  answered(): void {
    this.#asked.shift()?.();
  }

  start(): void {
    const { clock, keepAliveMs } = this.#settings;
    const due = clock.monotonic() + keepAliveMs;
    this.#timer = clock.timer(keepAliveMs, () => {
      const now = clock.monotonic();
      // It was this process that stood still: what the broker sent meanwhile has not been read yet.
      if (now - due > keepAliveMs) this.#heardAt = now;
      const silentMs = now - this.#heardAt;
      if (silentMs >= keepAliveMs && this.#doubtful) return this.#dead(Math.round(silentMs));
      this.#doubtful = silentMs >= keepAliveMs;
      if (this.#doubtful) this.ping(() => {});
      this.start();
    });
  }

  /** Whoever waits for an answer is let go. */
  stop(): void {
    this.#timer?.cancel();
    for (const answered of this.#asked.splice(0)) answered();
  }
}
