import type { Account } from "../../measure/account.ts";
import type { Consumer, Session } from "../../measure/column.ts";
import { indexOf, type Messages } from "../../measure/messages.ts";
import { windowed } from "../../measure/window.ts";
import type { Workload } from "../../measure/workload.ts";

/** What a channel's columns need of a client. */
export interface ChannelClient {
  /** PUBLISHes these messages in one pipeline, or one by itself. */
  publish(channel: string, messages: Messages, first: number, count: number): Promise<void>;
  /** Resolves when the server delivers the channel. */
  subscribe(channel: string, listener: (body: Buffer) => void): Promise<void>;
  unsubscribe(channel: string): Promise<void>;
  close(): void;
}

/** A channel by a plain client: bare bodies. */
export class ChannelSession implements Session {
  readonly #client: ChannelClient;
  readonly #workload: Workload;
  readonly #style: { readonly each: boolean };
  #channel = "";

  constructor(client: ChannelClient, workload: Workload, style: { readonly each: boolean } = { each: false }) {
    this.#client = client;
    this.#workload = workload;
    this.#style = style;
  }

  attach(topic: string): void {
    this.#channel = topic;
  }

  async create(): Promise<void> {}

  publish(messages: Messages, first: number, count: number): Promise<void> {
    const { inFlight, batch, topics } = this.#workload;
    const step = this.#style.each || topics > 1 ? 1 : Math.min(batch, inFlight);
    const window = this.#style.each ? 1 : Math.max(1, Math.floor(inFlight / step));
    return windowed(first, count, window, step, (index, size) =>
      this.#client.publish(topics === 1 ? this.#channel : `${this.#channel}-${index % topics}`, messages, index, size),
    );
  }

  send(messages: Messages, first: number, count: number): Promise<void> {
    return this.#client.publish(this.#channel, messages, first, count);
  }

  async consume(account: Account): Promise<Consumer> {
    const channel = this.#channel;
    let handled = Promise.resolve();
    await this.#client.subscribe(channel, (body) => {
      if (!account.isSlow) return account.take(indexOf(body));
      // A listener can't hold the server back: what comes too fast waits here.
      handled = handled.then(() => {
        account.take(indexOf(body));
        return account.rest(1, 1);
      });
    });
    return { flush: async () => {}, close: () => this.#client.unsubscribe(channel) };
  }

  async remove(): Promise<void> {}

  async close(): Promise<void> {
    this.#client.close();
  }
}
