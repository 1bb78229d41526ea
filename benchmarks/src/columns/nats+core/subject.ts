import type { NatsConnection, Subscription } from "nats";
import type { Account } from "../../measure/account.ts";
import type { Consumer, Session } from "../../measure/column.ts";
import { indexOf, type Messages } from "../../measure/messages.ts";
import { windowed } from "../../measure/window.ts";
import type { Workload } from "../../measure/workload.ts";

/** A subject by the plain client: bare bodies, confirmed by the answer to a PING behind `step` of them. */
export class SubjectSession implements Session {
  readonly #connection: NatsConnection;
  readonly #listener: () => Promise<NatsConnection>;
  readonly #workload: Workload;
  readonly #each: boolean;
  #subject = "";
  #listening: NatsConnection | undefined;

  /** `listener` opens the connection that a subscription has for itself. */
  constructor(connection: NatsConnection, listener: () => Promise<NatsConnection>, workload: Workload, each: boolean) {
    this.#connection = connection;
    this.#listener = listener;
    this.#workload = workload;
    this.#each = each;
  }

  attach(topic: string): void {
    this.#subject = topic;
  }

  async create(): Promise<void> {}

  #add(messages: Messages, first: number, count: number): Promise<void> {
    const { topics } = this.#workload;
    for (let n = first; n < first + count; n++)
      this.#connection.publish(topics === 1 ? this.#subject : `${this.#subject}-${n % topics}`, messages.body(n));
    return this.#connection.flush();
  }

  publish(messages: Messages, first: number, count: number): Promise<void> {
    const { inFlight, batch } = this.#workload;
    const step = this.#each ? 1 : Math.min(batch, inFlight);
    const window = this.#each ? 1 : Math.max(1, Math.floor(inFlight / step));
    return windowed(first, count, window, step, (index, size) => this.#add(messages, index, size));
  }

  send(messages: Messages, first: number, count: number): Promise<void> {
    return this.#add(messages, first, count);
  }

  async consume(account: Account): Promise<Consumer> {
    this.#listening ??= await this.#listener();
    const connection = this.#listening;
    let handled = Promise.resolve();
    const subscription: Subscription = connection.subscribe(this.#subject, {
      callback: (_, { data }) => {
        if (!account.isSlow) return account.take(indexOf(data));
        // A callback can't hold the server back: what comes too fast waits here.
        handled = handled.then(() => {
          account.take(indexOf(data));
          return account.rest(1, 1);
        });
      },
    });
    await connection.flush();
    return { flush: async () => {}, close: async () => subscription.unsubscribe() };
  }

  async remove(): Promise<void> {}

  async close(): Promise<void> {
    await this.#listening?.close();
    await this.#connection.close();
  }
}
