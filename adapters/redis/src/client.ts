import { randomBytes } from "node:crypto";
import type { createClient } from "@redis/client";
import type { Clock } from "brokerkit/driver";
import { unavailable } from "./errors.ts";
import type { TopicKeys } from "./mapping.ts";
import type { Endpoint } from "./options.ts";
import type { Script } from "./scripts/script.ts";

type Client = ReturnType<typeof createClient>;
type SocketOptions = NonNullable<NonNullable<Parameters<typeof createClient>[0]>["socket"]>;
type CommandOptions = NonNullable<Parameters<Client["sendCommand"]>[1]>;
export type Arg = string | Buffer;
/** Bulk strings come as Buffers; an error inside an array comes as a value. */
export type Reply = null | number | string | Buffer | Error | readonly Reply[];

/** A silent link is asked after this time, and given up after three of them. Longer than the longest blocking read. */
const PING_MS = 5_000;
const SILENT_MS = 3 * PING_MS;
/** How often, and how many times, a read that waits is told to end before its connection is closed. */
const UNBLOCK_MS = 20;
const UNBLOCK_TRIES = 35;

/**
 * One connection to one server, and all that the drivers know of a client library. It never queues while offline, never sends
 * anything twice, and never comes back: once down, it stays down, and everything under way has failed.
 */
export class Link {
  /** The server's number for this connection. */
  readonly id: number;
  /** What the server calls it; nobody else has this name. */
  readonly name: string;
  readonly version: string;
  readonly mode: string;
  readonly #client: Client;
  readonly #options: CommandOptions;
  #down: Error | undefined;

  private constructor(client: Client, options: CommandOptions, name: string, hello: ReadonlyMap<string, Reply>) {
    this.#client = client;
    this.#options = options;
    this.name = name;
    this.id = Number(hello.get("id"));
    this.version = String(hello.get("version"));
    this.mode = String(hello.get("mode"));
  }

