import { type Admin, driverError, type TopicInfo, type TopicSpec, type WireLag } from "brokerkit/driver";
import type { Aws } from "./client.ts";
import { absent, groupMissing, topicMissing } from "./errors.ts";
import type { Settings } from "./options.ts";
import { Names } from "./protocol/names.ts";
import { Readers } from "./protocol/readers.ts";
import { Topology } from "./protocol/topology.ts";

/** The most there is: core gives up long before, but it never sees what kills its process each time. */
const MAX_RECEIVES = 1_000;

/** Where a record goes, or a reader reads. */
export type Place = { readonly kind: "topic"; readonly arn: string } | { readonly kind: "queue"; readonly url: string };

/** Creates, finds and deletes what topics, groups and broadcast readers are on AWS, and remembers where they are. */
export class SqsAdmin implements Admin {
  readonly names: Names;
  readonly readers: Readers;
  readonly #topology: Topology;
  /** Topics are queues. */
  readonly #plain: boolean;

  constructor({ namePrefix, fifo, fanout }: Settings, aws: () => Aws) {
    this.#plain = !fanout;
    this.#topology = new Topology(aws, fifo);
    this.names = new Names(namePrefix, fifo);
    this.readers = new Readers(this.#topology, this.names);
  }

  // ---- finding
  /** Where a record for this target goes, if that is known without asking. */
  known(topic: string, group: string | undefined): Place | undefined {
    if (group === undefined && !this.#plain) {
      const arn = this.#topology.knownArn(this.names.topic(topic));
      return arn === undefined ? undefined : { kind: "topic", arn };
    }
    const url = this.#topology.knownUrl(this.#queueName(topic, group));
    return url === undefined ? undefined : { kind: "queue", url };
  }

  /** The same, asking where needed. Rejects `NOT_FOUND`. */
  async find(topic: string, group: string | undefined, signal: AbortSignal): Promise<Place> {
    if (group === undefined && !this.#plain) {
      const arn = await this.#topology.arn(this.names.topic(topic), signal);
      if (arn === undefined) throw topicMissing(topic);
      return { kind: "topic", arn };
    }
    const url = await this.#topology.url(this.#queueName(topic, group), signal);
    if (url === undefined) throw group === undefined ? topicMissing(topic) : groupMissing(topic, group);
    return { kind: "queue", url };
  }

  /** It turned out not to be there any more. */
  forget(topic: string, group: string | undefined): void {
    this.#topology.forget(this.#queueName(topic, group));
  }

  #queueName(topic: string, group: string | undefined): string {
    return group === undefined || this.#plain ? this.names.plain(topic) : this.names.group(topic, group);
  }

