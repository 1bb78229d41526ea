import { randomBytes } from "node:crypto";
import type { createClient } from "@redis/client";
import { type Clock, driverError, type PublishResult, type Timer } from "brokerkit/driver";
import { unavailable } from "./errors.ts";
import type { Endpoint } from "./options.ts";
import { within } from "./protocol/bounds.ts";

type Client = ReturnType<typeof createClient>;
type SocketOptions = NonNullable<NonNullable<Parameters<typeof createClient>[0]>["socket"]>;
type CommandOptions = NonNullable<Parameters<Client["sendCommand"]>[1]>;
/** Lua that runs inside the server, atomically. Called by digest; sent whole only where the server does not know it yet. */
export interface Script {
  readonly source: string;
  readonly sha: string;
}
export type Arg = string | Buffer;
/** Bulk strings come as Buffers; an error inside an array comes as a value. */
export type Reply = null | number | string | Buffer | Error | readonly Reply[];

/** How long a link may owe an answer before it is given up; an idle one is asked three times in that time. */
export const PATIENCE_MS = 15_000;
/** The same where all answers are small. */
export const SHORT_PATIENCE_MS = 5_000;

/** Opens a link; `onDown` as in `LinkOptions`. */
export type OpenLink = (signal: AbortSignal, onDown: (error: Error) => void) => Promise<Link>;