  /**
   * Connects, authenticates and selects the database within the connect timeout. `onDown` is called when an open link is lost, never for
   * one that was destroyed here. With protocol 3 commands can be sent beside subscriptions. Rejects with the raw error, or UNAVAILABLE
   * when there was no answer in time.
   */
  static async open(endpoint: Endpoint, signal: AbortSignal, onDown: (error: Error) => void, protocol: 2 | 3 = 2): Promise<Link> {
    const { createClient, RESP_TYPES } = await import("@redis/client");
    const { host, port, db, username, password, tls, connectTimeoutMs } = endpoint;
    const common = { host, port, connectTimeout: connectTimeoutMs, socketTimeout: SILENT_MS, reconnectStrategy: false as const };
    const client = createClient({
      // Absent rather than undefined: Node takes a servername of undefined for one that is given.
      socket: (tls === undefined ? common : { ...common, ...given({ ...tls }), tls: true }) as SocketOptions,
      ...given({ username: username ?? (password === undefined ? undefined : "default"), password }),
      database: db,
      RESP: protocol,
      disableOfflineQueue: true,
      disableClientInfo: true,
      maintNotifications: "disabled",
      pingInterval: PING_MS,
      // By default each command gets a timer of its own.
      commandOptions: { timeout: 0 },
    }) as unknown as Client;
    let link: Link | undefined;
    let failure: Error | undefined;
    const lost = (error: Error): void => {
      failure ??= error;
      if (link !== undefined) link.#lost(error, onDown);
    };
    client.on("error", lost);
    client.on("end", () => lost(unavailable(`The connection to ${host}:${port} was closed.`)));
    const expired = AbortSignal.timeout(connectTimeoutMs);
    const gaveUp = AbortSignal.any([signal, expired]);
    let opening: Promise<Reply> | undefined;
    const late = deferredAbort(gaveUp, () =>
      unavailable(`${host}:${port} did not answer within ${connectTimeoutMs} ms. Is it a Redis server, and TLS where TLS is spoken?`),
    );
    try {
      const options = { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer, [RESP_TYPES.MAP]: Array } };
      const name = `brokerkit:${randomBytes(9).toString("base64url")}`;
      opening = client.connect().then(() => client.sendCommand(["HELLO"], options) as Promise<Reply>);
      opening.catch(() => {});
      const hello = pairs(await Promise.race([opening, late.promise]));
      link = new Link(client, options, name, hello);
      // Only there so that a successor can end what this connection may have left behind; servers that forbid it do without.
      await Promise.race([link.call(["CLIENT", "SETNAME", name]).catch(() => {}), late.promise]);
      if (failure !== undefined) throw failure;
      return link;
    } catch (error) {
      const destroy = (): void => client.destroy();
      destroy();
      // A socket that was still being opened is not reached by the first call.
      void opening?.then(destroy, destroy);
      throw gaveUp.aborted ? error : (failure ?? error);
    } finally {
      late.done();
    }
  }

  /** Why nothing can be sent any more. */
  get down(): Error | undefined {
    return this.#down;
  }

  /** Commands of one turn of the event loop leave in one write. */
  call(args: readonly Arg[]): Promise<Reply> {
    if (this.#down !== undefined) return Promise.reject(this.#down);
    return (this.#client.sendCommand(args as Arg[], this.#options) as Promise<Reply>).catch((error: unknown) => {
      throw this.#down ?? error;
    });
  }

  /** By digest; whole where the server has not seen it. */
  async script(script: Script, keys: readonly string[], args: readonly Arg[]): Promise<Reply> {
    try {
      return await this.call(evalsha(script, keys, args));
    } catch (error) {
      if (!unknownScript(error)) throw error;
      return await this.call(["EVAL", script.source, String(keys.length), ...keys, ...args]);
    }
  }

  /** All or nothing, in one round trip. A command that failed is an `Error` in the answer. */
  async transaction(commands: readonly (readonly Arg[])[]): Promise<readonly Reply[]> {
    const replies = [["MULTI"], ...commands, ["EXEC"]].map((args) => this.call(args));
    for (const reply of replies) reply.catch(() => {});
    return (await replies.at(-1)) as readonly Reply[];
  }

  /** Resolves when the server delivers this channel. */
  async subscribe(channel: string, listener: (message: Buffer) => void): Promise<void> {
    if (this.#down !== undefined) throw this.#down;
    await this.#client.subscribe(channel, listener, true);
  }

  async unsubscribe(channel: string): Promise<void> {
    if (this.#down === undefined) await this.#client.unsubscribe(channel);
  }

  /** Closes at once: what was not sent never is, and everything under way fails with `reason`. */
  destroy(reason: Error = unavailable("The connection was closed.")): void {
    if (this.#down !== undefined) return;
    this.#down = reason;
    this.#client.destroy();
  }

  #lost(error: Error, onDown: (error: Error) => void): void {
    const closed = this.#down !== undefined;
    this.#down ??= unavailable(`The connection was lost: ${error.message}`, error);
    if (!closed) {
      this.#client.destroy();
      onDown(this.#down);
    }
  }
}

/** A member of a group, as its driver knows it. */
export interface Member {
  readonly topic: string;
  readonly group: string;
  moved(epoch: number): void;
}

/** What a driver lends to its subscriptions, cursors and its admin. */
export interface Session {
  readonly clock: Clock;
  readonly leaseMs: number;
  /** How long a read may wait: less than a second where the server forbids to end it from another connection. */
  readonly longestBlockMs: number;
  /** The connection for everything that neither publishes nor blocks. Throws UNAVAILABLE while it is down. */
  control(): Link;
  keys(topic: string): TopicKeys;
  /** A connection of its own for a reader that blocks. */
  open(signal: AbortSignal, onDown: (error: Error) => void): Promise<Link>;
  /** A connection that ended with something under way: the server is to forget it before anything else is done. */
  abandon(link: Link): void;
  /** Has the server close what was abandoned, so that nothing it still holds of them is executed later. */
  fence(): Promise<void>;
  /** A consumer name that nobody had before. It tells others how long this member's leases last. */
  consumer(): string;
  readonly members: Set<Member>;
  /** Consumers of this process that could not hand back what they had. */
  readonly orphans: Set<{ readonly topic: string; readonly group: string; readonly consumer: string }>;
}

/** Rejects when the signal aborts; what was asked goes on unheard. */
export function within<T>(signal: AbortSignal, asked: Promise<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const abort = (): void => reject(unavailable("Aborted while waiting for the server.", signal.reason));
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    asked.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/**
 * A read that waits, for `ms` by this clock: the server's own looks at such times only ten times a second. An abort ends it from the
 * control connection, and closes its connection if that does not help.
 */
export async function waiting<T>(session: Session, link: Link, signal: AbortSignal, ms: number, read: () => Promise<T>): Promise<T> {
  let ended = false;
  const timer = session.clock.timer(ms, () => void unblock(session, link).catch(() => {}));
  const interrupt = async (): Promise<void> => {
    for (let tries = 0; !ended && tries < UNBLOCK_TRIES; tries++) {
      // It may not have begun to wait yet, so once is not enough.
      void unblock(session, link).catch(() => {});
      await new Promise<void>((resolve) => void session.clock.timer(UNBLOCK_MS, resolve));
    }
    if (!ended) link.destroy(unavailable("The server did not answer while a read was being ended."));
  };
  const onAbort = (): void => void interrupt();
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await read();
  } finally {
    ended = true;
    timer.cancel();
    signal.removeEventListener("abort", onAbort);
  }
}

async function unblock(session: Session, link: Link): Promise<void> {
  await session.control().call(["CLIENT", "UNBLOCK", String(link.id)]);
}

/** The longest wait of one read where it can be ended from another connection, and where it can't. */
export function longestBlockMs(canUnblock: boolean): number {
  return canUnblock ? PING_MS : (UNBLOCK_MS * UNBLOCK_TRIES * 3) / 4;
}

export function evalsha(script: Script, keys: readonly string[], args: readonly Arg[]): Arg[] {
  return ["EVALSHA", script.sha, String(keys.length), ...keys, ...args];
}

export function unknownScript(reply: unknown): boolean {
  return reply instanceof Error && reply.message.startsWith("NOSCRIPT");
}

/** A flat list of names and values as a map. */
export function pairs(reply: Reply): Map<string, Reply> {
  const list = (reply ?? []) as readonly Reply[];
  const found = new Map<string, Reply>();
  for (let n = 0; n + 1 < list.length; n += 2) found.set(String(list[n]), list[n + 1] as Reply);
  return found;
}

function given<T extends object>(record: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as never;
}

function deferredAbort(signal: AbortSignal, error: () => Error): { promise: Promise<never>; done(): void } {
  let fail = (): void => {};
  const promise = new Promise<never>((_, reject) => {
    fail = () => reject(error());
    if (signal.aborted) fail();
    else signal.addEventListener("abort", fail, { once: true });
  });
  promise.catch(() => {});
  return { promise, done: () => signal.removeEventListener("abort", fail) };
}
