import type { Adapter, Clock } from "../driver/adapter.ts";
import type { Capabilities } from "../driver/capabilities.ts";
import type { Driver } from "../driver/driver.ts";
import { BrokerError, fromDriver } from "../errors.ts";
import { timeoutSignal } from "../primitives/abort.ts";
import { type Deferred, deferred } from "../primitives/deferred.ts";
import type { Keepalive } from "../primitives/keepalive.ts";
import { settleBy } from "../primitives/race.ts";
import { sleep } from "../primitives/sleep.ts";

export type ConnectionState = "fresh" | "connecting" | "connected" | "reconnecting" | "failed" | "closed";

/** What the owner of a connection is told and asked. */
export interface ConnectionEvents {
  /** First opening: check what was found; a throw refuses the connection. */
  opened(adapter: Adapter, capabilities: Capabilities): void;
  /** A server came back: the name of something it can no longer do, or `undefined`. */
  narrowed(before: Capabilities, after: Capabilities): string | undefined;
  down(error: BrokerError, attempt: number): void;
  up(downMs: number): void;
  /** It will never be what it was: everything that stands on it ends. */
  failed(error: BrokerError): void;
}

const ATTEMPT_MS = 10_000;
const CLOSE_MS = 3_000;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 5_000;

/** One driver and its link: opens it once, re-opens it in the only reconnect loop there is, closes it once. */
export class Connection {
  readonly #name: string;
  readonly #load: () => Adapter | Promise<Adapter>;
  readonly #clock: Clock;
  readonly #keepalive: Keepalive;
  readonly #events: ConnectionEvents;
  #state: ConnectionState = "fresh";
  #driver: Driver | undefined;
  #capabilities: Capabilities | undefined;
  #opening: Promise<void> | undefined;
  #fatal: BrokerError | undefined;
  #back: Deferred<void> | undefined;
  readonly #closing = new AbortController();

  constructor(name: string, load: () => Adapter | Promise<Adapter>, clock: Clock, keepalive: Keepalive, events: ConnectionEvents) {
    this.#name = name;
    this.#load = load;
    this.#clock = clock;
    this.#keepalive = keepalive;
    this.#events = events;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  get connected(): boolean {
    return this.#state === "connected";
  }

  /** The driver, once opened. */
  get driver(): Driver {
    if (this.#driver === undefined) throw this.#unavailable("is not connected yet: await broker.connect() first");
    return this.#driver;
  }

  /** What the server can do. Throws `UNAVAILABLE` before the first connect. */
  get capabilities(): Capabilities {
    if (this.#capabilities === undefined) throw this.#unavailable("has not been asked yet what it can do: await broker.connect() first");
    return this.#capabilities;
  }

  /** `undefined` when connected. Otherwise opens, or waits for the reconnect loop. Rejects with the reason why not. */
  ready(): Promise<void> | undefined {
    if (this.#state === "connected") return undefined;
    if (this.#state === "closed") return Promise.reject(this.closedError());
    if (this.#state === "failed") return Promise.reject(this.#fatal);
    if (this.#state === "reconnecting") return this.#back?.promise;
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  /** Some call found the link broken: starts the reconnect loop unless it runs already. */
  failed(error: BrokerError): void {
    if (this.#state !== "connected") return;
    this.#state = "reconnecting";
    this.#back = deferred<void>();
    this.#back.promise.catch(() => {});
    // There may be no socket at the moment, and whoever waits for the link must not find the process gone.
    this.#keepalive.hold();
    void this.#reconnect(error).finally(() => this.#keepalive.release());
  }

  async close(): Promise<void> {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#closing.abort();
    this.#back?.reject(this.closedError());
    const until = this.#clock.monotonic() + CLOSE_MS;
    if (this.#opening !== undefined) await settleBy(this.#clock, until, this.#opening);
    const closing = this.#driver?.close();
    if (closing !== undefined) await settleBy(this.#clock, until, closing);
  }

  closedError(): BrokerError {
    return new BrokerError("CLOSED", `[${this.#name}] The broker is closed: make a new one with connect().`, {
      details: undefined,
      adapter: this.#name,
    });
  }

  async #open(): Promise<void> {
    this.#state = "connecting";
    try {
      const adapter = await this.#load();
      this.#driver ??= adapter.open({ clock: this.#clock, down: (error) => this.failed(this.#wrap(error)) });
      const capabilities = await this.#attempt();
      this.#events.opened(adapter, capabilities);
      this.#capabilities = capabilities;
      if (this.#closing.signal.aborted) throw this.closedError();
      this.#state = "connected";
    } catch (error) {
      if (!this.#closing.signal.aborted) this.#state = "fresh";
      throw this.#closing.signal.aborted ? this.closedError() : this.#wrap(error);
    }
  }

  async #reconnect(first: BrokerError): Promise<void> {
    const since = this.#clock.monotonic();
    let error = first;
    for (let attempt = 1; !this.#closing.signal.aborted; attempt++) {
      this.#events.down(error, attempt);
      try {
        const capabilities = await this.#attempt();
        const lacking = this.#events.narrowed(this.capabilities, capabilities);
        if (lacking !== undefined) return this.#fail(this.#narrower(lacking));
        if (this.#closing.signal.aborted) return;
        this.#state = "connected";
        this.#events.up(this.#clock.monotonic() - since);
        this.#back?.resolve();
        return;
      } catch (raw) {
        error = this.#wrap(raw);
        if (!error.retryable) return this.#giveUp(error);
      }
      const step = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (attempt - 1));
      await sleep(this.#clock, step / 2 + (Math.random() * step) / 2, this.#closing.signal);
    }
  }

  /** Waiting would not help (credentials, a narrower server): everybody is told, and the next call tries to open afresh. */
  #giveUp(error: BrokerError): void {
    if (this.#state === "closed") return;
    this.#state = "fresh";
    this.#back?.reject(error);
  }

  /** A server that can do less than what the application was promised: only a new broker can say yes to that. */
  #fail(error: BrokerError): void {
    if (this.#state === "closed") return;
    this.#state = "failed";
    this.#fatal = error;
    this.#back?.reject(error);
    this.#events.failed(error);
  }

  async #attempt(): Promise<Capabilities> {
    const bound = timeoutSignal(this.#clock, ATTEMPT_MS, this.#closing.signal);
    try {
      return await this.driver.connect(bound.signal);
    } catch (error) {
      // Our own bound, not an answer of the server: worth another attempt.
      if (bound.signal.aborted) throw this.#unavailable(`could not be reached within ${ATTEMPT_MS} ms`);
      throw error;
    } finally {
      bound.done();
    }
  }

  #narrower(lacking: string): BrokerError {
    const text = `[${this.#name}] The server that came back can do less than before (${lacking}). Make a new broker once that is intended.`;
    return new BrokerError("UNSUPPORTED", text, { details: { capability: lacking, supportedBy: [] }, adapter: this.#name });
  }

  #wrap(error: unknown): BrokerError {
    const classifier = this.#driver ?? { classify: () => ({ code: "INTERNAL" as const, retryable: false }) };
    return fromDriver(classifier, error, { adapter: this.#name, doing: "connect" });
  }

  #unavailable(what: string): BrokerError {
    return new BrokerError("UNAVAILABLE", `[${this.#name}] The broker ${what}.`, {
      details: undefined,
      retryable: true,
      adapter: this.#name,
    });
  }
}
