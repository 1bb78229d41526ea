import type { Clock } from "brokerkit/driver";

/** The real clock, as core lends it. */
export const clock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  timer: (ms, run) => {
    const timer = setTimeout(run, ms);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};
