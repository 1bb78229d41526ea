import type { ChannelModel, ConfirmChannel, ConsumeMessage } from "amqplib";
import type { Account } from "../../measure/account.ts";
import type { Consumer, Session, Site } from "../../measure/column.ts";
import { indexOf, type Messages } from "../../measure/messages.ts";
import { windowed } from "../../measure/window.ts";
import type { Workload } from "../../measure/workload.ts";

const GROUP = "bench";
const PREFETCH = 1_000;

/** What the columns do in their own way. */
export interface QueueWay {
  /** Publishes under way. */
  readonly window: number;
  /** How many deliveries one acknowledgement settles. */
  readonly ackEvery: number;
}

/** A durable queue bound to an exchange, by the plain client. */
export class QueueSession implements Session {
  readonly #client: ChannelModel;
  readonly #channel: ConfirmChannel;
  readonly #type: string;
  readonly #workload: Workload;
  readonly #way: QueueWay;
  readonly #made = new Set<string>();
  #topic = "";

  private constructor(client: ChannelModel, channel: ConfirmChannel, type: string, workload: Workload, way: QueueWay) {
    this.#client = client;
    this.#channel = channel;
    this.#type = type;
    this.#workload = workload;
    this.#way = way;
  }

  static async open({ url }: Site, workload: Workload, way: QueueWay): Promise<QueueSession> {
    const { connect } = await import("amqplib");
    const { hostname, port, searchParams } = new URL(url);
    const client = await connect({ hostname, port: Number(port) }, { noDelay: true });
    return new QueueSession(client, await client.createConfirmChannel(), searchParams.get("queueType") ?? "", workload, way);
  }

  attach(topic: string): void {
    this.#topic = topic;
  }

  #topicOf(index: number): string {
    const { topics } = this.#workload;
    return topics === 1 ? this.#topic : `${this.#topic}-${index % topics}`;
  }

  get #all(): string[] {
    return Array.from({ length: this.#workload.topics }, (_, n) => this.#topicOf(n));
  }

  async create(): Promise<void> {
    for (const topic of this.#all) {
      const queue = `${topic}.${GROUP}`;
      await this.#channel.assertExchange(topic, "topic", { durable: true });
      await this.#channel.assertQueue(queue, { durable: true, arguments: { "x-queue-type": this.#type } });
      await this.#channel.bindQueue(queue, topic, "#");
      this.#made.add(topic);
    }
  }

  #add(messages: Messages, index: number): Promise<void> {
    const key = messages.key(index);
    const headers = key === undefined ? {} : { headers: { key } };
    return new Promise((resolve, reject) => {
      const confirmed = (error: Error | null): void => (error === null ? resolve() : reject(error));
      this.#channel.publish(this.#topicOf(index), "", messages.body(index), { persistent: true, ...headers }, confirmed);
    });
  }

  publish(messages: Messages, first: number, count: number): Promise<void> {
    const window = Math.min(this.#way.window, this.#workload.inFlight);
    return windowed(first, count, window, 1, (index) => this.#add(messages, index));
  }

  async send(messages: Messages, first: number, count: number): Promise<void> {
    // A cold start has made none, and brokerkit makes its own too.
    if (!this.#made.has(this.#topicOf(first))) await this.create();
    await windowed(first, count, count, 1, (index) => this.#add(messages, index));
  }

  async consume(account: Account): Promise<Consumer> {
    const channel = await this.#client.createChannel();
    const { ackEvery } = this.#way;
    await channel.prefetch(PREFETCH);
    let unsettled = 0;
    let newest: ConsumeMessage | undefined;
    const settle = (): void => {
      if (newest !== undefined) channel.ack(newest, unsettled > 1);
      unsettled = 0;
      newest = undefined;
    };
    const take = async (message: ConsumeMessage): Promise<void> => {
      account.take(indexOf(message.content));
      await account.rest(1, PREFETCH);
      newest = message;
      unsettled += 1;
      if (unsettled === ackEvery) settle();
    };
    const queue = `${this.#topic}.${GROUP}`;
    await channel.consume(queue, (message) => {
      if (message === null) account.fail(new Error(`the queue "${queue}" was deleted`));
      else take(message).catch((error: unknown) => account.fail(error));
    });
    return {
      async flush() {
        await account.complete;
        settle();
        // Acknowledgements go without an answer: the server has read them when it has answered this.
        await channel.checkQueue(queue);
      },
      close: () => channel.close(),
    };
  }

  async remove(): Promise<void> {
    for (const topic of this.#all) {
      await this.#channel.deleteQueue(`${topic}.${GROUP}`);
      await this.#channel.deleteExchange(topic);
      this.#made.delete(topic);
    }
  }

  close(): Promise<void> {
    return this.#client.close();
  }
}
