import { createConnection, isIP, type Socket } from "node:net";
import { connect as connectTls, createSecureContext, type SecureContext } from "node:tls";
import { localError, PulsarError } from "./errors.ts";
import { KeepAlive } from "./keep-alive.ts";
import type { Host, Settings } from "./options.ts";
import { type Answer, Requests, serverError } from "./requests.ts";
import { aborted, until } from "./waiting.ts";
import { type Command, type CommandInit, commandFrame, PING, PONG, PROTOCOL_VERSION, UNASKED } from "./wire/command.ts";
import { FrameParser, type MessageFrame, type SendReceipt } from "./wire/frame.ts";

/** The oldest protocol spoken here: 17 answers acknowledgements. */
const OLDEST_PROTOCOL = 17;
/** Producers hold back while so many bytes wait in this process. */
const BACKLOG_BYTES = 1_048_576;

/** How long a connection that is closed may take to send what was written. */
const FINISH_MS = 1_000;

function contextOf({ tls }: Settings): SecureContext {
  try {
    return createSecureContext(tls);
  } catch (cause) {
    throw localError("InvalidArgument", `A certificate or key for TLS can't be read: ${(cause as Error).message}.`, { cause });
  }
}

/** Where a connection goes. */
export interface Target extends Host {
  readonly secure: boolean;
  /** The broker behind a Pulsar proxy: `host:port`. */
  readonly proxyTo?: string | undefined;
}

/** A producer, as its connection sees it. */
export interface ProducerLink {
  receipt(receipt: SendReceipt): void;
  refused(sequenceId: number, error: PulsarError): void;
  /** Nothing more comes for it. */
  detached(error: PulsarError): void;
  /** The connection takes bytes again. */
  drained(): void;
}

/** A consumer, as its connection sees it. */
export interface ConsumerLink {
  message(frame: MessageFrame): void;
  active(active: boolean): void;
  /** Nothing more comes for it. */
  detached(error: PulsarError): void;
}

/**
 * One connection to one broker, greeted and kept alive. It never sends anything twice and never comes back: once down, it stays down, and
 * everything under way has failed.
 * https://pulsar.apache.org/docs/4.0.x/developing-binary-protocol/
 */
export class Connection {
  readonly target: Target;
  readonly #settings: Settings;
  readonly #tcp: Socket;
  /** The same one, or TLS on top of it. */
  readonly #socket: Socket;
  readonly #parser: FrameParser;
  readonly #requests = new Requests();
  readonly #producers = new Map<number, ProducerLink>();
  readonly #consumers = new Map<number, ConsumerLink>();
  readonly #greeting: PromiseWithResolvers<void> = Promise.withResolvers();
  #serverVersion = "";
  #maxMessageSize = 0;
  #down: PulsarError | undefined;
  /** What the broker complained of before it hung up. */
  #complaint: PulsarError | undefined;
  #corked = false;
  readonly #keepAlive: KeepAlive;

