import type { ConsumerOptions, ProducerOptions, PulsarTransport, ServerFacts, TransportConsumer, TransportProducer } from "../transport.ts";
import { Lookup } from "./lookup.ts";
import { type ProtocolOptions, settingsOf } from "./options.ts";
import { Pool } from "./pool.ts";
import type { Services } from "./services.ts";
import { TopicConsumer } from "./topic-consumer.ts";
import { TopicProducer } from "./topic-producer.ts";

/** Everything that is open, and the connections that it shares. */
export class Client implements PulsarTransport {
  readonly #services: Services;

  constructor(options: ProtocolOptions) {
    const settings = settingsOf(options);
    const pool = new Pool(settings);
    this.#services = { settings, pool, lookup: new Lookup(pool, settings), open: new Set() };
  }

  async connect(signal: AbortSignal): Promise<ServerFacts> {
    const { serverVersion, maxMessageSize } = await this.#services.pool.service(signal);
    return { version: serverVersion, maxMessageSize };
  }

  async ping(signal: AbortSignal): Promise<void> {
    await this.#services.pool.service(signal);
    await Promise.all(this.#services.pool.live.map((connection) => connection.ping(signal)));
  }

  partitions(topic: string, signal: AbortSignal): Promise<number> {
    return this.#services.lookup.partitions(topic, signal);
  }

  topics(namespace: string, signal: AbortSignal): Promise<readonly string[]> {
    return this.#services.lookup.topics(namespace, signal);
  }

  producer(options: ProducerOptions, signal: AbortSignal): Promise<TransportProducer> {
    return TopicProducer.open(this.#services, options, signal);
  }

  consumer(options: ConsumerOptions, signal: AbortSignal): Promise<TransportConsumer> {
    return TopicConsumer.open(this.#services, options, signal);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#services.open].map((one) => one.close()));
    this.#services.pool.close();
  }
}
