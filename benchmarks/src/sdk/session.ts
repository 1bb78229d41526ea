import type { Delivery, Subscription, Topic, TopicDefinition } from "brokerkit";
import type { Account } from "../measure/account.ts";
import type { Consumer, Session, Verified } from "../measure/column.ts";
import { Messages } from "../measure/messages.ts";
import { windowed } from "../measure/window.ts";
import type { SdkWiring } from "./wiring.ts";

const GROUP = "bench";

/** brokerkit as an application uses it, over whatever backend the broker has. */
export class SdkSession implements Session {
  readonly #wiring: SdkWiring;
  #topics: readonly Topic[] = [];
  #definitions: readonly TopicDefinition[] = [];

  constructor(wiring: SdkWiring) {
    this.#wiring = wiring;
  }

  attach(name: string): void {
    const { broker, style, workload, define } = this.#wiring;
    const { codec, schema } = style;
    const names = workload.topics === 1 ? [name] : Array.from({ length: workload.topics }, (_, n) => `${name}-${n}`);
    this.#definitions = names.map((one) => define(one, { schema, codec }));
    this.#topics = this.#definitions.map((definition) => broker.topic(definition));
  }

  async create(): Promise<void> {
    const { broker, live, workload } = this.#wiring;
    if (live) return;
    if (workload.topics === 1) {
      await this.#topic.createGroup(GROUP);
      return;
    }
    await broker.provision(this.#definitions);
    // A handle looks at its topic before its first publish, which is not what a curve over topics is about.
    const messages = new Messages({ size: workload.size, keys: 0 });
    await windowed(0, this.#topics.length, workload.inFlight, 1, (index) => this.#publishOne(messages, index));
  }

  get #topic(): Topic {
    return this.#topics[0] as Topic;
  }

  #topicOf(index: number): Topic {
    return this.#topics.length === 1 ? this.#topic : (this.#topics[index % this.#topics.length] as Topic);
  }

  #publishOne(messages: Messages, index: number): Promise<unknown> {
    const payload = this.#wiring.style.payload(messages, index);
    const key = messages.key(index);
    const topic = this.#topicOf(index);
    return key === undefined ? topic.publish(payload) : topic.publish(payload, { key });
  }

  #publishAll(messages: Messages, first: number, count: number): Promise<unknown> {
    const { style } = this.#wiring;
    const records: { payload: unknown; key?: string }[] = new Array(count);
    for (let n = 0; n < count; n++) {
      const payload = style.payload(messages, first + n);
      const key = messages.key(first + n);
      records[n] = key === undefined ? { payload } : { payload, key };
    }
    return this.#topic.publishAll(records);
  }

  publish(messages: Messages, first: number, count: number): Promise<void> {
    const { style, workload } = this.#wiring;
    const { inFlight, batch } = workload;
    if (!style.batch) return windowed(first, count, inFlight, 1, (index) => this.#publishOne(messages, index));
    const calls = Math.max(1, Math.floor(inFlight / batch));
    return windowed(first, count, calls, Math.min(batch, inFlight), (index, size) => this.#publishAll(messages, index, size));
  }

  async send(messages: Messages, first: number, count: number): Promise<void> {
    if (this.#wiring.style.batch) await this.#publishAll(messages, first, count);
    else if (count === 1) await this.#publishOne(messages, first);
    else await Promise.all(Array.from({ length: count }, (_, n) => this.#publishOne(messages, first + n)));
  }

  async consume(account: Account): Promise<Consumer> {
    const { style, workload, live } = this.#wiring;
    const { concurrency, batch } = workload;
    let subscription: Subscription;
    if (style.batch && !live) {
      subscription = await this.#topic.subscribeBatches({ group: GROUP, max: batch, concurrency }, (messages) => {
        for (const payload of messages.payloads) account.take(style.index(payload));
        return account.rest(messages.length, concurrency);
      });
    } else {
      const handler = (message: Delivery<unknown>): Promise<void> | undefined => {
        account.take(style.index(message.payload));
        return account.rest(1, concurrency);
      };
      const handle = handler as (message: Delivery<unknown>) => void | Promise<void>;
      subscription = live
        ? await this.#topic.subscribe({ broadcast: true, concurrency }, handle)
        : await this.#topic.subscribe({ group: GROUP, concurrency }, handle);
    }
    subscription.closed.catch((error: unknown) => account.fail(error));
    return {
      flush: () => subscription.flush(),
      close: () => subscription.close({ deadlineMs: 1_000 }),
    };
  }

  async remove(): Promise<void> {
    if (this.#wiring.live) return;
    for (const topic of this.#topics) await topic.delete();
  }

  async verify(historyFolder: string, count: number): Promise<Verified> {
    const { verifySdk } = await import("./verify.ts");
    return verifySdk({ ...this.#wiring, topic: this.#topic, group: GROUP }, historyFolder, count);
  }

  close(): Promise<void> {
    return this.#wiring.broker.close({ deadlineMs: 1_000 });
  }
}
