import { isIP } from "node:net";
import type { ConnectionOptions } from "node:tls";
import { type Clock, driverError } from "brokerkit/driver";
import { classify } from "../errors.ts";
import { unavailable } from "./client-error.ts";
import type { Answer, Args, Client, Connection, RequestName, Requests } from "./requests.ts";
import { bounded, until } from "./waiting.ts";

type Pool = InstanceType<Client["ConnectionPool"]>;

/** Where a cluster is and how it lets us in. Secrets are not enumerable. */
export interface Endpoint {
  readonly bootstrap: readonly { readonly host: string; readonly port: number }[];
  readonly clientId: string;
  readonly connectTimeoutMs: number;
  /** Every connection goes to the bootstrap address, whatever the server advertises. */
  readonly tunnel: boolean;
  readonly sasl:
    | { readonly mechanism: "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512"; readonly username: string; readonly password: string }
    | { readonly mechanism: "OAUTHBEARER"; readonly token: string | (() => string | Promise<string>) }
    | undefined;
  readonly tls: ConnectionOptions | undefined;
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** A node by number, or `"any"`: the first that lets us in, those that did not answer the last time at the end. */
export type Node = number | "any";

/** Longer than any deadline of ours: the client ends a request on its own, and can't use the connection after it. */
const CLIENT_MS = 24 * 3_600_000;
/** How long an ordinary request may take. */
export const REQUEST_MS = 15_000;
/** A token that is refused is answered with the reason, and not with an error: https://www.rfc-editor.org/rfc/rfc7628#section-3.2.2 */
function accepted(answer: Buffer, done: (error: Error | null, answer?: Buffer) => void): void {
  if (answer.length === 0) done(null, answer);
  else done(driverError("UNAUTHENTICATED", `The server refused the token: ${answer.toString().slice(0, 500)}`));
}

/** Why a connection broke. */
const FAILURES = new WeakMap<Connection, unknown>();

/** What a line needs of its cluster. */
export interface Exchange {
  readonly client: Client;
  readonly endpoint: Endpoint;
  readonly clock: Clock;
  /** The best version of a request that both sides know. Throws `UNSUPPORTED` where there is none. */
  form<N extends RequestName>(name: N): Requests[N];
  /** Addresses to try for a node. */
  addresses(node: Node): readonly Address[];
  /** The server at this address was asked, and answered or did not. */
  seen(address: Address, answered: boolean): void;
  /** The line is closed. */
  forget(line: Line): void;
}

/** Connections to the nodes of a cluster for one purpose. Once closed it stays closed, and all its requests have failed. */
export class Line {
  readonly #cluster: Exchange;
  /** By whether the host is a name: only names may be sent as what TLS calls the server's name (RFC 6066). */
  readonly #pools = new Map<boolean, Pool>();
  readonly #opened = new WeakSet<Connection>();
  readonly #onCut: () => void;
  readonly #closing = new AbortController();

  constructor(cluster: Exchange, onCut: () => void = () => {}) {
    this.#cluster = cluster;
    this.#onCut = onCut;
  }

  #pool({ host }: Address): Pool {
    const named = isIP(host) === 0;
    const existing = this.#pools.get(named);
    if (existing !== undefined) return existing;
    const { clientId, connectTimeoutMs, sasl, tls } = this.#cluster.endpoint;
    const pool = new this.#cluster.client.ConnectionPool(clientId, {
      connectTimeout: connectTimeoutMs,
      requestTimeout: CLIENT_MS,
      maxInflights: 100,
      ...(sasl === undefined ? {} : { sasl: sasl.mechanism === "OAUTHBEARER" ? { ...sasl, authBytesValidator: accepted } : { ...sasl } }),
      ...(tls === undefined ? {} : { tls, tlsServerName: tls.servername ?? named }),
    });
    pool.on("connecting", ({ connection }) => {
      // A request that was under way only says that the connection was closed; this says why.
      connection.on("error", (error: unknown) => void FAILURES.set(connection, error));
    });
    pool.on("connect", ({ connection }) => void this.#opened.add(connection));
    pool.on("disconnect", ({ connection }) => {
      // The pool forgets it only after this event.
      if (this.#opened.has(connection) && !this.#closing.signal.aborted) setImmediate(this.#onCut);
    });
    this.#pools.set(named, pool);
    return pool;
  }

  /** Sends one request. Without a signal it ends after `REQUEST_MS`. Rejects with the raw error, or with the signal's reason. */
  ask<N extends RequestName>(node: Node, name: N, args: Args<N>, signal?: AbortSignal): Promise<Answer<N>> {
    const send = this.#cluster.form(name).api.async as unknown as (connection: Connection, ...rest: unknown[]) => Promise<Answer<N>>;
    return this.call(node, send, args, signal);
  }

  /** A signal that ends while the request is under way closes the connection: its late answer would be taken for another's. */
  call<A extends readonly unknown[], R>(
    node: Node,
    send: (connection: Connection, ...args: A) => Promise<R>,
    args: readonly [...A],
    signal?: AbortSignal,
  ): Promise<R> {
    if (signal !== undefined) return this.#call(node, send, args, signal);
    const late = (): unknown => driverError("TIMEOUT", `A server did not answer within ${REQUEST_MS} ms.`);
    return bounded(this.#cluster.clock, REQUEST_MS, late, (bound) => this.#call(node, send, args, bound));
  }

  async #call<A extends readonly unknown[], R>(
    node: Node,
    send: (connection: Connection, ...args: A) => Promise<R>,
    args: readonly [...A],
    signal: AbortSignal,
  ): Promise<R> {
    const bound = AbortSignal.any([signal, this.#closing.signal]);
    bound.throwIfAborted();
    const { address, connection } = await this.#connect(this.#cluster.addresses(node), bound);
    bound.throwIfAborted();
    let answered = true;
    try {
      return await until(bound, send(connection, ...args));
    } catch (error) {
      const cut = (error as { code?: unknown }).code === "PLT_KFK_NETWORK";
      answered = !cut && !bound.aborted;
      if (bound.aborted) connection.socket.destroy();
      throw cut ? (FAILURES.get(connection) ?? error) : error;
    } finally {
      this.#cluster.seen(address, answered);
    }
  }

  async #connect(
    addresses: readonly Address[],
    bound: AbortSignal,
  ): Promise<{ readonly address: Address; readonly connection: Connection }> {
    let failure: unknown;
    for (const address of addresses) {
      try {
        return { address, connection: await until(bound, this.#open(address)) };
      } catch (error) {
        this.#cluster.seen(address, false);
        bound.throwIfAborted();
        // A server that refuses us says more than another one that is down.
        if (failure === undefined || !classify(error).retryable) failure = error;
      }
    }
    throw failure;
  }

  async #open(address: Address): Promise<Connection> {
    const connection = await this.#pool(address).get(address);
    // One that was just cut stays in the pool until it has said so.
    if (connection.socket.destroyed && connection.isConnected()) await new Promise((closed) => connection.once("close", closed));
    return connection.isConnected() ? connection : this.#pool(address).get(address);
  }

  /** Cuts all connections: nothing more is sent over this line. */
  close(): void {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(unavailable("The connection was closed."));
    this.#cluster.forget(this);
    for (const pool of this.#pools.values()) {
      for (const [, connection] of pool) connection.socket?.destroy();
      void pool.close().catch(() => {});
    }
  }
}
