import { topicMissing } from "../errors.ts";
import type { Names } from "./names.ts";
import type { Tags, Topology } from "./topology.ts";

const DAY_S = 86_400;
/** A reader's queue whose reader has not said so for as long is abandoned. */
const ABANDONED_MS = DAY_S * 1_000;

/** Broadcast readers: each has a queue of its own, which goes when it closes, or when it has not been heard of for a day. */
export class Readers {
  readonly #topology: Topology;
  readonly #names: Names;

  constructor(topology: Topology, names: Names) {
    this.#topology = topology;
    this.#names = names;
  }

  /** Makes the queue and resolves to its address. Removes those of readers that are long gone. `now`: epoch ms. */
  async open(topic: string, reader: string, now: number, signal: AbortSignal): Promise<string> {
    const name = this.#names.topic(topic);
    if (!(await this.#topology.hasTopic(name, signal))) throw topicMissing(topic);
    await this.#removeAbandoned(topic, now, signal);
    const queue = this.#names.broadcast(topic, reader);
    const attributes = { Policy: await this.#topology.policy(name, queue, signal), MessageRetentionPeriod: String(DAY_S) };
    const url = await this.#topology.createQueue(queue, attributes, { "brokerkit:topic": topic, ...alive(now) }, signal);
    await this.#topology.subscribe(name, queue, signal);
    return url;
  }

  async keep(url: string, now: number, signal: AbortSignal): Promise<void> {
    await this.#topology.tag(url, alive(now), signal);
  }

  async close(topic: string, reader: string, signal: AbortSignal): Promise<void> {
    const queue = this.#names.broadcast(topic, reader);
    try {
      await this.#topology.unsubscribe(this.#names.topic(topic), queue, signal);
    } finally {
      await this.#topology.deleteQueue(queue, signal);
    }
  }

  async #removeAbandoned(topic: string, now: number, signal: AbortSignal): Promise<void> {
    for (const { arn, queue } of await this.#topology.subscriptions(this.#names.topic(topic), signal)) {
      if (!this.#names.isBroadcast(queue)) continue;
      const tags = await this.#topology.tags(queue, signal);
      if (tags["brokerkit:topic"] !== topic || now - Number(tags["brokerkit:alive"] ?? now) <= ABANDONED_MS) continue;
      await this.#topology.drop(arn, signal);
      await this.#topology.deleteQueue(queue, signal);
    }
  }
}

function alive(now: number): Tags {
  return { "brokerkit:alive": String(now) };
}
