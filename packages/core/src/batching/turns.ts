import type { Clock } from "../driver/adapter.ts";
import { type Deferred, deferred } from "../primitives/deferred.ts";
import { detachable } from "../primitives/detachable.ts";

/** What one publish waits for before it can be encoded, and how long. */
export interface Waiting<V> {
  /** The topic, on its way to being usable. */
  readonly ready: Promise<unknown> | undefined;
  readonly verdict: V | Promise<V>;
  /** Monotonic ms. */
  readonly deadline: number;
  readonly signal: AbortSignal | undefined;
  /** Why it waits no longer: its time is over, its signal has aborted, the line is closed. */
  readonly error: (why: "late" | "aborted" | "closed", reason?: unknown) => Error;
}

/**
 * Publishes that cannot be encoded at once: each waits for its topic, its schema and those of its line that were called before, but never
 * longer than its own time. One that gives up lets nobody overtake.
 */
export class Turns {
  readonly #clock: Clock;
  readonly #changed: (by: 1 | -1) => void;
  readonly #last = new Map<object, Promise<void>>();
  readonly #waiting = new Set<() => void>();

  /** `changed`: one more waits, or one less. */
  constructor(clock: Clock, changed: (by: 1 | -1) => void) {
    this.#clock = clock;
    this.#changed = changed;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** Somebody of this line waits. */
  has(line: object): boolean {
    return this.#last.has(line);
  }

  /** Calls `go` when it is this publish's turn, and resolves to what comes of it. */
  take<V, R>(line: object, waiting: Waiting<V>, go: (verdict: V) => Promise<R>): Promise<R> {
    const before = this.#last.get(line);
    const over = deferred<never>();
    const closed = (): void => over.reject(waiting.error("closed"));
    this.#waiting.add(closed);
    this.#changed(1);
    let outcome: Promise<R> | undefined;
    const mine = this.#wait(waiting, before, over)
      .then((verdict) => {
        outcome = go(verdict);
        // Handled by whoever holds the promise below, a turn later.
        outcome.catch(() => {});
      })
      .finally(() => {
        this.#waiting.delete(closed);
        this.#changed(-1);
      });
    const last = Promise.allSettled([before, mine]).then(() => {
      if (this.#last.get(line) === last) this.#last.delete(line);
    });
    this.#last.set(line, last);
    return mine.then(() => outcome as Promise<R>);
  }

  /** Nobody waits any longer. */
  giveUp(): void {
    for (const stop of [...this.#waiting]) stop();
  }

  async #wait<V>(waiting: Waiting<V>, before: Promise<void> | undefined, over: Deferred<never>): Promise<V> {
    const { ready, verdict, deadline, signal, error } = waiting;
    const [topic, turn] = [detachable(ready), detachable(before)];
    const aborted = (): void => over.reject(error("aborted", signal?.reason));
    const timer = this.#clock.timer(Math.max(0, deadline - this.#clock.monotonic()), () => over.reject(error("late")));
    signal?.addEventListener("abort", aborted);
    if (signal?.aborted === true) aborted();
    try {
      const [given] = await Promise.race([over.promise, Promise.all([verdict, topic.promise, turn.promise])]);
      return given;
    } finally {
      timer.cancel();
      signal?.removeEventListener("abort", aborted);
      topic.detach();
      turn.detach();
    }
  }
}
