import type { Clock } from "../driver/adapter.ts";

/** A signal with a bound. Call `done` when the work has settled: it lets the timer and the parent's listener go. */
export interface BoundSignal {
  readonly signal: AbortSignal;
  done(): void;
}

/**
 * A signal that aborts after `ms` of the clock's time with a `TimeoutError`, or with `parent` and its reason.
 * `Infinity`: only with the parent. After `done` it never aborts.
 */
export function timeoutSignal(clock: Clock, ms: number, parent?: AbortSignal): BoundSignal {
  const controller = new AbortController();
  if (parent?.aborted === true) {
    controller.abort(parent.reason);
    return { signal: controller.signal, done: (): void => {} };
  }
  const expire = (): void => {
    done();
    controller.abort(new DOMException(`Timed out after ${ms} ms`, "TimeoutError"));
  };
  const follow = (): void => {
    done();
    controller.abort(parent?.reason);
  };
  const timer = ms === Number.POSITIVE_INFINITY ? undefined : clock.timer(ms, expire);
  parent?.addEventListener("abort", follow);
  const done = (): void => {
    timer?.cancel();
    parent?.removeEventListener("abort", follow);
  };
  return { signal: controller.signal, done };
}

/** The work's outcome, or the signal's reason as a rejection once it aborts; the work itself goes on. */
export async function unlessAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  signal.throwIfAborted();
  const { promise, reject } = Promise.withResolvers<never>();
  const stop = (): void => reject(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
