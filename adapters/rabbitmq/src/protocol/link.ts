import type { Channel, ChannelModel, ConfirmChannel, SocketOptions } from "amqplib";
import { type Clock, driverError } from "brokerkit/driver";
import { classify, unavailable } from "../errors.ts";
import type { Endpoint } from "../options.ts";
import { checkClient, reset } from "./inside.ts";

const FRAME_BYTES = 131_072;
const NOT_OPENED = /Expected ConnectionOpenOk; got <ConnectionClose/;
/** How many channels are kept for the next call. */
const IDLE_CHANNELS = 2;
/** How long a farewell may take before the socket is cut. */
const GOODBYE_MS = 1_000;

export interface LinkOptions {
  readonly endpoint: Endpoint;
  readonly clock: Clock;
  /** Called when an open link is lost, never for one that was destroyed here. */
  readonly onDown: (error: Error) => void;
  /** The server takes no publishes for the time being, and says why; `undefined`: it does again. */
  readonly onBlocked?: (reason: string | undefined) => void;
}

/**
 * One connection to one server, and all that the driver knows of opening and closing with its client. It never comes back: once down, it
 * stays down, and everything under way has failed.
 */
export class Link {
  /** The server's, such as `3.10.8`. */
  readonly version: string;
  readonly #model: ChannelModel;
  readonly #where: LinkOptions;
  readonly #cut: AbortController;
  /** Channels for calls beside: all that are open, and those of them that nobody uses. */
  readonly #spares = new Set<Channel>();
  readonly #idle: Channel[] = [];
  #down: Error | undefined;