  private constructor(target: Target, settings: Settings) {
    this.target = target;
    this.#settings = settings;
    this.#greeting.promise.catch(() => {});
    this.#keepAlive = new KeepAlive(
      settings,
      () => this.write(PING),
      (silentMs) => this.#lost(this.#broken(`no answer for ${silentMs} ms`)),
    );
    this.#parser = new FrameParser({
      command: (command) => this.#received(command),
      receipt: (receipt) => this.#producers.get(receipt.producerId)?.receipt(receipt),
      message: (frame) => this.#consumers.get(frame.consumerId)?.message(frame),
    });
    const { host, port, secure } = target;
    // It throws where a certificate or key is none, so before there is a socket.
    const secureContext = secure ? contextOf(settings) : undefined;
    this.#tcp = createConnection({ host, port });
    this.#tcp.setNoDelay(true);
    const servername = isIP(host) === 0 ? { servername: host } : {};
    this.#socket =
      secureContext === undefined
        ? this.#tcp
        : connectTls({ ...servername, ...settings.tls, secureContext, rejectUnauthorized: true, host, socket: this.#tcp });
    this.#listen(secure ? "secureConnect" : "connect");
  }

  /** Rejects with `ConnectError`, or with what the broker said to refuse us. */
  static async open(target: Target, settings: Settings, signal: AbortSignal): Promise<Connection> {
    if (signal.aborted) throw aborted(signal);
    const connection = new Connection(target, settings);
    const where = `${target.host}:${target.port}`;
    const abort = (): void => connection.#lost(aborted(signal));
    const late = `${where} did not answer within ${settings.connectTimeoutMs} ms. Is it a Pulsar broker?`;
    const timer = settings.clock.timer(settings.connectTimeoutMs, () => connection.#lost(localError("ConnectError", late)));
    signal.addEventListener("abort", abort, { once: true });
    try {
      await connection.#greeting.promise;
      if (connection.#down === undefined) connection.#keepAlive.start();
      return connection;
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", abort);
    }
  }

  /** As the broker says it: `Pulsar Server4.0.6`. */
  get serverVersion(): string {
    return this.#serverVersion;
  }

  /** Largest message with metadata, bytes. */
  get maxMessageSize(): number {
    return this.#maxMessageSize;
  }

  /** Why nothing can be sent any more. */
  get down(): PulsarError | undefined {
    return this.#down;
  }

  /** When anything came last, monotonic ms. */
  get heardAt(): number {
    return this.#keepAlive.heardAt;
  }

  /** So much waits in this process that nothing should be added. */
  get congested(): boolean {
    return this.#socket.writableLength > BACKLOG_BYTES;
  }

  attachProducer(id: number, link: ProducerLink): void {
    this.#producers.set(id, link);
  }

  attachConsumer(id: number, link: ConsumerLink): void {
    this.#consumers.set(id, link);
  }

  detach(id: number): void {
    this.#producers.delete(id);
    this.#consumers.delete(id);
  }

  /** Writes a frame; those of one turn of the event loop leave together. Nothing happens once the connection is down. */
  write(frame: Buffer): void {
    if (this.#down !== undefined) return;
    if (!this.#corked) {
      this.#corked = true;
      this.#socket.cork();
      process.nextTick(() => this.flush());
    }
    this.#socket.write(frame);
  }

  flush(): void {
    if (!this.#corked) return;
    this.#corked = false;
    this.#socket.uncork();
  }

  /** A command and its answer. Rejects with what the broker says, on abort, or when the connection ends. */
  request<C extends Command["case"]>(
    expected: C,
    signal: AbortSignal,
    command: (requestId: number) => CommandInit | Buffer,
  ): Promise<Answer<C>> {
    if (this.#down !== undefined) return Promise.reject(this.#down);
    return this.#requests.ask(expected, signal, (requestId) => {
      const init = command(requestId);
      this.write(Buffer.isBuffer(init) ? init : commandFrame(init));
    });
  }

  /** A round trip. */
  async ping(signal: AbortSignal): Promise<void> {
    if (this.#down !== undefined) throw this.#down;
    await until(signal, new Promise<void>((resolve) => this.#keepAlive.ping(resolve)));
    if (this.#down !== undefined) throw this.#down;
  }

  /** Ends it at once; what is still on this machine is never sent. */
  destroy(reason: PulsarError): void {
    this.#lost(reason);
  }

  /** Ends it once what was written has left. */
  close(reason: PulsarError): void {
    this.flush();
    this.#end(reason, true);
  }

  #listen(opened: "connect" | "secureConnect"): void {
    const socket = this.#socket;
    socket.once(opened, () => this.#greet());
    socket.on("data", (chunk: Buffer) => {
      this.#keepAlive.heard();
      try {
        this.#parser.push(chunk);
      } catch (cause) {
        this.#lost(this.#garbled(cause as Error));
      }
    });
    socket.on("drain", () => {
      for (const link of this.#producers.values()) link.drained();
    });
    // OpenSSL ends its messages with a line's end.
    const failed = (cause: Error): void => this.#lost(this.#broken(cause.message.trim(), cause));
    socket.on("error", failed);
    if (this.#tcp !== socket) this.#tcp.on("error", failed);
    socket.on("close", () => this.#lost(this.#complaint ?? this.#broken("the broker closed it")));
  }

  /** What was damaged on its way comes whole over another connection. */
  #garbled(cause: Error): PulsarError {
    if (this.#serverVersion !== "") return this.#broken(cause.message.replace(/\.$/, ""), cause);
    return localError("ProtocolError", `${cause.message} Is ${this.target.host}:${this.target.port} a Pulsar broker?`, { cause });
  }

  #broken(text: string, cause?: unknown): PulsarError {
    const { host, port } = this.target;
    return this.#serverVersion === ""
      ? localError("ConnectError", `No connection to ${host}:${port}: ${text}.`, { cause })
      : localError("ConnectionLost", `The connection to ${host}:${port} was lost: ${text}.`, { cause });
  }

  #greet(): void {
    const { auth } = this.#settings;
    this.#proof()
      .then((authData) => {
        const greeting = {
          clientVersion: "brokerkit",
          protocolVersion: PROTOCOL_VERSION,
          authMethodName: auth?.method ?? "none",
          ...(authData === undefined ? {} : { authData }),
          ...(this.target.proxyTo === undefined ? {} : { proxyToBrokerUrl: this.target.proxyTo }),
          featureFlags: {
            supportsAuthRefresh: true,
            supportsBrokerEntryMetadata: true,
            supportsGetPartitionedMetadataWithoutAutoCreation: true,
          },
        };
        this.write(commandFrame({ case: "connect", value: greeting }));
      })
      // Not in the turn in which TLS was agreed on: Node crashes where the socket below it is ended there.
      .catch((error: PulsarError) => void setImmediate(() => this.#lost(error)));
  }

  /** Whatever the application's function fails with is a cause, and never quoted: it may hold the secret. */
  async #proof(): Promise<Uint8Array | undefined> {
    try {
      return await this.#settings.auth?.data();
    } catch (cause) {
      throw new PulsarError("AuthenticationError", "The credentials could not be had: see the cause.", { cause });
    }
  }

  #refresh(): void {
    const { auth } = this.#settings;
    this.#proof()
      .then((authData) => {
        const response = { authMethodName: auth?.method ?? "none", authData: authData ?? new Uint8Array(0) };
        this.write(
          commandFrame({ case: "authResponse", value: { clientVersion: "brokerkit", protocolVersion: PROTOCOL_VERSION, response } }),
        );
      })
      .catch((error: PulsarError) => this.#lost(error));
  }

  #received(command: Command): void {
    switch (command.case) {
      case "connected": {
        const { serverVersion, protocolVersion, maxMessageSize } = command.value;
        if (protocolVersion < OLDEST_PROTOCOL)
          return this.#lost(
            localError("Unsupported", `The broker speaks protocol ${protocolVersion}; ${OLDEST_PROTOCOL} is the oldest known.`),
          );
        this.#serverVersion = serverVersion;
        if (maxMessageSize > 0) this.#parser.maxMessageSize = maxMessageSize;
        this.#maxMessageSize = this.#parser.maxMessageSize;
        return this.#greeting.resolve();
      }
      case "ping":
        return this.write(PONG);
      case "pong":
        return this.#keepAlive.answered();
      case "authChallenge":
        return this.#refresh();
      case "sendError": {
        const { producerId, sequenceId, error, message } = command.value;
        return this.#producers.get(producerId)?.refused(Number(sequenceId), serverError(error, message));
      }
      case "closeProducer":
        return this.#detached(this.#producers, command.value.producerId, "producer");
      case "closeConsumer":
        return this.#detached(this.#consumers, command.value.consumerId, "consumer");
      case "activeConsumerChange":
        return this.#consumers.get(command.value.consumerId)?.active(command.value.isActive);
      case "error":
        if (Number(command.value.requestId) === UNASKED) {
          this.#complaint = serverError(command.value.error, command.value.message);
          if (this.#serverVersion === "") this.#lost(this.#complaint);
          return;
        }
        break;
    }
    this.#requests.answered(command);
  }

  #detached(links: Map<number, ProducerLink | ConsumerLink>, id: number, what: string): void {
    const link = links.get(id);
    links.delete(id);
    link?.detached(
      localError("Detached", `The broker closed the ${what}: the topic moved, was unloaded or deleted, or its position was set.`),
    );
  }

  #lost(error: PulsarError): void {
    const open = this.#serverVersion !== "" && this.#down === undefined;
    this.#end(error);
    if (open) this.#settings.onDown(error);
  }

  #reset(): void {
    if (!this.#tcp.connecting) this.#tcp.resetAndDestroy();
    this.#socket.destroy();
    this.#tcp.destroy();
  }

  /** Sends what was written, unless the other side takes nothing. */
  #finish(): void {
    this.#socket.destroySoon();
    const timer = this.#settings.clock.timer(FINISH_MS, () => this.#reset());
    this.#socket.once("close", () => timer.cancel());
  }

  #end(reason: PulsarError, orderly = false): void {
    if (this.#down !== undefined) return;
    this.#down = reason;
    this.#parser.stop();
    if (orderly) this.#finish();
    else this.#reset();
    this.#greeting.reject(reason);
    this.#requests.failAll(reason);
    this.#keepAlive.stop();
    const links = [...this.#producers.values(), ...this.#consumers.values()];
    this.#producers.clear();
    this.#consumers.clear();
    for (const link of links) link.detached(reason);
  }
}
