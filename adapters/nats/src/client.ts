import { type Clock, driverError, type PublishResult } from "brokerkit/driver";
import { unavailable } from "./errors.ts";

/** What headers need of `max_payload` beside what core counts: names and line ends of our own. */
export const HEADROOM = 4_096;

export const NOTHING: Buffer = Buffer.alloc(0);

/** Rejects when the signal aborts; what was asked goes on unheard. */
export function within<T>(signal: AbortSignal, asked: Promise<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const abort = (): void => reject(unavailable("Aborted while waiting for the server.", signal.reason));
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    asked.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Runs something that heeds a signal for at most `ms`. */
export async function bounded<T>(clock: Clock, ms: number, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const timer = clock.timer(ms, () => controller.abort());
  try {
    return await within(controller.signal, run(controller.signal));
  } finally {
    timer.cancel();
  }
}

/** Every record of a batch of which no byte has left. */
export async function notSent(batch: readonly unknown[], signal: AbortSignal): Promise<readonly PublishResult[]> {
  const error = unavailable(signal.aborted ? "The publish was aborted before anything was sent." : "There is no connection to the server.");
  return batch.map(() => ({ ok: false, error, sent: "no" }));
}

/** A record that a server would refuse for its size. */
export function tooLarge(bytes: number, most: number): PublishResult {
  const text = `${bytes} bytes with headers are more than the ${most} that the server takes (max_payload). Nothing was sent.`;
  return { ok: false, error: driverError("TOO_LARGE", text), sent: "no" };
}
