import type { Clock } from "brokerkit/driver";
import { PulsarError } from "./errors.ts";
import type { Settings } from "./options.ts";
import { bounded } from "./waiting.ts";

const [FIRST_PAUSE_MS, LONGEST_PAUSE_MS] = [100, 10_000];

/** What another attempt meets again. */
const FINAL: ReadonlySet<string> = new Set([
  "Closed",
  "InvalidArgument",
  "Unsupported",
  "AuthenticationError",
  "AuthorizationError",
  "TopicNotFound",
  "SubscriptionNotFound",
  "InvalidTopicName",
  "TopicTerminatedError",
  "IncompatibleSchema",
  "NotAllowedError",
  "ProducerFenced",
  "UnsupportedVersionError",
]);

/** Brings a producer or a consumer back after it was detached, by attempts with growing pauses. */
export class Revival {
  readonly #settings: Settings;
  readonly #attempt: (signal: AbortSignal) => Promise<void>;
  readonly #failed: (error: PulsarError) => void;
  #timer: ReturnType<Clock["timer"]> | undefined;
  #stopped = false;

  /** `attempt` rejects where it did not succeed; `failed` is called with what no attempt can mend. */
  constructor(settings: Settings, attempt: (signal: AbortSignal) => Promise<void>, failed: (error: PulsarError) => void) {
    this.#settings = settings;
    this.#attempt = attempt;
    this.#failed = failed;
  }

  /** Returns `false`, and does nothing, where it is not to come back from this. */
  begin(error: PulsarError): boolean {
    if (!this.#settings.reconnect || this.#stopped || FINAL.has(error.code)) return false;
    this.#again(FIRST_PAUSE_MS);
    return true;
  }

  #again(pauseMs: number): void {
    const { clock, connectTimeoutMs, answerTimeoutMs } = this.#settings;
    // Not all of a broker's clients at once.
    const jitter = pauseMs * (0.5 + Math.random() / 2);
    this.#timer = clock.timer(jitter, () => {
      bounded(clock, connectTimeoutMs + answerTimeoutMs, "The broker did not answer in time.", this.#attempt).catch((error: unknown) => {
        if (this.#stopped) return;
        if (error instanceof PulsarError && !FINAL.has(error.code)) this.#again(Math.min(pauseMs * 2, LONGEST_PAUSE_MS));
        else this.#failed(error as PulsarError);
      });
    });
  }

  /** No attempt is begun from now on. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }
}