export interface LinkOptions {
  readonly endpoint: Endpoint;
  readonly clock: Clock;
  /** How long to wait for an answer before the link is given up. */
  readonly patienceMs: number;
  /** With 3, commands can be sent beside subscriptions. Default 2. */
  readonly protocol?: 2 | 3 | undefined;
  /** Called when an open link is lost, never for one that was destroyed here. */
  readonly onDown: (error: Error) => void;
}

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
  readonly #where: LinkOptions;
  /** Commands without an answer, and when the last answer came. */
  #owed = 0;
  #heardAt: number;
  #timer: Timer | undefined;
  #down: Error | undefined;

  private constructor(client: Client, options: CommandOptions, name: string, hello: ReadonlyMap<string, Reply>, where: LinkOptions) {
    this.#client = client;
    this.#options = options;
    this.#where = where;
    this.#heardAt = where.clock.monotonic();
    this.name = name;
    this.id = Number(hello.get("id"));
    this.version = String(hello.get("version"));
    this.mode = String(hello.get("mode"));
  }

  /**
   * Connects, authenticates and selects the database within the connect timeout. Rejects with the raw error, or UNAVAILABLE when there was
   * no answer in time.
   */
  static async open(where: LinkOptions, signal: AbortSignal): Promise<Link> {
    const { createClient, RESP_TYPES } = await import("@redis/client");
    const { host, port, db, username, password, tls, connectTimeoutMs } = where.endpoint;
    const common = { host, port, connectTimeout: connectTimeoutMs, reconnectStrategy: false as const };
    const client = createClient({
      // Absent rather than undefined: Node takes a servername of undefined for one that is given.
      socket: (tls === undefined ? common : { ...common, ...given({ ...tls }), tls: true }) as SocketOptions,
      ...given({ username: username ?? (password === undefined ? undefined : "default"), password }),
      database: db,
      RESP: where.protocol ?? 2,
      disableOfflineQueue: true,
      disableClientInfo: true,
      maintNotifications: "disabled",
      // By default each command gets a timer of its own.
      commandOptions: { timeout: 0 },
    }) as unknown as Client;
    /** The link, once its owner has it: until then a loss is the failure to open it. */
    let owned: Link | undefined;
    let failure: Error | undefined;
    const lost = (error: Error): void => {
      failure ??= error;
      if (owned !== undefined) owned.#lost(error);
    };
    client.on("error", lost);
    client.on("end", () => lost(unavailable(`The connection to ${host}:${port} was closed.`)));
    const gaveUp = AbortSignal.any([signal, AbortSignal.timeout(connectTimeoutMs)]);
    const opening = client.connect();
    try {
      const options = { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer, [RESP_TYPES.MAP]: Array } };
      const name = `brokerkit:${randomBytes(9).toString("base64url")}`;
      await within(gaveUp, opening);
      const hello = pairs((await within(gaveUp, client.sendCommand(["HELLO"], options))) as Reply);
      const link = new Link(client, options, name, hello, where);
      // Only there so that a successor can end what this connection may have left behind; servers that forbid it do without.
      await within(
        gaveUp,
        link.call(["CLIENT", "SETNAME", name]).catch(() => {}),
      );
      if (failure !== undefined) throw failure;
      if (link.mode === "cluster")
        throw driverError("UNSUPPORTED", `${host}:${port} is a Redis Cluster, which is not supported: use one server.`);
      link.#watch();
      owned = link;
      return link;
    } catch (error) {
      const reason = failure ?? error;
      const destroy = (): void => client.destroy();
      destroy();
      // A socket that was still being opened is not reached by the first call.
      void opening.then(destroy, destroy);
      if (!gaveUp.aborted) throw reason;
      throw unavailable(`${host}:${port} did not answer within ${connectTimeoutMs} ms. Is it a Redis server, and TLS where TLS is spoken?`);
    }
  }

  /** Why nothing can be sent any more. */
  get down(): Error | undefined {
    return this.#down;
  }

  /** Commands of one turn of the event loop leave in one write. */
  async call(args: readonly Arg[]): Promise<Reply> {
    if (this.#down !== undefined) throw this.#down;
    this.#owed++;
    try {
      return (await this.#client.sendCommand(args as Arg[], this.#options)) as Reply;
    } catch (error) {
      throw this.#down ?? error;
    } finally {
      this.#owed--;
      this.#heardAt = this.#where.clock.monotonic();
    }
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

  /** In one go and in one round trip. A command that failed is an `Error` in the answer. */
  async transaction(commands: readonly (readonly Arg[])[]): Promise<readonly Reply[]> {
    const replies = [["MULTI"], ...commands, ["EXEC"]].map((args) => this.call(args));
    for (const reply of replies) reply.catch(() => {});
    try {
      return (await replies.at(-1)) as readonly Reply[];
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith("EXECABORT"))) throw error;
      // A server without memory queues nothing at all, but reads and acknowledges one by one.
      return await Promise.all(commands.map((args) => this.call(args).catch((refused: Error) => refused)));
    }
  }

  /** Resolves when the server delivers this channel. */
  async subscribe(channel: string, listener: (message: Buffer) => void): Promise<void> {
    if (this.#down !== undefined) throw this.#down;
    await this.#client.subscribe(channel, listener, true);
  }

  /** With the listener it was subscribed with: without it the client takes away that of a subscription which follows at once. */
  async unsubscribe(channel: string, listener: (message: Buffer) => void): Promise<void> {
    if (this.#down === undefined) await this.#client.unsubscribe(channel, listener, true);
  }

  /** Closes at once: what was not sent never is, and everything under way fails with `reason`. */
  destroy(reason: Error = unavailable("The connection was closed.")): void {
    if (this.#down !== undefined) return;
    this.#down = reason;
    this.#timer?.cancel();
    this.#client.destroy();
  }

  /** A half-open connection gives no error by itself. */
  #watch(): void {
    const { clock, patienceMs } = this.#where;
    const due = clock.monotonic() + patienceMs / 3;
    this.#timer = clock.timer(patienceMs / 3, () => {
      // It was this process that stood still: what the server answered meanwhile has not been read yet.
      if (clock.monotonic() - due > patienceMs / 3) this.#heardAt = clock.monotonic();
      const silentMs = clock.monotonic() - this.#heardAt;
      if (this.#owed > 0 && silentMs >= patienceMs) return this.#lost(unavailable(`no answer for ${Math.round(silentMs)} ms`));
      if (this.#owed === 0) this.call(["PING"]).catch(() => {});
      this.#watch();
    });
  }

  #lost(error: Error): void {
    if (this.#down !== undefined) return;
    this.destroy(unavailable(`The connection was lost: ${error.message}`, error));
    this.#where.onDown(this.#down as unknown as Error);
  }
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

/** Every record of a batch of which no byte has left. */
export async function notSent(batch: readonly unknown[], signal: AbortSignal): Promise<readonly PublishResult[]> {
  const error = unavailable(signal.aborted ? "The publish was aborted before anything was sent." : "There is no connection to the server.");
  return batch.map(() => ({ ok: false, error, sent: "no" }));
}

/** A view of core's bytes as the client wants them; nothing is copied. */
export function buffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function given<T extends object>(record: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as never;
}
