import { isUtf8 } from "node:buffer";
import type {
  ConsumerOptions,
  OutgoingMessage,
  ProducerOptions,
  PulsarTransport,
  SendResult,
  ServerFacts,
  TransportConsumer,
  TransportProducer,
} from "../../transport.ts";
import type { Authentication } from "../auth.ts";
import { localError } from "../errors.ts";
import { until } from "../waiting.ts";
import { NativeConsumer } from "./consumer.ts";
import { idOf } from "./ids.ts";
import type { Client, NativeModule, Producer } from "./module.ts";

export interface NativeOptions {
  readonly serviceUrl: string;
  readonly auth?: Authentication | undefined;
  readonly tls: boolean;
}

const USUAL_SIZE = 5_242_880;

/** The official client behind the transport's interface. It reads by durable subscriptions only, and carries no tombstones. */
export class NativeClient implements PulsarTransport {
  readonly #options: NativeOptions;
  readonly #load: () => Promise<NativeModule>;
  #client: Client | undefined;

  constructor(options: NativeOptions, load: () => Promise<NativeModule>) {
    this.#options = options;
    this.#load = load;
  }

  async connect(signal: AbortSignal): Promise<ServerFacts> {
    const { Client, AuthenticationToken } = await until(signal, this.#load());
    const { serviceUrl, auth, tls } = this.#options;
    if (tls || (auth !== undefined && auth.method !== "token"))
      throw localError(
        "Unsupported",
        'With transport: "native" a token is the only way to be let in, and TLS is not set up. Use the other one.',
      );
    const token = async (): Promise<string> => Buffer.from((await auth?.data()) ?? []).toString();
    this.#client ??= new Client({
      serviceUrl,
      operationTimeoutSeconds: 10,
      ...(auth === undefined ? {} : { authentication: new AuthenticationToken({ token }) }),
    });
    return { version: undefined, maxMessageSize: USUAL_SIZE };
  }

  get #open(): Client {
    if (this.#client === undefined) throw localError("ConnectError", "There is no connection to the broker.");
    return this.#client;
  }

  /** The official client has no call for that. */
  async ping(signal: AbortSignal): Promise<void> {
    await this.connect(signal);
  }

  async partitions(topic: string, signal: AbortSignal): Promise<number> {
    const parts = await until(signal, this.#open.getPartitionsForTopic(topic));
    return parts.length === 1 && parts[0] === topic ? 0 : parts.length;
  }

  async topics(): Promise<readonly string[]> {
    throw localError("Unsupported", "The official client lists no topics.");
  }

  async producer({ topic, name, properties }: ProducerOptions, signal: AbortSignal): Promise<TransportProducer> {
    const config = {
      topic,
      batchingType: "KeyBasedBatching",
      blockIfQueueFull: true,
      properties,
      ...(name === undefined ? {} : { producerName: name }),
    };
    return new NativeProducer(await until(signal, this.#open.createProducer(config)));
  }

  async consumer(options: ConsumerOptions, signal: AbortSignal): Promise<TransportConsumer> {
    const { topic, subscription, type, durable, from, credit, name } = options;
    if (!durable || from.kind === "time" || from.kind === "after")
      throw localError("Unsupported", "The official client reads by durable subscriptions only, from either end.");
    const types = { exclusive: "Exclusive", shared: "Shared", failover: "Failover", key_shared: "KeyShared" };
    const subscriptionInitialPosition = from.kind === "latest" ? "Latest" : "Earliest";
    const shared = { topic, subscription, subscriptionType: types[type], subscriptionInitialPosition, receiverQueueSize: credit };
    const opened = this.#open.subscribe({ ...shared, ...(name === undefined ? {} : { consumerName: name }) });
    return new NativeConsumer(await until(signal, opened), options.events);
  }

  async close(): Promise<void> {
    await this.#client?.close().catch(() => {});
  }
}

class NativeProducer implements TransportProducer {
  readonly #producer: Producer;

  constructor(producer: Producer) {
    this.#producer = producer;
  }

  /** One key's messages one after the other: the client says of each by itself whether it was stored. */
  async send(messages: readonly OutgoingMessage[], signal: AbortSignal): Promise<readonly SendResult[]> {
    const failed = new Map<string, unknown>();
    const before = new Map<string, Promise<unknown>>();
    return Promise.all(
      messages.map((message) => {
        const key = message.key === undefined ? undefined : Buffer.from(message.key).toString("base64");
        const result = (key === undefined ? Promise.resolve() : (before.get(key) ?? Promise.resolve())).then(
          async (): Promise<SendResult> => {
            if (key !== undefined && failed.has(key)) return { ok: false, error: failed.get(key), sent: "no" };
            const sent = await this.#send(message, signal);
            if (!sent.ok && key !== undefined) failed.set(key, sent.error);
            return sent;
          },
        );
        if (key !== undefined) before.set(key, result);
        return result;
      }),
    );
  }

  async #send({ payload, nullValue, key, properties, eventTime, deliverAt }: OutgoingMessage, signal: AbortSignal): Promise<SendResult> {
    const refused = (text: string): SendResult => ({ ok: false, error: localError("Unsupported", text), sent: "no" });
    if (signal.aborted) return { ok: false, error: localError("Aborted", "The publish was aborted before anything was sent."), sent: "no" };
    if (nullValue === true) return refused("The official client sends no tombstones.");
    if (key !== undefined && !isUtf8(key)) return refused("The official client sends no keys but text.");
    const message = {
      data: Buffer.from(payload),
      properties: Object.fromEntries(properties),
      ...(key === undefined ? {} : { partitionKey: Buffer.from(key).toString() }),
      ...(eventTime === undefined ? {} : { eventTimestamp: eventTime }),
      ...(deliverAt === undefined ? {} : { deliverAt }),
    };
    try {
      return { ok: true, id: idOf(await until(signal, this.#producer.send(message))) };
    } catch (error) {
      return { ok: false, error, sent: "maybe" };
    }
  }

  async close(): Promise<void> {
    await this.#producer.close().catch(() => {});
  }
}
