import type { JetStreamClient, JetStreamManager, JsMsg, NatsConnection } from "nats";
import type { Account } from "../../measure/account.ts";
import type { Consumer, Session, Site } from "../../measure/column.ts";
import { indexOf, type Messages } from "../../measure/messages.ts";
import { windowed } from "../../measure/window.ts";
import type { Workload } from "../../measure/workload.ts";

const GROUP = "bench";
/** What the documentation of the client lets a consumer have under way, and what the server lets a group. */
const PREFETCH = 1_000;
const UNACKED = 10_000;

/** What the columns of a stream do in their own way. */
export interface StreamClient {
  readonly connection: NatsConnection;
  readonly stream: JetStreamClient;
  /** Publishes one message; resolves when it is confirmed. */
  add(subject: string, messages: Messages, index: number): Promise<unknown>;
  ack(message: JsMsg): unknown;
}

/** The plain client. */
export async function connectNats({ host, port }: Pick<Site, "host" | "port">): Promise<NatsConnection> {
  const { connect } = await import("nats");
  return connect({ servers: `${host}:${port}`, reconnect: false });
}

/** `js.publish` for each message. */
export async function openStream(site: Site): Promise<StreamClient> {
  const { headers } = await import("nats");
  const connection = await connectNats(site);
  const stream = connection.jetstream();
  return {
    connection,
    stream,
    add(subject, messages, index) {
      const key = messages.key(index);
      if (key === undefined) return stream.publish(subject, messages.body(index));
      const own = headers();
      own.set("key", key);
      return stream.publish(subject, messages.body(index), { headers: own });
    },
    ack: (message) => message.ack(),
  };
}

/** A stream by a plain client, with a durable consumer of explicit acknowledgements. */
export class StreamSession implements Session {
  readonly #client: StreamClient;
  readonly #workload: Workload;
  /** Publishes under way. */
  readonly #window: number;
  #manager: JetStreamManager | undefined;
  #stream = "";

  constructor(client: StreamClient, workload: Workload, window: number) {
    this.#client = client;
    this.#workload = workload;
    this.#window = window;
  }

  attach(topic: string): void {
    this.#stream = topic;
  }

  #streamOf(index: number): string {
    const { topics } = this.#workload;
    return topics === 1 ? this.#stream : `${this.#stream}-${index % topics}`;
  }

  get #all(): string[] {
    return Array.from({ length: this.#workload.topics }, (_, n) => this.#streamOf(n));
  }

  async create(): Promise<void> {
    this.#manager ??= await this.#client.stream.jetstreamManager();
    const { AckPolicy, DeliverPolicy } = await import("nats");
    const consumer = { durable_name: GROUP, ack_policy: AckPolicy.Explicit, deliver_policy: DeliverPolicy.All, max_ack_pending: UNACKED };
    for (const name of this.#all) {
      await this.#manager.streams.add({ name, subjects: [name] });
      await this.#manager.consumers.add(name, consumer);
    }
  }

  publish(messages: Messages, first: number, count: number): Promise<void> {
    const window = Math.min(this.#window, this.#workload.inFlight);
    return windowed(first, count, window, 1, (index) => this.#client.add(this.#streamOf(index), messages, index));
  }

  async send(messages: Messages, first: number, count: number): Promise<void> {
    // A cold start has made none, and brokerkit makes its own too.
    if (this.#manager === undefined) await this.create();
    await windowed(first, count, count, 1, (index) => this.#client.add(this.#stream, messages, index));
  }

  async consume(account: Account): Promise<Consumer> {
    const { stream, connection, ack } = this.#client;
    const consumer = await stream.consumers.get(this.#stream, GROUP);
    const messages = await consumer.consume({ max_messages: PREFETCH });
    const loop = (async () => {
      for await (const message of messages) {
        account.take(indexOf(message.data));
        await ack(message);
        await account.rest(1, 1);
      }
    })().catch((error: unknown) => account.fail(error));
    return {
      async flush() {
        await account.complete;
        // Acknowledgements go without an answer: the server has them when it has answered this.
        await connection.flush();
      },
      async close() {
        await messages.close();
        await loop;
      },
    };
  }

  async remove(): Promise<void> {
    for (const name of this.#all) await this.#manager?.streams.delete(name);
  }

  close(): Promise<void> {
    return this.#client.connection.close();
  }
}
