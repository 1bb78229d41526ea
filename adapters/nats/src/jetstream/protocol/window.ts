import { type Clock, driverError, type Timer } from "brokerkit/driver";
import { ApiError, unavailable } from "../../errors.ts";
import { type Connection, statusOf } from "../../protocol/connection.ts";
import type { Message } from "../../protocol/parser.ts";

/** How long JetStream may be silent about messages that its server has taken: a stream whose leader has gone drops them without a word. */
const SILENCE_MS = 4_000;

/** A message on its way into a stream. */
export interface Outgoing {
  readonly subject: string;
  /** A whole block in Latin-1. */
  readonly headers: string;
  readonly body: Uint8Array;
}

/** What became of it. `unheard`: nobody listens to the subject. */
export type Answer =
  | { readonly stream: string; readonly sequence: number; readonly duplicate: boolean }
  | { readonly error: unknown; readonly sent: "no" | "maybe"; readonly unheard?: true };

/** Messages that were sent together and whose answers are not all there. */
interface Flight {
  /** The number of its first message; the others follow. */
  readonly first: number;
  readonly messages: readonly Outgoing[];
  readonly answers: Answer[];
  open: number;
  timer: Timer | undefined;
  readonly done: () => void;
}

/**
 * Publishes into streams over one connection: every message has a reply subject of its own under one subscription, and answers are counted
 * as they come. https://docs.nats.io/reference/reference-protocols/nats_api_reference
 */
export class PublishWindow {
  readonly #connection: Connection;
  readonly #clock: Clock;
  readonly #replies: string;
  readonly #flights = new Set<Flight>();
  #next = 0;

  constructor(connection: Connection, clock: Clock) {
    this.#connection = connection;
    this.#clock = clock;
    this.#replies = `${connection.inbox}.p.`;
    connection.subscribe(`${this.#replies}*`, (message) => this.#answered(message));
    connection.onDenied((subject, subscribing, error) => {
      if (!subscribing) this.#denied(subject, error);
    });
  }

  /** One answer per message, same order. Never rejects; settles when all are there or `fail` was called. */
  async send(messages: readonly Outgoing[]): Promise<readonly Answer[]> {
    const answers: Answer[] = new Array(messages.length);
    if (messages.length === 0) return answers;
    const first = this.#next;
    this.#next += messages.length;
    await new Promise<void>((done) => {
      const flight: Flight = { first, messages, answers, open: messages.length, timer: undefined, done: () => this.#landed(flight, done) };
      this.#flights.add(flight);
      for (const [index, { subject, headers, body }] of messages.entries())
        this.#connection.publish(subject, this.#replies + (first + index), headers, body);
      this.#watch(flight);
    });
    return answers;
  }

  /** Gives up a flight of which nothing has been heard for long, once the server has read all of it. */
  #watch(flight: Flight): void {
    const { open } = flight;
    flight.timer = this.#clock.timer(SILENCE_MS, () => {
      if (flight.open < open) return this.#watch(flight);
      const error = unavailable(`JetStream has not answered for ${SILENCE_MS} ms: the stream may have no leader at the moment.`);
      const giveUp = (): void => {
        for (const index of flight.messages.keys()) this.#settle(flight, index, { error, sent: "maybe" });
      };
      this.#connection.flush().then(giveUp, () => {});
    });
  }

  #landed(flight: Flight, done: () => void): void {
    this.#flights.delete(flight);
    flight.timer?.cancel();
    done();
  }

  #settle(flight: Flight, index: number, answer: Answer): void {
    if (flight.answers[index] !== undefined) return;
    flight.answers[index] = answer;
    if (--flight.open === 0) flight.done();
  }

  #answered(message: Message): void {
    const number = Number(message.subject.slice(this.#replies.length));
    for (const flight of this.#flights) {
      const index = number - flight.first;
      if (index >= 0 && index < flight.messages.length) return this.#settle(flight, index, answerOf(message));
    }
  }

  /** Nothing of that subject was let through. */
  #denied(subject: string, error: Error): void {
    for (const flight of [...this.#flights]) {
      for (const [index, message] of flight.messages.entries())
        if (message.subject === subject) this.#settle(flight, index, { error, sent: "no" });
    }
  }

  /** The connection is gone: whatever has no answer may have been stored. */
  fail(error: Error): void {
    for (const flight of [...this.#flights]) {
      for (let index = 0; index < flight.messages.length; index++) this.#settle(flight, index, { error, sent: "maybe" });
    }
  }
}

/** Nearly all answers look like this. */
const USUAL = /^\{"stream":"([^"\\]+)","seq":(\d+)\}$/;

/** `{"stream":"orders","seq":41}`, or with `duplicate`, `domain`, `error`. */
function answerOf(message: Message): Answer {
  if (statusOf(message)?.code === 503) return { error: unavailable("Nobody listens to the subject."), sent: "no", unheard: true };
  const text = message.body.toString("latin1");
  const [, stream, digits] = USUAL.exec(text) ?? [];
  if (stream !== undefined) return { stream, sequence: Number(digits), duplicate: false };
  try {
    const { error, stream: name, seq, duplicate } = JSON.parse(message.body.toString()) as Reply;
    if (error !== undefined) return { error: new ApiError(error.code, error.err_code, error.description), sent: "no" };
    if (name !== undefined && seq !== undefined) return { stream: name, sequence: seq, duplicate: duplicate === true };
  } catch {
    // Told below.
  }
  return { error: driverError("INTERNAL", "The answer to a publish is not JetStream's."), sent: "maybe" };
}

interface Reply {
  readonly stream?: string;
  readonly seq?: number;
  readonly duplicate?: boolean;
  readonly error?: { readonly code: number; readonly err_code: number; readonly description: string };
}
