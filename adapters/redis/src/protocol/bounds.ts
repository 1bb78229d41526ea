import type { Clock } from "brokerkit/driver";
import { unavailable } from "../errors.ts";

/** Rejects when the signal aborts; what was asked goes on unheard. */
export function within<T>(signal: AbortSignal, asked: Promise<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const abort = (): void => reject(unavailable("Aborted while waiting for the server.", signal.reason));
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    asked.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Rejects when it takes longer than `ms`. */
export function bounded<T>(clock: Clock, ms: number, asked: Promise<T>): Promise<T> {
  const controller = new AbortController();
  const timer = clock.timer(ms, () => controller.abort());
  return within(controller.signal, asked).finally(() => timer.cancel());
}
