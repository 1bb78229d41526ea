import type { Clock } from "brokerkit/driver";
import type { Link } from "../../client.ts";
import { unavailable } from "../../errors.ts";

const LONGEST_BLOCK_MS = 5_000;
/** How often, and how many times, a read that waits is told to end before its connection is closed. */
export const UNBLOCK_MS = 20;
const UNBLOCK_TRIES = 35;

/** What it takes to end a read that waits: a clock, and another connection. */
export interface Waits {
  readonly clock: Clock;
  /** Throws UNAVAILABLE while it is down. */
  readonly control: () => Link;
}

/**
 * A read that waits, for `ms` by this clock: the server's own looks at such times only ten times a second. An abort ends it from the
 * control connection, and closes its connection if that does not help.
 */
export async function waiting<T>(
  { clock, control }: Waits,
  link: Link,
  stop: readonly AbortSignal[],
  ms: number,
  read: () => Promise<T>,
): Promise<T> {
  let ended = false;
  const unblock = async (): Promise<unknown> => control().call(["CLIENT", "UNBLOCK", String(link.id)]);
  const timer = clock.timer(ms, () => void unblock().catch(() => {}));
  const interrupt = async (): Promise<void> => {
    for (let tries = 0; !ended && tries < UNBLOCK_TRIES; tries++) {
      // It may not have begun to wait yet, so once is not enough.
      void unblock().catch(() => {});
      await new Promise<void>((resolve) => void clock.timer(UNBLOCK_MS, resolve));
    }
    if (!ended) link.destroy(unavailable("The server did not answer while a read was being ended."));
  };
  const onAbort = (): void => void interrupt();
  for (const signal of stop) signal.addEventListener("abort", onAbort, { once: true });
  if (stop.some((signal) => signal.aborted)) onAbort();
  try {
    return await read();
  } finally {
    ended = true;
    timer.cancel();
    for (const signal of stop) signal.removeEventListener("abort", onAbort);
  }
}

/** The longest wait of one read where it can be ended from another connection, and where it can't. */
export function longestBlockMs(canUnblock: boolean): number {
  return canUnblock ? LONGEST_BLOCK_MS : (UNBLOCK_MS * UNBLOCK_TRIES * 3) / 4;
}
