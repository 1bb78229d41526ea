import type { Clock, Timer } from "brokerkit/driver";
import { bounded } from "../../client.ts";
import { ApiError } from "../../errors.ts";
import { type Connection, statusOf } from "../../protocol/connection.ts";
import type { Message } from "../../protocol/parser.ts";

/** How long behind its expiry an answer may come before the consumer is thought to be gone: a server says nothing for one that is not there. */
const GRACE_MS = 2_000;
/** How long to wait for a server that is to forget a request. */
const LATE_MS = 500;
/** How long to leave a server alone that refuses a pull for the moment. */
const BACKOFF_MS = 250;
/** Bytes that one pull should not exceed by much. */
const PULL_BYTES = 4_194_304;

/** The longest wait of one request: so long it takes to notice that a consumer is gone, for which a server says nothing. */
export const LONGEST_PULL_MS = 500;
/** One message if there is any, and no waiting. */
const AT_ONCE = Buffer.from('{"batch":1,"no_wait":true}');

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

  /** Messages that the request under way may still give; 0: there is none. */
  get left(): number {
    return this.#left;
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
    this.#events.over();
  }

  /** Resolves when nothing more comes and what came has been handed on. */
  async close(): Promise<void> {
    this.#forget();
    this.#timer?.cancel();
    const sid = this.#sid;
    this.#sid = undefined;
    if (sid === undefined || this.#connection.down !== undefined) return;
    const waiting = this.#left > 0 && !this.gone;
    const quiet = this.#connection.unsubscribe(sid);
    if (waiting) await this.#withdraw();
    await quiet;
    this.#left = 0;
  }

  /**
   * The request under way has nobody any more who listens. Servers up to 2.9 stumble over such a one when they have something to deliver
   * again, and hand out what has been acknowledged; taking another one they drop it.
   */
  async #withdraw(): Promise<void> {
    const reply = `${this.#connection.inbox}.q.${++pullers}`;
    const { promise, resolve } = Promise.withResolvers<void>();
    const sid = this.#connection.subscribe(reply, (message) => {
      if (statusOf(message) === undefined) this.#events.message(message);
      resolve();
    });
    this.#connection.publish(this.#subject, reply, "", AT_ONCE);
    await bounded(this.#clock, LATE_MS, () => promise).catch(() => {});
    await this.#connection.unsubscribe(sid);
  }
}

/** Numbers the reply subjects of this process. */
let pullers = 0;
