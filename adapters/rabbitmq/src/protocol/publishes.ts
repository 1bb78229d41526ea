import type { ConfirmChannel } from "amqplib";
import type { PublishResult } from "brokerkit/driver";
import { ACCESS_REFUSED, DIFFERENT, MISSING, noRoom, replyCode, unavailable } from "../errors.ts";
import { type Address, Frames, type Properties } from "./frames.ts";
import { type Outlet, outletOf } from "./inside.ts";

/** Where messages go, and what to say when there is no such exchange or queue. */
export interface Route extends Address {
  readonly missing: () => Error;
}

export interface Outgoing {
  readonly route: Route;
  readonly properties: Properties;
  readonly body: Uint8Array;
}

type Answer = (message: Outgoing) => PublishResult;

const STORED: PublishResult = Object.freeze({ ok: true });

/** What is sent of one call. The server counts what is published on a channel, so these are numbers in a row. */
class Call {
  readonly first: number;
  readonly results: PublishResult[];
  readonly settled: Promise<void>;
  readonly #messages: Outgoing[] = [];
  /** The place of each in the call. */
  readonly #indexes: number[] = [];
  /** Everything before this one has its answer. */
  #low = 0;
  #answered = 0;
  #resolve: () => void = () => {};

  constructor(first: number, count: number) {
    this.first = first;
    this.results = new Array(count);
    this.settled = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  get size(): number {
    return this.#messages.length;
  }

  get over(): boolean {
    return this.#answered === this.#messages.length;
  }

  add(index: number, message: Outgoing): void {
    this.#indexes.push(index);
    this.#messages.push(message);
  }

  /** One number has its answer, or all up to it that had none. */
  answer(tag: number, upTo: boolean, answer: Answer): void {
    const last = Math.min(tag - this.first, this.size - 1);
    if (!upTo && tag - this.first > last) return;
    for (let n = upTo ? this.#low : last; n <= last; n++) {
      const index = this.#indexes[n] as number;
      if (this.results[index] !== undefined) continue;
      this.results[index] = answer(this.#messages[n] as Outgoing);
      this.#answered++;
    }
    if (upTo && last >= this.#low) this.#low = last + 1;
    if (this.over) this.#resolve();
  }

  fail(error: Error): void {
    this.answer(this.first + this.size, true, (message) => unanswered(message, error));
  }
}

/**
 * Everything that is published over one channel with confirms, any number of calls side by side. A call's messages are encoded here and go
 * into the client's buffer of the channel together; answers are taken by ranges, as servers give them.
 */
export class Publishes {
  readonly #outlet: Outlet;
  readonly #frames: Frames;
  /** Calls without all their answers, oldest first. */
  #calls: Call[] = [];
  /** Messages for queues that do not exist come back before their confirm. */
  readonly #returned = new Map<string, number>();
  #next = 1;
  #closed: Error | undefined;

  constructor(channel: ConfirmChannel) {
    this.#outlet = outletOf(channel);
    this.#frames = new Frames(this.#outlet.channel, this.#outlet.frameMax);
    channel.on("return", ({ fields, properties }) => {
      const key = returnKey(fields.routingKey, String(properties.messageId));
      this.#returned.set(key, (this.#returned.get(key) ?? 0) + 1);
    });
    // The client's own listeners look for what it has published itself, which is nothing.
    channel.removeAllListeners("ack").on("ack", ({ deliveryTag, multiple }) => this.#answer(deliveryTag, multiple, this.#stored));
    channel.removeAllListeners("nack").on("nack", ({ deliveryTag, multiple }) => this.#answer(deliveryTag, multiple, refused));
  }

  /** Sends `count` messages together; a message that `outgoing` throws for is not sent. Resolves when each has its answer or the channel is gone. */
  async send(count: number, outgoing: (index: number) => Outgoing): Promise<readonly PublishResult[]> {
    const call = new Call(this.#next, count);
    for (let n = 0; n < count; n++) {
      try {
        if (this.#closed !== undefined) throw unavailable("The channel was closed before anything was sent.", this.#closed);
        const message = outgoing(n);
        this.#frames.add(message.route, message.properties, message.body);
        call.add(n, message);
      } catch (error) {
        call.results[n] = { ok: false, error, sent: "no" };
      }
    }
    if (call.size === 0) return call.results;
    this.#next += call.size;
    this.#calls.push(call);
    for (const frames of this.#frames.take()) this.#outlet.write(frames);
    await call.settled;
    return call.results;
  }

  #answer(tag: number, upTo: boolean, answer: Answer): void {
    for (const call of this.#calls) {
      if (call.first > tag) break;
      call.answer(tag, upTo, answer);
    }
    if (this.#calls.some((call) => call.over)) this.#calls = this.#calls.filter((call) => !call.over);
  }

  readonly #stored = ({ route, properties }: Outgoing): PublishResult => {
    const back = this.#returned.size > 0 && route.mandatory && this.#cameBack(returnKey(route.routingKey, properties.messageId));
    return back ? { ok: false, error: route.missing(), sent: "no" } : STORED;
  };

  #cameBack(key: string): boolean {
    const count = this.#returned.get(key);
    if (count === undefined) return false;
    if (count === 1) this.#returned.delete(key);
    else this.#returned.set(key, count - 1);
    return true;
  }

  /** Nothing more is sent, and nothing that is under way will be answered. */
  fail(error: Error): void {
    this.#closed ??= error;
    this.#returned.clear();
    for (const call of this.#calls.splice(0)) call.fail(error);
  }
}

function refused({ route }: Outgoing): PublishResult {
  const text = `The server has refused the message: a queue is full, or could not store it (overflow reject-publish).`;
  // Of several queues that it was meant for, others may have it.
  return { ok: false, error: noRoom(text), sent: route.exchange === "" ? "no" : "maybe" };
}

function returnKey(routingKey: string, id: string): string {
  return `${routingKey}\n${id}`;
}

/** What the end of the channel means for one message: the server names what it closed it for. */
function unanswered({ route: { exchange, missing }, body }: Outgoing, error: Error): PublishResult {
  const code = replyCode(error);
  const named = exchange !== "" && error.message.includes(`exchange '${exchange}'`);
  if (code === MISSING && named) return { ok: false, error: missing(), sent: "maybe" };
  if (code === ACCESS_REFUSED && named) return { ok: false, error, sent: "no" };
  const most = code === DIFFERENT ? /larger than configured max size '?(\d+)/.exec(error.message)?.[1] : undefined;
  if (most !== undefined && body.length > Number(most)) return { ok: false, error, sent: "no" };
  const ours = code === MISSING || code === ACCESS_REFUSED || most !== undefined;
  const met = ours ? unavailable("The channel was closed for another message, so what became of this one is not known.", error) : error;
  return { ok: false, error: met, sent: "maybe" };
}
