import type { Clock, Timer } from "brokerkit/driver";
import { bounded } from "../../client.ts";
import { ApiError } from "../../errors.ts";
import { type Connection, statusOf } from "../../protocol/connection.ts";
import type { Message } from "../../protocol/parser.ts";

/** How long behind its expiry an answer may come before the consumer is thought to be gone: a server says nothing for one that is not there. */
const GRACE_MS = 2_000;
/** The same for somebody who has to go. */
const LATE_MS = 200;
/** How long to leave a server alone that refuses a pull for the moment. */
const BACKOFF_MS = 250;
/** Bytes that one pull should not exceed by much. */
const PULL_BYTES = 4_194_304;

/** The longest wait of one request: whoever is to stop waits as long for its end. */
export const LONGEST_PULL_MS = 500;

export interface PullerEvents {
  message(message: Message): void;
  /** A pull is over: all its messages are there, or there are none. */
  over(): void;
}

/**
 * Pulls from one consumer, one request at a time: each gives what is there, and waits for the first message where there is nothing.
 * https://docs.nats.io/reference/reference-protocols/nats_api_reference#fetching-from-a-pull-consumer
 */
export class Puller {
  /** The server says that there is no such consumer, or does not answer for it. */
  gone = false;
  /** The last request ended because there was nothing. */
  empty = false;
  /** What the server refused a pull with, for good. */
  failure: Error | undefined;
  /** When the request under way was sent, monotonic ms: nothing that it gives was owned before. */
  sentAt = 0;
  readonly #connection: Connection;
  readonly #clock: Clock;
  readonly #subject: string;
  readonly #events: PullerEvents;
  readonly #forget: () => void;
  #sid: number | undefined;
  #replies = "";
  #requests = 0;
  /** Messages that the request under way may still give. */
  #left = 0;
  #waitMs = 0;
  readonly #settled: (() => void)[] = [];
  #timer: Timer | undefined;

  /** `subject` is the one that the consumer takes requests on. */
  constructor(connection: Connection, clock: Clock, subject: string, events: PullerEvents) {
    this.#connection = connection;
    this.#clock = clock;
    this.#subject = subject;
    this.#events = events;
    this.#forget = connection.onDenied((denied, subscribing, error) => {
      if (subscribing || denied !== subject || this.#left === 0) return;
      this.failure = error;
      this.#over();
    });
  }

  /** A request is under way. */
  get busy(): boolean {
    return this.#left > 0;
  }

  /** Asks for up to `batch` messages; with 0 ms only for what is there. */
  pull(batch: number, waitMs: number): void {
    if (this.#sid === undefined) {
      this.#replies = `${this.#connection.inbox}.q.${++pullers}.`;
      this.#sid = this.#connection.subscribe(`${this.#replies}*`, (message) => this.#received(message));
    }
    this.#left = batch;
    this.empty = false;
    this.#waitMs = waitMs;
    this.sentAt = this.#clock.monotonic();
    const expires = Math.max(1, Math.floor(waitMs)) * 1_000_000;
    // A message must fit, whatever its size.
    const max_bytes = Math.max(PULL_BYTES, 2 * this.#connection.info.maxPayload);
    const request = { batch, no_wait: true, max_bytes, ...(waitMs > 0 ? { expires } : {}) };
    this.#connection.publish(this.#subject, this.#replies + ++this.#requests, "", Buffer.from(JSON.stringify(request)));
    this.#timer = this.#clock.timer(waitMs + GRACE_MS, () => {
      this.gone = true;
      this.#over();
    });
  }

  #received(message: Message): void {
    const status = statusOf(message);
    if (status === undefined) {
      this.#events.message(message);
      if (this.#left > 0 && --this.#left === 0) this.#over();
      return;
    }
    if (this.#left === 0 || message.subject !== this.#replies + this.#requests) return;
    const { code, text } = status;
    this.empty = code === 404;
    if (code === 404 || code === 408) return this.#over();
    if (code === 503 || /consumer (deleted|not found)|no responders/i.test(text)) this.gone = true;
    else if (code !== 409) this.failure = new ApiError(code, 0, text);
    else if (!/max_?bytes/i.test(text)) return this.#later();
    this.#over();
  }

  /** Too many wait, or the consumer moves to another server: asked again at once, it would say the same. */
  #later(): void {
    this.#timer?.cancel();
    this.#timer = this.#clock.timer(BACKOFF_MS, () => this.#over());
  }

  #over(): void {
    this.#timer?.cancel();
    this.#left = 0;
    for (const settled of this.#settled.splice(0)) settled();
    this.#events.over();
  }

  /**
   * Resolves when nothing more comes and what came has been handed on. Requests are left to end by themselves: servers up to 2.9 stumble
   * over one that nobody listens to any more, and hand out again what has been acknowledged.
   */
  async settled(): Promise<void> {
    if (this.#left === 0) return;
    const late = this.#clock.monotonic() - this.sentAt - this.#waitMs;
    await new Promise<void>((resolve) => {
      const timer = this.#clock.timer(Math.max(1, LATE_MS - late), resolve);
      this.#settled.push(() => {
        timer.cancel();
        resolve();
      });
    });
    if (this.#left > 0) await bounded(this.#clock, LATE_MS, () => this.#leave()).catch(() => {});
  }

  async close(): Promise<void> {
    this.#forget();
    await this.settled();
    await this.#leave();
  }

  async #leave(): Promise<void> {
    const sid = this.#sid;
    this.#sid = undefined;
    this.#timer?.cancel();
    if (sid !== undefined) await this.#connection.unsubscribe(sid);
    this.#left = 0;
  }
}

/** Numbers the reply subjects of this process. */
let pullers = 0;
