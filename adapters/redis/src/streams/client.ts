import type { Clock } from "brokerkit/driver";
import { type Link, within } from "../client.ts";
import { unavailable } from "../errors.ts";
import type { TopicKeys } from "./scripts/keys.ts";

const LONGEST_BLOCK_MS = 5_000;
/** How often, and how many times, a read that waits is told to end before its connection is closed. */
const UNBLOCK_MS = 20;
const UNBLOCK_TRIES = 35;
/** How long closing waits for a server that does not answer. */
const FAREWELL_MS = 1_500;

/** A member of a group, as its driver knows it. */
export interface Member {
  readonly topic: string;
  readonly group: string;
  /** The group was moved by this process, so nobody here has to find out. */
  moved(epoch: number): void;
}

/** What a driver lends to its subscriptions, cursors and its admin. */
export interface Session {
  readonly clock: Clock;
  readonly leaseMs: number;
  /** How long a read may wait: less than a second where the server forbids to end it from another connection. */
  readonly longestBlockMs: number;
  /** The connection for everything that neither publishes nor blocks. Throws UNAVAILABLE while it is down. */
  readonly control: () => Link;
  readonly keys: (topic: string) => TopicKeys;
  /** A connection of its own for a reader that blocks. */
  readonly open: (signal: AbortSignal, onDown: (error: Error) => void) => Promise<Link>;
  /** Connections that ended with something under way, which `fence` has the server close. */
  readonly abandoned: Set<Link>;
  /** A consumer name that nobody had before. It tells others how long this member's leases last. */
  readonly consumer: () => string;
  readonly members: Set<Member>;
  /** Everything open, to be closed with the driver. */
  readonly readers: Set<{ close(): Promise<void> }>;
  /** Consumers of this process that could not hand back what they had. */
  readonly orphans: Set<{ readonly topic: string; readonly group: string; readonly consumer: string }>;
}

/** Has the server close what was abandoned, so that nothing it may still hold of those connections is executed later. */
export async function fence({ abandoned, control }: Pick<Session, "abandoned" | "control">): Promise<void> {
  for (const link of abandoned) {
    // Numbers begin again when a server restarts, names don't. A server that forbids this leaves it at the closed socket.
    const listed = await control()
      .call(["CLIENT", "LIST", "ID", String(link.id)])
      .catch(refusedOnly);
    if (String(listed).includes(`name=${link.name} `))
      await control()
        .call(["CLIENT", "KILL", "ID", String(link.id)])
        .catch(refusedOnly);
    abandoned.delete(link);
  }
}

function refusedOnly(error: unknown): string {
  if (error instanceof Error && error.message.startsWith("NOPERM")) return "";
  throw error;
}

/**
 * A read that waits, for `ms` by this clock: the server's own looks at such times only ten times a second. An abort ends it from the
 * control connection, and closes its connection if that does not help.
 */
export async function waiting<T>(
  session: Session,
  link: Link,
  stop: readonly AbortSignal[],
  ms: number,
  read: () => Promise<T>,
): Promise<T> {
  let ended = false;
  const unblock = async (): Promise<unknown> => session.control().call(["CLIENT", "UNBLOCK", String(link.id)]);
  const timer = session.clock.timer(ms, () => void unblock().catch(() => {}));
  const interrupt = async (): Promise<void> => {
    for (let tries = 0; !ended && tries < UNBLOCK_TRIES; tries++) {
      // It may not have begun to wait yet, so once is not enough.
      void unblock().catch(() => {});
      await new Promise<void>((resolve) => void session.clock.timer(UNBLOCK_MS, resolve));
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

/** Rejects when a farewell takes too long. */
export function bounded<T>(clock: Clock, asked: Promise<T>): Promise<T> {
  const controller = new AbortController();
  const timer = clock.timer(FAREWELL_MS, () => controller.abort());
  return within(controller.signal, asked).finally(() => timer.cancel());
}
