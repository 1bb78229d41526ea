import type { Clock } from "brokerkit/driver";
import { localError, type PulsarError } from "./errors.ts";

/** Rejects once the signal aborts; what is under way is left to itself. */
export function until<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const abort = (): void => reject(aborted(signal));
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

export function aborted(signal: AbortSignal): PulsarError {
  return localError("Aborted", "Aborted while waiting for the broker.", { cause: signal.reason });
}

/** Runs what has to end within `ms`: then its signal aborts with `late`. */
export async function bounded<T>(clock: Clock, ms: number, late: string, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const end = new AbortController();
  const timer = clock.timer(ms, () => end.abort(localError("Aborted", late)));
  try {
    return await run(end.signal);
  } finally {
    timer.cancel();
  }
}
