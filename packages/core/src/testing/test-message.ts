import { decodeHeaders, encodeHeaders } from "../codec/headers.ts";
import { encodeKey } from "../codec/key.ts";
import type { TopicDefinition } from "../definition.ts";
import type { Place } from "../driver/wire.ts";
import { BrokerError, invalidArgument } from "../errors.ts";
import type { Delivery } from "../message.ts";
import { checkKeys, checkNumber } from "../options.ts";
import { newId } from "../primitives/ids.ts";
import type { In, Out, Schema } from "../schema.ts";
import { checkDefined, decodePayload, encodePayload } from "./decode.ts";

export type Settled = "ack" | "nack" | "reject";

/** A delivery to hand to a handler under test; `settled` says what the handler did with it. */
export type TestMessage<T> = Delivery<T> & { readonly settled: Settled | undefined };

/** What may be set instead of made up. */
export type TestMessageOptions = Partial<Pick<Delivery<unknown>, "id" | "key" | "attempt" | "headers">>;

/**
 * Makes a delivery of `topic` without a broker: the payload really goes through codec and schema, so the handler gets what it would get.
 * Throws `INVALID_PAYLOAD` for what the schema refuses, `INVALID_ARGUMENT` for a topic with an asynchronous schema.
 */
export function testMessage<S extends Schema>(topic: TopicDefinition<S>, payload: In<S>, o: TestMessageOptions = {}): TestMessage<Out<S>> {
  checkDefined("testMessage", topic);
  checkKeys("testMessage", o, ["id", "key", "attempt", "headers"]);
  checkNumber("attempt", o.attempt, 1, true);
  const body = encodePayload(topic, payload);
  return new MadeMessage<Out<S>>(
    topic.name,
    decodePayload(topic, body),
    body === null,
    o.key ?? (body === null ? undefined : topic.key?.(payload)),
    o,
  );
}

class MadeMessage<T> implements TestMessage<T> {
  readonly topic: string;
  readonly id: string;
  readonly key: string | undefined;
  readonly keyBytes: Uint8Array | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly rawHeaders: readonly (readonly [name: string, value: Uint8Array])[];
  readonly payload: T;
  readonly tombstone: boolean;
  readonly publishedAt: Date = new Date();
  readonly place: Place | undefined = undefined;
  readonly replayed = false;
  readonly attempt: number;
  readonly redelivered: boolean;
  readonly signal: AbortSignal = new AbortController().signal;
  #settled: Settled | undefined;

  constructor(topic: string, payload: T, tombstone: boolean, key: string | undefined, o: TestMessageOptions) {
    this.topic = topic;
    this.id = o.id ?? newId();
    this.key = key;
    this.keyBytes = key === undefined ? undefined : encodeKey(key);
    this.rawHeaders = encodeHeaders(o.headers);
    this.headers = decodeHeaders(this.rawHeaders);
    this.payload = payload;
    this.tombstone = tombstone;
    this.attempt = o.attempt ?? 1;
    this.redelivered = this.attempt > 1;
  }

  get settled(): Settled | undefined {
    return this.#settled;
  }

  ack(): Promise<void> {
    return this.#settle("ack");
  }

  nack(o: { delayMs?: number | undefined; error?: unknown } = {}): Promise<void> {
    return this.#refuse("delayMs", o.delayMs, 0) ?? this.#settle("nack");
  }

  reject(_reason: string): Promise<void> {
    return this.#settle("reject");
  }

  extend(ms: number): Promise<void> {
    return this.#refuse("ms", ms, 0) ?? this.#late() ?? Promise.resolve();
  }

  #settle(as: Settled): Promise<void> {
    const late = this.#late();
    if (late !== undefined) return late;
    this.#settled = as;
    return Promise.resolve();
  }

  #late(): Promise<void> | undefined {
    if (this.#settled === undefined) return undefined;
    const text = `The message ${this.id} of "${this.topic}" is settled already (${this.#settled}); a second verdict changes nothing.`;
    return quiet(new BrokerError("ALREADY_SETTLED", text, { details: undefined, topic: this.topic }));
  }

  #refuse(argument: string, value: number | undefined, least: number): Promise<void> | undefined {
    if (value === undefined || (Number.isFinite(value) && value >= least)) return undefined;
    return quiet(invalidArgument(argument, `${argument} must be a number from ${least}.`));
  }
}

/** A rejection that does not end the process when a handler leaves it alone, as with real deliveries. */
function quiet(error: Error): Promise<void> {
  const rejected = Promise.reject<void>(error);
  rejected.catch(() => {});
  return rejected;
}
