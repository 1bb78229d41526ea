import { Connection, type Target } from "./connection.ts";
import { localError } from "./errors.ts";
import type { Settings } from "./options.ts";
import { aborted, until } from "./waiting.ts";

/** One connection to each broker, shared by all that is served there. */
export class Pool {
  readonly #settings: Settings;
  readonly #live = new Map<string, Connection>();
  readonly #opening = new Map<string, Promise<Connection>>();
  readonly #closing = new AbortController();
  #service: Connection | undefined;
  #ids = 0;

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  /** A number for a producer or a consumer: the same one on every connection that it will ever have. */
  nextId(): number {
    return ++this.#ids;
  }

  /** Those that are open. */
  get live(): readonly Connection[] {
    return [...this.#live.values()].filter(({ down }) => down === undefined);
  }

  /** The connection for lookups: to the first host of the service URL that lets us in. */
  async service(signal: AbortSignal): Promise<Connection> {
    if (this.#service !== undefined && this.#service.down === undefined) return this.#service;
    const { hosts, secure } = this.#settings;
    const first = Math.floor(Math.random() * hosts.length);
    let failure: unknown;
    for (let n = 0; n < hosts.length && !signal.aborted; n++) {
      const host = hosts[(first + n) % hosts.length] as (typeof hosts)[number];
      try {
        this.#service = await this.to({ ...host, secure }, signal);
        return this.#service;
      } catch (error) {
        failure = error;
      }
    }
    throw failure ?? aborted(signal);
  }

  /** An open connection to a broker. Whoever waits for the same one shares the attempt. */
  to(target: Target, signal: AbortSignal): Promise<Connection> {
    if (this.#closing.signal.aborted) return Promise.reject(this.#closing.signal.reason);
    const key = `${target.secure ? "tls" : "tcp"} ${target.host}:${target.port} ${target.proxyTo ?? ""}`;
    const live = this.#live.get(key);
    if (live !== undefined && live.down === undefined) return Promise.resolve(live);
    let opening = this.#opening.get(key);
    if (opening === undefined) {
      opening = this.#open(key, target).finally(() => this.#opening.delete(key));
      this.#opening.set(key, opening);
    }
    return until(signal, opening);
  }

  async #open(key: string, target: Target): Promise<Connection> {
    const { signal } = this.#closing;
    const connection = await Connection.open(target, this.#settings, signal);
    // It was greeted, and before it got here the client was closed.
    if (signal.aborted) {
      connection.close(signal.reason);
      throw signal.reason;
    }
    this.#live.set(key, connection);
    return connection;
  }

  /** Ends all connections, and attempts to open one. */
  close(): void {
    const reason = localError("Closed", "The client was closed.");
    this.#closing.abort(reason);
    for (const connection of this.#live.values()) connection.close(reason);
    this.#live.clear();
  }
}
