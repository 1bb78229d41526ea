import type { AckResult, ConsumerEvents, IncomingMessage, MessageId, TransportConsumer } from "../../transport.ts";
import { localError } from "../errors.ts";
import { idOf } from "./ids.ts";
import type { Consumer, Message } from "./module.ts";

/** How long one call of the official client waits, which nothing can end earlier. */
const LOOK_MS = 500;

const keyOf = ({ ledger, entry, partition, batchIndex }: MessageId): string => `${partition}:${ledger}:${entry}:${batchIndex}`;

export class NativeConsumer implements TransportConsumer {
  readonly #consumer: Consumer;
  readonly #events: ConsumerEvents;
  /** Handed out and not settled. */
  readonly #out = new Map<string, Message>();
  #closed = false;

  constructor(consumer: Consumer, events: ConsumerEvents) {
    this.#consumer = consumer;
    this.#events = events;
  }

  async receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly IncomingMessage[]> {
    const deadline = performance.now() + waitMs;
    const taken: IncomingMessage[] = [];
    while (taken.length < max && !signal.aborted && !this.#closed) {
      const left = taken.length > 0 ? 1 : Math.min(LOOK_MS, Math.max(1, Math.ceil(deadline - performance.now())));
      const message = await this.#next(left);
      if (message !== undefined) taken.push(this.#take(message));
      else if (taken.length > 0 || performance.now() >= deadline) break;
    }
    return taken;
  }

  async #next(ms: number): Promise<Message | undefined> {
    try {
      return await this.#consumer.receive(ms);
    } catch (error) {
      if (this.#closed || (error instanceof Error && /time ?out/i.test(error.message))) return undefined;
      this.#closed = true;
      this.#events.closed(error);
      throw error;
    }
  }

  #take(message: Message): IncomingMessage {
    const id = idOf(message.getMessageId());
    const key = message.getPartitionKey();
    const eventTime = message.getEventTimestamp();
    this.#out.set(keyOf(id), message);
    return {
      id,
      payload: message.getData(),
      nullValue: false,
      key: key === "" ? undefined : Buffer.from(key),
      properties: Object.entries(message.getProperties()),
      publishTime: message.getPublishTimestamp(),
      eventTime: eventTime === 0 ? undefined : eventTime,
      redeliveries: message.getRedeliveryCount(),
      producerName: message.getProducerName(),
    };
  }

  ack(ids: readonly MessageId[]): Promise<readonly AckResult[]> {
    return Promise.all(
      ids.map(async (id): Promise<AckResult> => {
        const message = this.#out.get(keyOf(id));
        if (message === undefined || this.#closed) return "lost";
        this.#out.delete(keyOf(id));
        try {
          await this.#consumer.acknowledge(message);
          return "confirmed";
        } catch (error) {
          this.#out.set(keyOf(id), message);
          return { error };
        }
      }),
    );
  }

  redeliver(ids: readonly MessageId[]): void {
    for (const id of ids) {
      const message = this.#out.get(keyOf(id));
      if (message === undefined) continue;
      this.#out.delete(keyOf(id));
      this.#consumer.negativeAcknowledge(message);
    }
  }

  /** The official client can't: what it asks for is bounded by its queue. */
  pause(): void {}
  resume(): void {}

  async lastMessageIds(): Promise<readonly MessageId[]> {
    throw localError("Unsupported", "The official client does not say which message is the last.");
  }

  floors(): Promise<readonly MessageId[]> {
    return this.lastMessageIds();
  }

  async seek(): Promise<void> {
    throw localError("Unsupported", "Groups are moved by the admin service.");
  }

  async unsubscribe(): Promise<void> {
    await this.#consumer.unsubscribe();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#out.clear();
    await this.#consumer.close().catch(() => {});
  }
}
