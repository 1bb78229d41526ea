import { DEFAULTS, type Retry } from "../options.ts";
import { type Backoff, backoffMs } from "./backoff.ts";

/** What happens to a message whose handler run failed. */
export type Decision =
  | { readonly do: "again"; readonly delayMs: number }
  | { readonly do: "requeue"; readonly delayMs: number }
  | { readonly do: "dead-letter"; readonly reason: DeadReason };

export type DeadReason = "attempts" | "not-retryable" | "held-too-long";

/** How long a message may be held unsettled, and how many. */
export interface HoldBound {
  readonly maxMs: number;
  readonly maxUnacked: number;
}

/** What the policy looks at. */
export interface Failed {
  readonly error: unknown;
  /** Failures so far, this one included. */
  readonly failures: number;
  /** Asked for by `nack({ delayMs })`. */
  readonly delayMs: number | undefined;
  /** How long this message has been held here. */
  readonly heldMs: number;
  /** Messages held for retry by this subscription, this one included. */
  readonly held: number;
}

/** A subscription's retry policy with its defaults filled in. */
export class RetryPolicy {
  readonly attempts: number;
  readonly #backoff: Backoff;
  readonly #jitter: "full" | "none";
  readonly #retryIf: ((error: unknown) => boolean) | undefined;
  readonly #mode: "in-place" | "requeue";
  readonly #then: "dead-letter" | "requeue";
  readonly #hold: HoldBound;

  constructor(retry: Retry, hold: HoldBound) {
    this.attempts = retry.attempts ?? DEFAULTS["retry.attempts"];
    this.#backoff = retry.backoffMs ?? DEFAULTS["retry.backoffMs"];
    this.#jitter = retry.jitter ?? DEFAULTS["retry.jitter"];
    this.#retryIf = retry.retryIf;
    this.#mode = retry.mode ?? DEFAULTS["retry.mode"];
    this.#then = retry.then ?? DEFAULTS["retry.then"];
    this.#hold = hold;
  }

  /** Pure but for the jitter. A `retryIf` that throws counts as "do not retry". */
  decide(failed: Failed): Decision {
    if (!this.#retryable(failed.error)) return { do: "dead-letter", reason: "not-retryable" };
    if (failed.failures >= this.attempts) return { do: "dead-letter", reason: "attempts" };
    const delayMs = failed.delayMs ?? backoffMs(this.#backoff, failed.failures, this.#jitter);
    if (this.#mode === "requeue") return { do: "requeue", delayMs };
    if (failed.heldMs + delayMs <= this.#hold.maxMs && failed.held <= this.#hold.maxUnacked) return { do: "again", delayMs };
    return this.#then === "requeue" ? { do: "requeue", delayMs } : { do: "dead-letter", reason: "held-too-long" };
  }

  #retryable(error: unknown): boolean {
    if (this.#retryIf === undefined) return true;
    try {
      return this.#retryIf(error);
    } catch {
      return false;
    }
  }
}
