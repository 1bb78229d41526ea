import type { Subscription } from "@aws-sdk/client-sns";
import { driverError } from "brokerkit/driver";
import type { Aws } from "../client.ts";
import { classify } from "../errors.ts";
import { newCall } from "./http.ts";

/** The longest there is: dropping messages for their age is nothing that a group asked for. */
const KEEP_S = 1_209_600;

export type Tags = Readonly<Record<string, string>>;

/** A queue that a topic sends to. */
export interface Subscribed {
  readonly arn: string;
  readonly queue: string;
}

/** Topics, queues and what ties them together, by their names on AWS. Every call is safe to repeat; it remembers where things are. */
export class Topology {
  readonly #aws: () => Aws;
  readonly #fifo: boolean;
  /** Queues by name. */
  readonly #urls = new Map<string, string>();
  /** `arn:aws:sns:eu-west-1:123456789012:`, once something of the account was seen. */
  #account: string | undefined;

  constructor(aws: () => Aws, fifo: boolean) {
    this.#aws = aws;
    this.#fifo = fifo;
  }

  // ---- topics
  knownArn(topic: string): string | undefined {
    return this.#account === undefined ? undefined : this.#account + topic;
  }

  /** Any topic of the account tells its ARN; an account without topics does not have this one either. */
  async arn(topic: string, signal: AbortSignal): Promise<string | undefined> {
    if (this.#account === undefined) {
      const { sns, n } = this.#aws();
      const { Topics } = await sns.send(new n.ListTopicsCommand({}), newCall(signal));
      this.#seen(Topics?.[0]?.TopicArn);
    }
    return this.knownArn(topic);
  }

