import type { Consumption } from "./consumption.ts";
import type { Copies } from "./dead-letter/copies.ts";
import type { Clock } from "./driver/adapter.ts";
import type { Backlog } from "./ordering/backlog.ts";
import type { Decision } from "./retry/policy.ts";
import type { Entry } from "./settlement/entry.ts";
import type { Telemetry } from "./telemetry/events.ts";

export interface FailingWiring {
  readonly clock: Clock;
  readonly options: Consumption;
  readonly backlog: Backlog<Entry>;
  readonly copies: Copies<Entry>;
  readonly emit: (event: Parameters<Telemetry["emit"]>[0]) => void;
  /** Gone for good, with an event. */
  readonly dropped: (entry: Entry) => void;
  /** The backlog has something for later. */
  readonly waits: () => void;
}

/** What becomes of messages whose handler run failed: again, requeued, a dead letter, or dropped. */
export class Failing {
  readonly #wiring: FailingWiring;

  constructor(wiring: FailingWiring) {
    this.#wiring = wiring;
  }

  /** `together`: the batch they were in failed. `delayMs`: what `nack` asked for. */
  failed(entries: readonly Entry[], error: unknown, delayMs: number | undefined, together: boolean): void {
    const { options, clock, backlog, copies, waits } = this.#wiring;
    if (together && entries.length > 1 && options.batch?.onThrow === "split") return this.#split(entries, error);
    const again: Entry[] = [];
    let pause = 0;
    for (const entry of entries) {
      this.#count(entry);
      const heldMs = clock.monotonic() - entry.receivedAt;
      const decision = options.retry.decide({ error, failures: entry.failures, delayMs, heldMs, held: backlog.held + 1 });
      this.#tell(entry, error, decision.do);
      if (decision.do === "again") {
        entry.state = "waiting";
        again.push(entry);
        pause = Math.max(pause, decision.delayMs);
      } else if (decision.do === "requeue") {
        entry.state = "copying";
        copies.requeue(entry, decision.delayMs);
      } else this.giveUp(entry, decision.reason, error);
    }
    if (again.length === 0) return;
    backlog.again(again, clock.monotonic() + pause);
    waits();
  }

  /** One message of the batch may be the cause: each that has an attempt left goes again by itself, in order. */
  #split(entries: readonly Entry[], error: unknown): void {
    const { options, backlog } = this.#wiring;
    const alone: Entry[] = [];
    for (const entry of entries) {
      this.#count(entry);
      const over = entry.failures >= options.retry.attempts;
      this.#tell(entry, error, over ? "dead-letter" : "again");
      if (over) this.giveUp(entry, "attempts", error);
      else alone.push(entry);
    }
    for (const entry of alone) entry.state = "buffered";
    backlog.split(alone);
  }

  giveUp(entry: Entry, reason: string, error: unknown): void {
    const { copies, emit, dropped } = this.#wiring;
    if (this.#keeps) {
      entry.state = "copying";
      return copies.bury(entry, reason, error);
    }
    emit({ type: "dropped", id: entry.id, reason });
    dropped(entry);
  }

  get #keeps(): boolean {
    const { group, deadLetter } = this.#wiring.options;
    return group !== undefined && deadLetter === "keep";
  }

  #count(entry: Entry): void {
    entry.failures++;
    entry.firstFailedAt ||= this.#wiring.clock.now();
  }

  #tell(entry: Entry, error: unknown, next: Decision["do"]): void {
    const told = next === "dead-letter" && !this.#keeps ? "drop" : next;
    this.#wiring.emit({ type: "failed", id: entry.id, attempt: entry.attempt - 1, error, next: told });
  }
}
