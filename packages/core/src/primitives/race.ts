import type { Clock } from "../driver/adapter.ts";

/** The work's outcome, or `late()` as a rejection once `due` (monotonic ms) has come; the work itself goes on. */
export async function before<T>(clock: Clock, due: number, work: Promise<T>, late: () => Error): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = clock.timer(Math.max(0, due - clock.monotonic()), () => reject(late()));
  try {
    return await Promise.race([work, promise]);
  } finally {
    timer.cancel();
  }
}

/** Waits for the work until `due` at the most, whatever its outcome; never rejects. */
export async function settleBy(clock: Clock, due: number, work: Promise<unknown>): Promise<void> {
  await before(clock, due, work, () => new Error("late")).catch(() => {});
}