  #seen(arn: string | undefined): void {
    if (arn !== undefined) this.#account ??= arn.slice(0, arn.lastIndexOf(":") + 1);
  }

  async hasTopic(topic: string, signal: AbortSignal): Promise<boolean> {
    const TopicArn = await this.arn(topic, signal);
    if (TopicArn === undefined) return false;
    const { sns, n } = this.#aws();
    return (await orMissing(sns.send(new n.GetTopicAttributesCommand({ TopicArn }), newCall(signal)))) !== undefined;
  }

  async createTopic(topic: string, signal: AbortSignal): Promise<void> {
    const { sns, n } = this.#aws();
    const Attributes = this.#fifo ? { FifoTopic: "true", ContentBasedDeduplication: "false" } : {};
    const { TopicArn } = await sns.send(new n.CreateTopicCommand({ Name: topic, Attributes }), newCall(signal));
    this.#seen(TopicArn);
  }

  /** Its subscriptions go with it. */
  async deleteTopic(topic: string, signal: AbortSignal): Promise<void> {
    const TopicArn = await this.arn(topic, signal);
    const { sns, n } = this.#aws();
    if (TopicArn !== undefined) await orMissing(sns.send(new n.DeleteTopicCommand({ TopicArn }), newCall(signal)));
  }

  // ---- queues
  knownUrl(queue: string): string | undefined {
    return this.#urls.get(queue);
  }

  forget(queue: string): void {
    this.#urls.delete(queue);
  }

  async url(queue: string, signal: AbortSignal): Promise<string | undefined> {
    return this.#urls.get(queue) ?? this.askUrl(queue, signal);
  }

  /** The same, whatever is remembered. */
  async askUrl(queue: string, signal: AbortSignal): Promise<string | undefined> {
    const { sqs, q } = this.#aws();
    const found = await orMissing(sqs.send(new q.GetQueueUrlCommand({ QueueName: queue }), newCall(signal)));
    if (found?.QueueUrl === undefined) this.#urls.delete(queue);
    else this.#urls.set(queue, found.QueueUrl);
    return found?.QueueUrl;
  }

  async createQueue(queue: string, more: Record<string, string>, tags: Tags, signal: AbortSignal): Promise<string> {
    const { sqs, q } = this.#aws();
    const fifo = { FifoQueue: "true", DeduplicationScope: "messageGroup", FifoThroughputLimit: "perMessageGroupId" };
    const Attributes = { MessageRetentionPeriod: String(KEEP_S), ...(this.#fifo ? fifo : {}), ...more };
    const asked = new q.CreateQueueCommand({ QueueName: queue, Attributes, ...(Object.keys(tags).length === 0 ? {} : { tags }) });
    const { QueueUrl } = await sqs.send(asked, newCall(signal));
    if (QueueUrl === undefined) throw driverError("INTERNAL", `The server named no address for the queue "${queue}".`);
    this.#urls.set(queue, QueueUrl);
    return QueueUrl;
  }

  async deleteQueue(queue: string, signal: AbortSignal): Promise<void> {
    const QueueUrl = await this.url(queue, signal);
    this.#urls.delete(queue);
    const { sqs, q } = this.#aws();
    if (QueueUrl !== undefined) await orMissing(sqs.send(new q.DeleteQueueCommand({ QueueUrl }), newCall(signal)));
  }

  async purgeQueue(QueueUrl: string, signal: AbortSignal): Promise<void> {
    const { sqs, q } = this.#aws();
    await sqs.send(new q.PurgeQueueCommand({ QueueUrl }), newCall(signal));
  }

  /** What waits, what is in flight and what is delayed, as far as the service knows. */
  async counts(QueueUrl: string, signal: AbortSignal): Promise<readonly [waiting: number, inFlight: number, delayed: number]> {
    const { sqs, q } = this.#aws();
    const names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"] as const;
    const { Attributes } = await sqs.send(new q.GetQueueAttributesCommand({ QueueUrl, AttributeNames: [...names] }), newCall(signal));
    return names.map((name) => Number(Attributes?.[name] ?? 0)) as [number, number, number];
  }

  async tags(queue: string, signal: AbortSignal): Promise<Tags> {
    const QueueUrl = await this.url(queue, signal);
    if (QueueUrl === undefined) return {};
    const { sqs, q } = this.#aws();
    return (await orMissing(sqs.send(new q.ListQueueTagsCommand({ QueueUrl }), newCall(signal))))?.Tags ?? {};
  }

  async tag(QueueUrl: string, tags: Tags, signal: AbortSignal): Promise<void> {
    const { sqs, q } = this.#aws();
    await sqs.send(new q.TagQueueCommand({ QueueUrl, Tags: { ...tags } }), newCall(signal));
  }

  async untag(QueueUrl: string, name: string, signal: AbortSignal): Promise<void> {
    const { sqs, q } = this.#aws();
    await sqs.send(new q.UntagQueueCommand({ QueueUrl, TagKeys: [name] }), newCall(signal));
  }

  // ---- subscriptions of queues to topics
  /** The ARN of a queue in the topics' account and region. */
  async queueArn(queue: string, signal: AbortSignal): Promise<string> {
    const [arn, partition, , region, account] = ((await this.arn("", signal)) ?? "").split(":");
    return [arn, partition, "sqs", region, account, queue].join(":");
  }

  /** Lets the topic send to the queue, and nobody else. */
  async policy(topic: string, queue: string, signal: AbortSignal): Promise<string> {
    const statement = {
      Effect: "Allow",
      Principal: { Service: "sns.amazonaws.com" },
      Action: "sqs:SendMessage",
      Resource: await this.queueArn(queue, signal),
      Condition: { ArnEquals: { "aws:SourceArn": await this.arn(topic, signal) } },
    };
    return JSON.stringify({ Version: "2012-10-17", Statement: [statement] });
  }

  async subscribe(topic: string, queue: string, signal: AbortSignal): Promise<void> {
    const { sns, n } = this.#aws();
    const TopicArn = await this.arn(topic, signal);
    const Endpoint = await this.queueArn(queue, signal);
    const Attributes = { RawMessageDelivery: "true" };
    await sns.send(new n.SubscribeCommand({ TopicArn, Protocol: "sqs", Endpoint, Attributes }), newCall(signal));
  }

  async unsubscribe(topic: string, queue: string, signal: AbortSignal): Promise<void> {
    for (const one of await this.subscriptions(topic, signal)) if (one.queue === queue) await this.drop(one.arn, signal);
  }

  async drop(SubscriptionArn: string, signal: AbortSignal): Promise<void> {
    const { sns, n } = this.#aws();
    await orMissing(sns.send(new n.UnsubscribeCommand({ SubscriptionArn }), newCall(signal)));
  }

  async subscriptions(topic: string, signal: AbortSignal): Promise<Subscribed[]> {
    const { sns, n } = this.#aws();
    const TopicArn = await this.arn(topic, signal);
    const found: Subscription[] = [];
    let NextToken: string | undefined;
    do {
      const asked = new n.ListSubscriptionsByTopicCommand({ TopicArn, ...(NextToken === undefined ? {} : { NextToken }) });
      const page = await orMissing(sns.send(asked, newCall(signal)));
      found.push(...(page?.Subscriptions ?? []));
      NextToken = page?.NextToken;
    } while (NextToken !== undefined);
    return found.flatMap(({ Protocol, Endpoint = "", SubscriptionArn = "" }) =>
      Protocol === "sqs" ? [{ arn: SubscriptionArn, queue: Endpoint.slice(Endpoint.lastIndexOf(":") + 1) }] : [],
    );
  }
}

/** `undefined` for what is not there. */
async function orMissing<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (classify(error).code === "NOT_FOUND") return undefined;
    throw error;
  }
}
