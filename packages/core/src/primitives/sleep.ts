import type { Clock } from "../driver/adapter.ts";

/** Resolves after `ms` of the clock's time, or at once when the signal aborts; never rejects. */
export function sleep(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      timer.cancel();
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = clock.timer(ms, done);
    signal.addEventListener("abort", done, { once: true });
  });
}
