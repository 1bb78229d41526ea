import type { Timer } from "brokerkit/driver";
import type { OutgoingMessage, ProducerOptions, SendResult, TransportProducer } from "../transport.ts";
import { Call } from "./call.ts";
import { localError, type PulsarError } from "./errors.ts";
import { openAll, watchPartitions } from "./partitions.ts";
import { PartitionProducer } from "./producer.ts";
import { partitionName, partitionOf } from "./routing.ts";
import type { Services } from "./services.ts";
import { aborted } from "./waiting.ts";

/** How long a broker may be silent before an aborted call is given up. */
const ABORT_MS = 500;

/** A producer of all partitions of a topic. When one of them ends, all do. */
export class TopicProducer implements TransportProducer {
  readonly #services: Services;
  readonly #options: ProducerOptions;
  #parts: readonly PartitionProducer[] = [];
  #turn = 0;
  #watch: { stop(): void } | undefined;
  #opened = false;
  #closed: PulsarError | undefined;

  private constructor(services: Services, options: ProducerOptions) {
    this.#services = services;
    this.#options = options;
  }

  static async open(services: Services, options: ProducerOptions, signal: AbortSignal): Promise<TopicProducer> {
    const producer = new TopicProducer(services, options);
    try {
      const partitions = await services.lookup.partitions(options.topic, signal, services.settings.createTopics);
      await producer.#grow(partitions, signal);
      if (partitions > 0)
        producer.#watch = watchPartitions(services, options.topic, partitions, (count, late) => producer.#grow(count, late));
      if (producer.#closed !== undefined) throw producer.#closed;
    } catch (error) {
      await producer.close();
      throw error;
    }
    producer.#opened = true;
    services.open.add(producer);
    return producer;
  }

  async #grow(partitions: number, signal: AbortSignal): Promise<void> {
    const { pool, lookup, settings } = this.#services;
    const first = this.#parts.length;
    await openAll(
      Array.from({ length: Math.max(1, partitions) - first }, (_, n) => {
        const topic = partitionName(this.#options.topic, first + n, partitions);
        const closed = (error: unknown): void => this.#ended(error as PulsarError);
        const own = { topic, partition: first + n, id: pool.nextId(), ordered: partitions === 1, closed };
        return PartitionProducer.open({ ...this.#options, ...own, lookup, settings }, signal);
      }),
      (fresh) => {
        // What was all of the topic is a part of it now, and its keys have the lanes that they have with every other producer.
        if (partitions > 1) this.#parts[0]?.share();
        if (this.#closed === undefined) this.#parts = [...this.#parts, ...fresh];
        return this.#closed;
      },
    );
  }

  #ended(error: PulsarError): void {
    if (this.#closed !== undefined) return;
    this.#end(error);
    for (const part of this.#parts) void part.close();
    if (this.#opened) this.#options.closed?.(error);
  }

  async send(messages: readonly OutgoingMessage[], signal: AbortSignal): Promise<readonly SendResult[]> {
    const error = this.#closed ?? (signal.aborted ? aborted(signal) : undefined);
    if (error !== undefined) return messages.map(() => ({ ok: false, error, sent: "no" }));
    const call = new Call(messages.length);
    const parts = this.#parts;
    // Messages without a key go to one partition a call, so that they share entries.
    const turn = this.#turn++ % parts.length;
    for (let index = 0; index < messages.length; index++) {
      const message = messages[index] as OutgoingMessage;
      const part = parts[message.key === undefined ? turn : partitionOf(message.key, parts.length)] as PartitionProducer;
      part.add(call, index, message);
    }
    let grace: Timer | undefined;
    const abort = (): void => {
      call.withdraw(aborted(signal));
      // A broker in good health answers soon; with one that has been silent the connection goes, so that nothing arrives late.
      const silentMs = Math.max(0, ...call.writers.map((writer) => writer.silentMs));
      const giveUp = (): void => call.giveUp(aborted(signal));
      if (silentMs < ABORT_MS) grace = this.#services.settings.clock.timer(ABORT_MS - silentMs, giveUp);
      else giveUp();
    };
    signal.addEventListener("abort", abort, { once: true });
    try {
      return await call.done;
    } finally {
      grace?.cancel();
      signal.removeEventListener("abort", abort);
    }
  }

  #end(error: PulsarError): void {
    this.#closed = error;
    this.#watch?.stop();
    this.#services.open.delete(this);
  }

  async close(): Promise<void> {
    if (this.#closed === undefined) this.#end(localError("Closed", "The producer was closed."));
    await Promise.all(this.#parts.map((part) => part.close()));
  }
}