  private constructor(model: ChannelModel, cut: AbortController, where: LinkOptions) {
    this.#model = model;
    this.#cut = cut;
    this.#where = where;
    this.version = String(model.connection.serverProperties["version"] ?? "0");
    model.on("error", (error) => this.#lost(error));
    model.on("close", (error) => this.#lost(error ?? new Error("The server closed it.")));
    model.on("blocked", (reason) => where.onBlocked?.(String(reason)));
    model.on("unblocked", () => where.onBlocked?.(undefined));
  }

  /** Tries one server after the other, each within the connect timeout. Rejects with the raw error of the first, or UNAVAILABLE. */
  static async open(where: LinkOptions, signal: AbortSignal): Promise<Link> {
    let failure: unknown;
    for (const server of where.endpoint.servers) {
      try {
        return await Link.#dial(where, server, signal);
      } catch (error) {
        failure ??= error;
        if (signal.aborted || !classify(error).retryable) throw error;
      }
    }
    throw failure;
  }

  static async #dial(where: LinkOptions, { host, port }: Endpoint["servers"][number], signal: AbortSignal): Promise<Link> {
    const { connect, credentials } = await import("amqplib");
    const { vhost, username, password, tls, connectTimeoutMs, heartbeatMs, name } = where.endpoint;
    const cut = new AbortController();
    const give = (): void => cut.abort();
    const timer = where.clock.timer(connectTimeoutMs, give);
    signal.addEventListener("abort", give, { once: true });
    if (signal.aborted) give();
    try {
      const model = await connect(
        {
          protocol: tls === undefined ? "amqp" : "amqps",
          hostname: host,
          port,
          vhost: encodeURIComponent(vhost),
          frameMax: FRAME_BYTES,
          heartbeat: Math.ceil(heartbeatMs / 1_000),
        },
        {
          noDelay: true,
          ...given({ ...tls }),
          credentials: credentials.plain(username, password),
          clientProperties: { connection_name: name },
          // Destroys the socket, at whatever stage it is.
          signal: cut.signal,
        } as SocketOptions,
      );
      return new Link(model, cut, where);
    } catch (error) {
      if (!cut.signal.aborted) throw NOT_OPENED.test(String(error)) ? notOpened(vhost, error) : error;
      if (signal.aborted) throw unavailable("Aborted while connecting.", signal.reason);
      throw unavailable(
        `${host}:${port} did not answer within ${connectTimeoutMs} ms. Is it a RabbitMQ server, and TLS where TLS is spoken?`,
      );
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", give);
    }
  }

  /** Throws UNSUPPORTED where the server is older, or the client another one, than what the driver is made for. */
  check(): void {
    checkVersion(this.version);
    checkClient(this.#model);
  }

  /** Why nothing can be sent any more. */
  get down(): Error | undefined {
    return this.#down;
  }

  /** A channel of one's own; `onClosed` is called once, when it has ended, in whatever way. */
  async channel(onClosed: (error: Error) => void): Promise<Channel> {
    if (this.#down !== undefined) throw this.#down;
    return this.#watched(await this.#asked(this.#model.createChannel()), onClosed);
  }

  /** The same for publishing with confirms. */
  async confirmChannel(onClosed: (error: Error) => void): Promise<ConfirmChannel> {
    if (this.#down !== undefined) throw this.#down;
    return this.#watched(await this.#asked(this.#model.createConfirmChannel()), onClosed);
  }

  /**
   * Runs something that the server may refuse by closing the channel: on one that nothing else uses. When the signal aborts, the call
   * rejects, and what was asked goes on unheard.
   */
  async aside<T>(signal: AbortSignal, run: (channel: Channel) => Promise<T>): Promise<T> {
    const running = this.#aside(run);
    return within(signal, running);
  }

  async #aside<T>(run: (channel: Channel) => Promise<T>): Promise<T> {
    const channel = this.#idle.pop() ?? (await this.#spare());
    try {
      return await this.#asked(run(channel));
    } finally {
      if (this.#spares.has(channel) && this.#idle.length < IDLE_CHANNELS) this.#idle.push(channel);
      else closeQuietly(channel);
    }
  }

  async #spare(): Promise<Channel> {
    const channel = await this.channel(() => {
      this.#spares.delete(channel);
      const at = this.#idle.indexOf(channel);
      if (at >= 0) this.#idle.splice(at, 1);
    });
    this.#spares.add(channel);
    return channel;
  }

  /** What fails because the link went says so. */
  async #asked<T>(asked: Promise<T>): Promise<T> {
    try {
      return await asked;
    } catch (error) {
      throw this.#down ?? error;
    }
  }

  #watched<T extends Channel>(channel: T, onClosed: (error: Error) => void): T {
    let failure: Error | undefined;
    channel.on("error", (error) => {
      failure ??= error;
    });
    channel.once("close", () => onClosed(this.#down ?? failure ?? unavailable("The channel was closed.")));
    return channel;
  }

  /** Says goodbye, so that what was written before is still sent, and closes. Never rejects. */
  async close(): Promise<void> {
    if (this.#down !== undefined) return;
    const { clock } = this.#where;
    this.#down = unavailable("The connection was closed.");
    // The client sends its goodbye past what waits in channels for the end of this turn.
    await new Promise((resolve) => setImmediate(resolve));
    await bounded(clock, GOODBYE_MS, () => this.#model.close()).catch(() => {});
    this.#cut.abort();
  }

  /** Cuts it at once: what the system has not sent yet never is, and everything under way fails with `reason`. */
  destroy(reason: Error = unavailable("The connection was closed.")): void {
    if (this.#down !== undefined) return;
    this.#down = reason;
    if (this.#where.endpoint.tls === undefined) reset(this.#model, reason);
    this.#cut.abort();
  }

  #lost(cause: Error): void {
    if (this.#down !== undefined) return;
    this.#down = classify(cause).retryable ? unavailable(`The connection was lost: ${cause.message}`, cause) : cause;
    this.#cut.abort();
    this.#where.onDown(this.#down);
  }
}

/** The client does not hand on what the server says here. */
function notOpened(vhost: string, cause: unknown): Error {
  const text = `The server does not open the virtual host "${vhost}" to this user. Does it exist, may the user use it, and is no limit of connections reached?`;
  return driverError("FORBIDDEN", text, { cause });
}

/** Ends a channel that nobody waits for. */
export function closeQuietly(channel: Channel): void {
  try {
    channel.close().catch(() => {});
  } catch {
    // It was closed already.
  }
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

/** Every server of the driver's is at least this: streams, and time to live on quorum queues, came with 3.10. */
export function checkVersion(version: string): void {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major > 3 || (major === 3 && minor >= 10)) return;
  throw driverError("UNSUPPORTED", `RabbitMQ ${version} is too old: quorum queues are used with what 3.10 brought.`);
}

function given<T extends object>(record: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as never;
}
