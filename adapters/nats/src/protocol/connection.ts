import { randomBytes } from "node:crypto";
import { createConnection, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { type Clock, driverError, type Timer } from "brokerkit/driver";
import { bounded, NOTHING } from "../client.ts";
import { ApiError, ServerError, unavailable } from "../errors.ts";
import type { Endpoint } from "../options.ts";
import { credentialsOf, signerOf } from "./nkeys.ts";
import { Outbox } from "./outbox.ts";
import { type Message, Parser } from "./parser.ts";

/** How long a connection may be silent before it is given up; it is asked three times in that time. */
const PATIENCE_MS = 9_000;

/** How long, and how many times, to ask whether a connection is gone. */
const FENCE_MS = 50;
const FENCE_TRIES = 40;

/** What the server said of itself. */
export interface ServerInfo {
  readonly version: string;
  /** Bytes of headers and body that one message may have. */
  readonly maxPayload: number;
  /** The server is part of a cluster. */
  readonly clustered: boolean;
  readonly jetstream: boolean;
  readonly headers: boolean;
}

export interface Where {
  readonly endpoint: Endpoint;
  readonly clock: Clock;
  /** Called when an open connection is lost, never for one that was destroyed here. */
  readonly onDown: (error: Error) => void;
}

/** The server forbids a subject; `subscribing`: to listen to it rather than to publish to it. */
export type Denied = (subject: string, subscribing: boolean, error: Error) => void;

interface Waiting {
  readonly subject: string;
  readonly resolve: (message: Message) => void;
  readonly reject: (error: Error) => void;
}

/** Nothing answers to this subject: https://docs.nats.io/nats-concepts/core-nats/reqreply#no-responders */
export class NoResponders extends Error {
  override readonly name = "NatsNoRespondersError";
}

/**
 * One connection to one server, and all that the drivers know of its protocol. It never queues while offline, never sends anything twice,
 * and never comes back: once down, it stays down, and everything under way has failed.
 */
export class Connection {
  /** Replies to this connection go to subjects below it; nobody else has it. */
  readonly inbox: string;
  readonly #where: Where;
  readonly #host: string;
  readonly #parser: Parser;
  readonly #subscriptions = new Map<number, (message: Message) => void>();
  readonly #waiting = new Map<string, Waiting>();
  readonly #pongs: { readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];
  readonly #denied = new Set<Denied>();
  readonly #tcp: Socket;
  #socket: Socket;
  #info: ServerInfo | undefined;
  #ready: { readonly resolve: () => void; readonly reject: (error: Error) => void } | undefined;
  #refusal: ServerError | undefined;
  #down: Error | undefined;
  #sids = 0;
  #tokens = 0;
  #heardAt: number;
  #timer: Timer | undefined;
  readonly #outbox = new Outbox((bytes) => {
    if (this.#down === undefined) this.#socket.write(bytes);
  });

  private constructor(where: Where, { host, port }: Endpoint["servers"][number]) {
    this.#where = where;
    this.#host = host;
    this.#heardAt = where.clock.monotonic();
    this.inbox = `${where.endpoint.inboxPrefix}.${randomBytes(12).toString("hex")}`;
    this.#parser = new Parser({
      message: (message) => this.#subscriptions.get(message.sid)?.(message),
      info: (json) => this.#welcome(json),
      error: (text) => this.#refused(text),
      ping: () => this.#command("PONG"),
      pong: () => this.#pongs.shift()?.resolve(),
    });
    this.#tcp = createConnection({ host, port });
    this.#tcp.setNoDelay(true);
    this.#socket = this.#tcp;
    this.#listen(this.#tcp);
  }

  /**
   * Connects to the first of the servers that lets us in, each within the connect timeout. Rejects with the raw error of the last one, or
   * UNAVAILABLE when there was no answer in time.
   */
  static async open(where: Where, signal: AbortSignal): Promise<Connection> {
    const { servers } = where.endpoint;
    const first = Math.floor(Math.random() * servers.length);
    let failure: unknown;
    for (let n = 0; n < servers.length && !signal.aborted; n++) {
      const connection = new Connection(where, servers[(first + n) % servers.length] as Endpoint["servers"][number]);
      try {
        await connection.#greeted(signal);
        return connection;
      } catch (error) {
        failure = error;
      }
    }
    throw failure ?? unavailable("Aborted before connecting.", signal.reason);
  }

  get info(): ServerInfo {
    return this.#info as ServerInfo;
  }

  /** Why nothing can be sent any more. */
  get down(): Error | undefined {
    return this.#down;
  }

  async #greeted(signal: AbortSignal): Promise<void> {
    const { endpoint, clock } = this.#where;
    const abort = (): void => this.#lost(unavailable("Aborted while connecting.", signal.reason));
    const late = `${this.#host} did not answer within ${endpoint.connectTimeoutMs} ms. Is it a NATS server?`;
    const timer = clock.timer(endpoint.connectTimeoutMs, () => this.#lost(unavailable(late)));
    signal.addEventListener("abort", abort, { once: true });
    try {
      await new Promise<void>((resolve, reject) => {
        this.#ready = { resolve, reject };
      });
      await this.#server(`${this.inbox}.*`);
      this.#watch();
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", abort);
      this.#ready = undefined;
    }
  }

  /** Listens for replies; resolves when the server does. A server that forbids it says so before its answer. */
  async #server(subject: string): Promise<void> {
    let forbidden: Error | undefined;
    const forget = this.onDenied((denied, subscribing, error) => {
      if (subscribing && denied === subject) forbidden = error;
    });
    this.subscribe(subject, (message) => {
      const token = message.subject.slice(this.inbox.length + 1);
      const waiting = this.#waiting.get(token);
      this.#waiting.delete(token);
      if (statusOf(message)?.code === 503) waiting?.reject(new NoResponders(`Nothing answers to ${waiting.subject}.`));
      else waiting?.resolve(message);
    });
    try {
      await this.flush();
      if (forbidden !== undefined) throw forbidden;
    } catch (error) {
      this.destroy();
      throw error;
    } finally {
      forget();
    }
  }

  #listen(socket: Socket): void {
    socket.on("data", (chunk: Buffer) => {
      this.#heardAt = this.#where.clock.monotonic();
      try {
        this.#parser.push(chunk);
      } catch (error) {
        this.#lost(unavailable(`${(error as Error).message} Is ${this.#host} a NATS server?`, error));
      }
    });
    socket.on("error", (error) => this.#lost(error));
    socket.on("close", () => this.#lost(unavailable(`The connection to ${this.#host} was closed.`)));
  }

  #welcome(json: string): void {
    const info = JSON.parse(json) as Readonly<Record<string, unknown>>;
    const again = this.#info !== undefined;
    this.#info = {
      version: String(info["version"]),
      maxPayload: Number(info["max_payload"]),
      clustered: info["cluster"] !== undefined || this.#info?.clustered === true,
      jetstream: info["jetstream"] === true,
      headers: info["headers"] === true,
    };
    if (again) return;
    const { tls } = this.#where.endpoint;
    const nonce = String(info["nonce"] ?? "");
    const required = info["tls_required"] === true;
    if (tls === undefined && !required) return this.#greet(nonce);
    if (!required && info["tls_available"] !== true)
      return this.#lost(unavailable(`${this.#host} does not speak TLS. Connect without it, or switch it on at the server.`));
    // Bytes before the handshake could have been put there by anybody.
    queueMicrotask(() => (this.#parser.rest > 0 ? this.#lost(new Error("The server spoke before TLS was up.")) : this.#secure(nonce)));
  }

  #secure(nonce: string): void {
    if (this.#down !== undefined) return;
    const { tls = {} } = this.#where.endpoint;
    this.#tcp.removeAllListeners("data");
    const servername = tls.servername ?? (isIP(this.#host) === 0 ? this.#host : undefined);
    const given = Object.fromEntries(Object.entries({ ...tls, servername }).filter(([, value]) => value !== undefined));
    try {
      const secure = connectTls({ ...given, socket: this.#tcp, host: this.#host });
      this.#socket = secure;
      this.#listen(secure);
      secure.once("secureConnect", () => this.#greet(nonce));
    } catch (error) {
      // Certificates that are none.
      this.#lost(error as Error);
    }
  }

  /** https://docs.nats.io/reference/reference-protocols/nats-protocol#connect */
  #greet(nonce: string): void {
    const { username, password, token, nkeySeed, jwt, credentials, name } = this.#where.endpoint;
    const proof = credentials === undefined ? { jwt, seed: nkeySeed } : credentialsOf(credentials);
    const signer = proof.seed === undefined ? undefined : signerOf(proof.seed);
    const greeting = {
      verbose: false,
      pedantic: false,
      headers: true,
      no_responders: true,
      protocol: 1,
      lang: "brokerkit",
      version: "1",
      name,
      user: username,
      pass: password,
      auth_token: token,
      jwt: proof.jwt,
      nkey: proof.jwt === undefined ? signer?.nkey : undefined,
      sig: nonce === "" ? undefined : signer?.sign(nonce),
    };
    this.#pongs.push({ resolve: () => this.#ready?.resolve(), reject: () => {} });
    this.#write(`CONNECT ${JSON.stringify(greeting)}\r\nPING\r\n`, "utf8");
  }

  #refused(text: string): void {
    const [, verb, subject] = /^Permissions Violation for (Publish|Subscription) to "([^"]*)"/i.exec(text) ?? [];
    const error = new ServerError(text);
    if (subject !== undefined) {
      for (const [token, waiting] of this.#waiting) {
        if (verb !== "Publish" || waiting.subject !== subject) continue;
        this.#waiting.delete(token);
        waiting.reject(error);
      }
      for (const denied of [...this.#denied]) denied(subject, verb !== "Publish", error);
      return;
    }
    this.#refusal = error;
    if (this.#ready !== undefined) this.#lost(error);
  }

  /** Tells of subjects that the server forbids, until the returned function is called. */
  onDenied(denied: Denied): () => void {
    this.#denied.add(denied);
    return () => this.#denied.delete(denied);
  }

  /** `headers` is a whole block in Latin-1, so that every byte is one character. Throws what `down` is. */
  publish(subject: string, reply: string, headers: string, body: Uint8Array): void {
    if (this.#down !== undefined) throw this.#down;
    const to = reply === "" ? subject : `${subject} ${reply}`;
    const head =
      headers === "" ? `PUB ${to} ${body.length}\r\n` : `HPUB ${to} ${headers.length} ${headers.length + body.length}\r\n${headers}`;
    this.#outbox.message(head, body);
  }

  /** Publishes a few words of ASCII. Throws what `down` is. */
  say(subject: string, text: string): void {
    if (this.#down !== undefined) throw this.#down;
    this.#outbox.text(`PUB ${subject} ${text.length}\r\n${text}\r\n`, "latin1");
  }

  /** Returns the subscription's number. Messages come from the server's next turn on; those of a queue group go to one of its members. */
  subscribe(subject: string, handle: (message: Message) => void, queue?: string): number {
    if (this.#down !== undefined) throw this.#down;
    const sid = ++this.#sids;
    this.#subscriptions.set(sid, handle);
    this.#command(`SUB ${subject} ${queue === undefined ? "" : `${queue} `}${sid}`);
    return sid;
  }

  /** Resolves when nothing more can come: what the server had sent by then has been handled. */
  async unsubscribe(sid: number): Promise<void> {
    if (this.#down !== undefined || !this.#subscriptions.has(sid)) return;
    this.#command(`UNSUB ${sid}`);
    await this.flush().catch(() => {});
    this.#subscriptions.delete(sid);
  }

  /** A round trip: when it resolves, the server has processed everything that was sent before. */
  async flush(): Promise<void> {
    if (this.#down !== undefined) throw this.#down;
    await new Promise<void>((resolve, reject) => {
      this.#pongs.push({ resolve, reject });
      this.#command("PING");
    });
  }

  /** Publishes and resolves to the one answer. Rejects with `NoResponders`, what the server forbids, or when the signal aborts. */
  async ask(subject: string, body: Uint8Array, signal?: AbortSignal, headers = ""): Promise<Message> {
    if (this.#down !== undefined) throw this.#down;
    if (signal?.aborted) throw unavailable("Aborted before anything was asked.", signal.reason);
    const token = (++this.#tokens).toString(36);
    const abort = (): void => {
      const waiting = this.#waiting.get(token);
      this.#waiting.delete(token);
      waiting?.reject(unavailable("Aborted while waiting for the server.", signal?.reason));
    };
    signal?.addEventListener("abort", abort, { once: true });
    try {
      return await new Promise<Message>((resolve, reject) => {
        this.#waiting.set(token, { subject, resolve, reject });
        this.publish(subject, `${this.inbox}.${token}`, headers, body);
      });
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /**
   * Resolves when the server has closed the connection with that inbox, so that nothing of it can arrive any more. A server that does not
   * get to know of its end is not waited for: what did not arrive in that time is not on its way.
   */
  async outlive(inbox: string, signal: AbortSignal): Promise<void> {
    for (let tries = 0; tries < FENCE_TRIES && !signal.aborted; tries++) {
      const answer = bounded(this.#where.clock, FENCE_MS, (late) => this.ask(`${inbox}.end`, NOTHING, late));
      const gone = await answer.then(
        () => true,
        // Whoever may not ask does not get to know.
        (error: unknown) => error instanceof NoResponders || error instanceof ServerError,
      );
      if (gone || this.#down !== undefined) return;
    }
  }

  /** A request of JetStream's API, in JSON. Rejects with `ApiError` for what it refuses. */
  async api<T>(subject: string, body: unknown, signal?: AbortSignal): Promise<T> {
    const payload = body === undefined ? NOTHING : Buffer.from(JSON.stringify(body));
    const answer = await this.ask(subject, payload, signal).catch((error: unknown) => {
      if (error instanceof NoResponders)
        throw driverError("UNSUPPORTED", "The server has no JetStream, or none for this account: start it with -js, or use nats+core:.");
      throw error;
    });
    const reply = JSON.parse(answer.body.toString()) as { error?: { code?: number; err_code?: number; description?: string } };
    if (reply.error !== undefined)
      throw new ApiError(reply.error.code ?? 0, reply.error.err_code ?? 0, reply.error.description ?? "refused");
    return reply as T;
  }

  /**
   * Closes at once, and everything under way fails with `reason`. With `reset`, what the server has not read yet it never does; without,
   * what was written still arrives.
   */
  destroy(reason: Error = unavailable("The connection was closed."), reset = false): void {
    if (this.#down !== undefined) return;
    if (!reset && this.#info !== undefined) this.#outbox.flush();
    this.#down = reason;
    this.#timer?.cancel();
    this.#parser.stop();
    this.#subscriptions.clear();
    this.#ready?.reject(reason);
    for (const { reject } of [...this.#waiting.values(), ...this.#pongs.splice(0)]) reject(reason);
    this.#waiting.clear();
    if (reset && !this.#tcp.connecting) this.#tcp.resetAndDestroy();
    this.#socket.destroy();
    this.#tcp.destroy();
  }

  #lost(error: Error): void {
    if (this.#down !== undefined) return;
    const opening = this.#ready !== undefined;
    const cause = this.#refusal ?? error;
    this.destroy(opening ? cause : unavailable(`The connection was lost: ${cause.message}`, cause));
    if (!opening) this.#where.onDown(this.#down as unknown as Error);
  }

  /** A half-open connection gives no error by itself. */
  #watch(): void {
    const { clock } = this.#where;
    const due = clock.monotonic() + PATIENCE_MS / 3;
    this.#timer = clock.timer(PATIENCE_MS / 3, () => {
      // It was this process that stood still: what the server sent meanwhile has not been read yet.
      if (clock.monotonic() - due > PATIENCE_MS / 3) this.#heardAt = clock.monotonic();
      const silentMs = clock.monotonic() - this.#heardAt;
      if (this.#pongs.length > 0 && silentMs >= PATIENCE_MS) return this.#lost(unavailable(`no answer for ${Math.round(silentMs)} ms`));
      if (this.#pongs.length === 0) this.flush().catch(() => {});
      this.#watch();
    });
  }

  #command(line: string): void {
    this.#write(`${line}\r\n`, "latin1");
  }

  #write(text: string, encoding: "latin1" | "utf8"): void {
    if (this.#down === undefined) this.#outbox.text(text, encoding);
  }
}

/** The first line of a message of the server itself: `NATS/1.0 408 Request Timeout`. */
export function statusOf({ headers }: Message): { readonly code: number; readonly text: string } | undefined {
  if (headers === undefined || headers[8] !== " ") return undefined;
  const line = headers.slice(9, headers.indexOf("\r"));
  return { code: Number.parseInt(line, 10), text: line.slice(4).trim() };
}
