import type { AckResult, ConsumerOptions, IncomingMessage, MessageId, StartPoint, TransportConsumer } from "../transport.ts";
import { PartitionConsumer } from "./consumer.ts";
import { localError, type PulsarError } from "./errors.ts";
import { Inbox } from "./inbox.ts";
import { openAll, watchPartitions } from "./partitions.ts";
import { partitionName } from "./routing.ts";
import type { Services } from "./services.ts";

/** A consumer of all partitions of a topic. When one of them ends, all do. */
export class TopicConsumer implements TransportConsumer {
  readonly #services: Services;
  readonly #options: ConsumerOptions;
  readonly #inbox = new Inbox();
  #parts: readonly PartitionConsumer[] = [];
  #watch: { stop(): void } | undefined;
  #running = true;
  #opened = false;
  #closed: PulsarError | undefined;

  private constructor(services: Services, options: ConsumerOptions) {
    this.#services = services;
    this.#options = options;
  }

  static async open(services: Services, options: ConsumerOptions, signal: AbortSignal): Promise<TopicConsumer> {
    const consumer = new TopicConsumer(services, options);
    try {
      const partitions = await services.lookup.partitions(options.topic, signal, services.settings.createTopics);
      await consumer.#add(partitions, options.from, signal);
      // What was published to new partitions before they were noticed belongs to the subscription, too.
      const grow = (count: number, late: AbortSignal): Promise<void> => consumer.#add(count, { kind: "earliest" }, late);
      if (partitions > 0) consumer.#watch = watchPartitions(services, options.topic, partitions, grow);
      if (consumer.#closed !== undefined) throw consumer.#closed;
    } catch (error) {
      await consumer.close();
      throw error;
    }
    consumer.#opened = true;
    services.open.add(consumer);
    return consumer;
  }

  /** Opens the partitions that are missing, all before the first one runs. */
  async #add(partitions: number, from: ConsumerOptions["from"], signal: AbortSignal): Promise<void> {
    const { events, topic, credit, ...rest } = this.#options;
    const count = Math.max(1, partitions);
    const missing = Array.from({ length: count - this.#parts.length }, (_, n) => this.#parts.length + n);
    const opening = missing.map((partition) =>
      PartitionConsumer.open(
        {
          ...rest,
          from,
          topic: partitionName(topic, partition, partitions),
          credit: Math.max(1, Math.floor(credit / count)),
          share: 1 / count,
          partition,
          id: this.#services.pool.nextId(),
          lookup: this.#services.lookup,
          settings: this.#services.settings,
          inbox: this.#inbox,
          ended: (error) => this.#ended(error),
          active: events.active?.bind(events),
        },
        signal,
      ),
    );
    await openAll(opening, (fresh) => {
      if (this.#closed !== undefined) return this.#closed;
      this.#parts = [...this.#parts, ...fresh];
      for (const part of fresh) part.run(this.#running);
      return undefined;
    });
  }

  #ended(error: PulsarError): void {
    if (this.#closed !== undefined) return;
    this.#end(error);
    for (const part of this.#parts) void part.close();
    if (this.#opened) this.#options.events.closed(error);
  }

  #end(error: PulsarError): void {
    this.#closed = error;
    this.#watch?.stop();
    this.#inbox.fail(error);
    this.#services.open.delete(this);
  }

  async receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly IncomingMessage[]> {
    await this.#inbox.wait(waitMs, signal);
    if (signal.aborted) return [];
    const messages = this.#inbox.take(max);
    for (const { id } of messages) this.#parts[id.partition]?.handOut(id);
    if (messages.length > 0) for (const part of this.#parts) part.refill();
    return messages;
  }

  async ack(ids: readonly MessageId[]): Promise<readonly (AckResult | "recorded")[]> {
    const results = ids.map((id) => this.#parts[id.partition]?.ack(id) ?? "lost");
    // Hundreds of messages share a handful of commands.
    const answers = new Map<Promise<AckResult>, AckResult>();
    for (const command of new Set(results.filter((one) => one instanceof Promise))) answers.set(command, await command);
    return results.map((one) => (one instanceof Promise ? (answers.get(one) as AckResult) : one));
  }

  redeliver(ids: readonly MessageId[]): void {
    for (const id of ids) this.#parts[id.partition]?.giveBack(id);
  }

  pause(): void {
    this.#running = false;
    for (const part of this.#parts) part.run(false);
  }

  resume(): void {
    this.#running = true;
    for (const part of this.#parts) part.run(true);
  }

  async lastMessageIds(signal: AbortSignal): Promise<readonly MessageId[]> {
    const ids = await Promise.all(this.#parts.map((part) => part.lastMessageId(signal)));
    return ids.filter((id) => id !== undefined);
  }

  floors(signal: AbortSignal): Promise<readonly MessageId[]> {
    return Promise.all(this.#parts.map((part) => part.floor(signal)));
  }

  async seek(to: StartPoint, signal: AbortSignal): Promise<void> {
    await Promise.all(this.#parts.map((part) => part.seek(to, signal)));
  }

  async unsubscribe(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#parts.map((part) => part.unsubscribe(signal)));
    await this.close();
  }

  async close(): Promise<void> {
    if (this.#closed === undefined) this.#end(localError("Closed", "The consumer was closed."));
    await Promise.all(this.#parts.map((part) => part.close()));
  }
}