  /** Whether the topic is there; throws what else goes wrong. */
  async exists(topic: string, signal: AbortSignal): Promise<boolean> {
    if (this.#plain) return (await this.#topology.askUrl(this.names.plain(topic), signal)) !== undefined;
    return this.#topology.hasTopic(this.names.topic(topic), signal);
  }

  // ---- topics
  async createTopic({ name, native }: TopicSpec, signal: AbortSignal): Promise<"created" | "existing"> {
    if ((native as { readonly sqs?: unknown } | undefined)?.sqs !== undefined)
      throw driverError("INVALID_ARGUMENT", `The topic "${name}": there are no options native.sqs.`);
    if (await this.exists(name, signal)) return "existing";
    if (this.#plain) await this.#topology.createQueue(this.names.plain(name), {}, {}, signal);
    else await this.#topology.createTopic(this.names.topic(name), signal);
    return "created";
  }

  async describeTopic(topic: string, signal: AbortSignal): Promise<TopicInfo | undefined> {
    if (!(await this.exists(topic, signal))) return undefined;
    const groups: string[] = [];
    if (!this.#plain) {
      for (const { queue } of await this.#topology.subscriptions(this.names.topic(topic), signal)) {
        const group = await this.#groupOf(topic, queue, signal);
        if (group !== undefined) groups.push(group);
      }
    } else {
      const group = (await this.#topology.tags(this.names.plain(topic), signal))["brokerkit:group"];
      if (group !== undefined) groups.push(group);
    }
    return { partitions: 1, retention: undefined, groups };
  }

  async deleteTopic(topic: string, signal: AbortSignal): Promise<void> {
    if (this.#plain) return this.#topology.deleteQueue(this.names.plain(topic), signal);
    if (!(await this.exists(topic, signal))) return;
    for (const { queue } of await this.#topology.subscriptions(this.names.topic(topic), signal)) {
      const group = await this.#groupOf(topic, queue, signal);
      if (group !== undefined) await this.#deleteGroupQueues(topic, group, signal);
      else if (this.names.isBroadcast(queue)) await this.#topology.deleteQueue(queue, signal);
    }
    await this.#topology.deleteTopic(this.names.topic(topic), signal);
  }

  // ---- groups
  async createGroup(topic: string, group: string, _from: unknown, signal: AbortSignal): Promise<"created" | "existing"> {
    return (await this.ensureGroup(topic, group, signal)).created ? "created" : "existing";
  }

  /** Finds or makes a group's queue. When it resolves the queue is subscribed: everything published later comes to it. */
  async ensureGroup(topic: string, group: string, signal: AbortSignal): Promise<{ readonly url: string; readonly created: boolean }> {
    if (!(await this.exists(topic, signal))) throw topicMissing(topic);
    if (this.#plain) return this.#claimQueue(topic, group, signal);
    const name = this.names.group(topic, group);
    const existing = await this.#topology.askUrl(name, signal);
    const url = existing ?? (await this.#createGroupQueue(topic, group, name, signal));
    // Also where the queue was there: whoever made it may not have come so far.
    await this.#topology.subscribe(this.names.topic(topic), name, signal);
    return { url, created: existing === undefined };
  }

  async #createGroupQueue(topic: string, group: string, name: string, signal: AbortSignal): Promise<string> {
    const undeliverable = this.names.undeliverable(topic, group);
    await this.#topology.createQueue(undeliverable, {}, {}, signal);
    const redrive = { deadLetterTargetArn: await this.#topology.queueArn(undeliverable, signal), maxReceiveCount: MAX_RECEIVES };
    const attributes = {
      RedrivePolicy: JSON.stringify(redrive),
      Policy: await this.#topology.policy(this.names.topic(topic), name, signal),
    };
    return this.#topology.createQueue(name, attributes, { "brokerkit:topic": topic, "brokerkit:group": group }, signal);
  }

  /** A plain queue has the one group that came first, and all that was ever sent to it is that group's: the group begins with its queue. */
  async #claimQueue(topic: string, group: string, signal: AbortSignal): Promise<{ readonly url: string; readonly created: boolean }> {
    const name = this.names.plain(topic);
    const url = (await this.#topology.url(name, signal)) as string;
    const owner = (await this.#topology.tags(name, signal))["brokerkit:group"];
    if (owner !== undefined && owner !== group) {
      const text = `The topic "${topic}" is a plain queue (fanout: false), and "${owner}" is its only group. Use fanout: true for more.`;
      throw driverError("UNSUPPORTED", text);
    }
    if (owner === undefined) await this.#topology.tag(url, { "brokerkit:topic": topic, "brokerkit:group": group }, signal);
    return { url, created: owner === undefined };
  }

  async deleteGroup(topic: string, group: string, signal: AbortSignal): Promise<void> {
    if (this.#plain) {
      const name = this.names.plain(topic);
      const url = await this.#topology.askUrl(name, signal);
      if (url === undefined || (await this.#topology.tags(name, signal))["brokerkit:group"] !== group) return;
      await this.#topology.purgeQueue(url, signal);
      await this.#topology.untag(url, "brokerkit:group", signal);
      return;
    }
    if (await this.exists(topic, signal)) await this.#topology.unsubscribe(this.names.topic(topic), this.names.group(topic, group), signal);
    await this.#deleteGroupQueues(topic, group, signal);
  }

  async #deleteGroupQueues(topic: string, group: string, signal: AbortSignal): Promise<void> {
    await this.#topology.deleteQueue(this.names.group(topic, group), signal);
    await this.#topology.deleteQueue(this.names.undeliverable(topic, group), signal);
  }

  async position(): Promise<never> {
    throw absent("positions");
  }

  async seek(): Promise<never> {
    throw absent("way to move a group");
  }

  async lag(topic: string, group: string, signal: AbortSignal): Promise<WireLag> {
    const name = this.#queueName(topic, group);
    const url = await this.#topology.askUrl(name, signal);
    if (url === undefined || (this.#plain && (await this.#topology.tags(name, signal))["brokerkit:group"] !== group))
      throw groupMissing(topic, group);
    const [waiting, inFlight, delayed] = await this.#topology.counts(url, signal);
    return { count: waiting + inFlight + delayed, inFlight, oldestMs: undefined };
  }

  async #groupOf(topic: string, queue: string, signal: AbortSignal): Promise<string | undefined> {
    const named = this.names.groupOf(topic, queue);
    if (named !== "hash") return named;
    const tags = await this.#topology.tags(queue, signal);
    return tags["brokerkit:topic"] === topic ? tags["brokerkit:group"] : undefined;
  }
}
