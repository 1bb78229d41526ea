import type { Clock } from "brokerkit/driver";

/** Rejects with the signal's reason once it aborts; what is under way is left to itself. */
export function until<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Runs what has to end within `ms`, or when another signal aborts: then its signal aborts, with `late()` or with the other one's reason. */
export async function bounded<T>(
  clock: Clock,
  ms: number,
  late: () => unknown,
  run: (signal: AbortSignal) => Promise<T>,
  other?: AbortSignal,
): Promise<T> {
  const end = new AbortController();
  // Not `AbortSignal.timeout`: that keeps each signal until its time is over, for each of thousands of requests.
  const timer = clock.timer(ms, () => end.abort(late()));
  try {
    return await run(other === undefined ? end.signal : AbortSignal.any([end.signal, other]));
  } finally {
    timer.cancel();
  }
}

/** Resolves after `ms`, or rejects with the signal's reason. */
export function pause({ clock }: { readonly clock: Clock }, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const abort = (): void => {
      timer.cancel();
      reject(signal.reason);
    };
    const timer = clock.timer(ms, () => {
      signal.removeEventListener("abort", abort);
      resolve();
    });
    signal.addEventListener("abort", abort, { once: true });
  });
}
