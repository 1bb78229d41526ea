import { setTimeout as delay } from "node:timers/promises";

export interface UntilOptions {
  /** Milliseconds after which waiting is given up. */
  readonly timeoutMs: number;
  /** What is waited for, in words that complete "waited for …". */
  readonly what: string;
  /** Milliseconds between two looks; default 10. */
  readonly everyMs?: number | undefined;
  /** Ends the wait early: its reason is thrown. */
  readonly signal?: AbortSignal | undefined;
  /** More for the error message, asked for only when the wait failed. */
  readonly detail?: (() => string) | undefined;
}

/** What is left of a type once it is truthy. */
export type Truthy<T> = Exclude<T, false | 0 | "" | null | undefined>;

/** A wait that was given up. */
export class TimeoutError extends Error {
  override readonly name = "TimeoutError";
}

function shown(value: unknown): string {
  if (typeof value === "function" || typeof value === "symbol") return String(value);
  try {
    return JSON.stringify(value) ?? "undefined";
  } catch {
    return String(value);
  }
}

/**
 * Looks again and again until `condition` gives something truthy, and resolves with it. A look that throws counts as "not yet".
 * A look that never ends counts against the time-out too.
 * @throws TimeoutError that says what was waited for and what the last look gave or threw
 */
export async function until<T>(condition: () => T | Promise<T>, options: UntilOptions): Promise<Truthy<T>> {
  const { timeoutMs, what, everyMs = 10, signal, detail } = options;
  const deadline = performance.now() + timeoutMs;
  let last = "it was never looked at";
  const giveUp = (): TimeoutError => {
    const more = detail === undefined ? "" : `\n${detail()}`;
    return new TimeoutError(`waited ${timeoutMs} ms for ${what}; at last ${last}${more}`);
  };

  let timer: ReturnType<typeof setTimeout> | undefined;
  let stop: (() => void) | undefined;
  const ended = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(giveUp()), timeoutMs);
    stop = () => reject(signal?.reason);
    signal?.addEventListener("abort", stop, { once: true });
  });
  // The race below may be over before this one loses.
  ended.catch(() => undefined);
  try {
    for (;;) {
      signal?.throwIfAborted();
      const look = (async () => condition())();
      try {
        const value = await Promise.race([look, ended]);
        if (value) return value as Truthy<T>;
        last = `it was ${shown(value)}`;
      } catch (error) {
        if (error instanceof TimeoutError && performance.now() >= deadline) throw error;
        signal?.throwIfAborted();
        last = `it threw ${error instanceof Error ? `${error.name}: ${error.message}` : shown(error)}`;
      }
      await Promise.race([delay(everyMs), ended]);
    }
  } finally {
    clearTimeout(timer);
    if (stop !== undefined) signal?.removeEventListener("abort", stop);
  }
}
