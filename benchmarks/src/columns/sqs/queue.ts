import type { SNSClient } from "@aws-sdk/client-sns";
import type { Message, SQSClient } from "@aws-sdk/client-sqs";
import type { Account } from "../../measure/account.ts";
import type { Consumer, Session, Site } from "../../measure/column.ts";
import { indexOf, type Messages } from "../../measure/messages.ts";
import { windowed } from "../../measure/window.ts";
import type { Workload } from "../../measure/workload.ts";
import { REGION } from "./site.ts";

/** Messages of one request, at the most. */
export const BATCH = 10;
const WAIT_SECONDS = 5;

/** How a column goes about it. */
export interface QueueStyle {
  /** Messages of one request to send or to delete. */
  readonly batch: number;
  /** Requests to send that are under way. */
  readonly window: number;
  /** Loops that receive. */
  readonly receivers: number;
}

interface Target {
  readonly queueUrl: string;
  /** The topic that the queue is subscribed to; undefined where messages are sent to the queue itself. */
  readonly topicArn: string | undefined;
}

/** A queue, alone or subscribed to a topic, by the plain clients. */
export class QueueSession implements Session {
  readonly #sqs: SQSClient;
  readonly #sns: SNSClient;
  readonly #modules: Modules;
  readonly #style: QueueStyle;
  readonly #workload: Workload;
  readonly #fanout: boolean;
  readonly #targets = new Map<string, Target>();
  #topic = "";

  constructor(modules: Modules, { host, port, url }: Site, workload: Workload, style: QueueStyle) {
    const common = {
      endpoint: `http://${host}:${port}`,
      region: REGION,
      credentials: { accessKeyId: "bench", secretAccessKey: "bench" },
      maxAttempts: 1,
      requestHandler: { httpAgent: { maxSockets: style.window + style.receivers } },
    };
    this.#modules = modules;
    this.#sqs = new modules.sqs.SQSClient({ ...common, useQueueUrlAsEndpoint: false, md5: false });
    this.#sns = new modules.sns.SNSClient(common);
    this.#workload = workload;
    this.#style = style;
    this.#fanout = !url.includes("fanout=false");
  }

  attach(topic: string): void {
    this.#topic = topic;
  }

  #name(index: number): string {
    const { topics } = this.#workload;
    return topics === 1 ? this.#topic : `${this.#topic}-${index % topics}`;
  }

  async create(): Promise<void> {
    for (let n = 0; n < this.#workload.topics; n++) await this.#make(this.#name(n));
  }

  async #make(name: string): Promise<Target> {
    const { sqs, sns } = this.#modules;
    const { QueueUrl: queueUrl = "" } = await this.#sqs.send(new sqs.CreateQueueCommand({ QueueName: name }));
    let topicArn: string | undefined;
    if (this.#fanout) {
      const attributes = new sqs.GetQueueAttributesCommand({ QueueUrl: queueUrl, AttributeNames: ["QueueArn"] });
      const { Attributes: found } = await this.#sqs.send(attributes);
      topicArn = (await this.#sns.send(new sns.CreateTopicCommand({ Name: name }))).TopicArn;
      const raw = { Attributes: { RawMessageDelivery: "true" } };
      await this.#sns.send(new sns.SubscribeCommand({ TopicArn: topicArn, Protocol: "sqs", Endpoint: found?.["QueueArn"], ...raw }));
    }
    const target = { queueUrl, topicArn };
    this.#targets.set(name, target);
    return target;
  }

  async #targetOf(index: number): Promise<Target> {
    const name = this.#name(index);
    // A cold start has made none, and brokerkit makes its own too.
    return this.#targets.get(name) ?? (await this.#make(name));
  }

  publish(messages: Messages, first: number, count: number): Promise<void> {
    const step = this.#workload.topics > 1 ? 1 : this.#style.batch;
    return windowed(first, count, this.#style.window, step, (index, size) => this.#put(messages, index, size));
  }

  send(messages: Messages, first: number, count: number): Promise<void> {
    return windowed(first, count, count, this.#style.batch, (index, size) => this.#put(messages, index, size));
  }

  async #put(messages: Messages, first: number, count: number): Promise<void> {
    const { sqs, sns } = this.#modules;
    const { queueUrl, topicArn } = await this.#targetOf(first);
    // Neither takes bytes for a body.
    const text = (n: number): string => messages.body(first + n).toString("base64");
    if (count === 1) {
      if (topicArn === undefined) await this.#sqs.send(new sqs.SendMessageCommand({ QueueUrl: queueUrl, MessageBody: text(0) }));
      else await this.#sns.send(new sns.PublishCommand({ TopicArn: topicArn, Message: text(0) }));
      return;
    }
    const each = Array.from({ length: count }, (_, n) => ({ Id: String(n), text: text(n) }));
    const { Failed } =
      topicArn === undefined
        ? await this.#sqs.send(
            new sqs.SendMessageBatchCommand({ QueueUrl: queueUrl, Entries: each.map((one) => ({ Id: one.Id, MessageBody: one.text })) }),
          )
        : await this.#sns.send(
            new sns.PublishBatchCommand({
              TopicArn: topicArn,
              PublishBatchRequestEntries: each.map((one) => ({ Id: one.Id, Message: one.text })),
            }),
          );
    if (Failed !== undefined && Failed.length > 0) throw new Error(`${Failed.length} messages of a batch were refused`);
  }

  async consume(account: Account): Promise<Consumer> {
    const { sqs } = this.#modules;
    const { queueUrl } = await this.#targetOf(0);
    const ending = new AbortController();
    const deletes = new Set<Promise<unknown>>();
    const keep = (sent: Promise<unknown>): Promise<unknown> => {
      const kept = sent.catch((error: unknown) => account.fail(error)).finally(() => deletes.delete(kept));
      deletes.add(kept);
      return kept;
    };
    const remove = async (received: readonly Message[]): Promise<void> => {
      if (this.#style.batch > 1) {
        const Entries = received.map(({ ReceiptHandle }, n) => ({ Id: String(n), ReceiptHandle }));
        // Not waited for: the next receive is on another connection.
        void keep(this.#sqs.send(new sqs.DeleteMessageBatchCommand({ QueueUrl: queueUrl, Entries })));
        return;
      }
      for (const { ReceiptHandle } of received)
        await keep(this.#sqs.send(new sqs.DeleteMessageCommand({ QueueUrl: queueUrl, ReceiptHandle })));
    };
    const loop = async (): Promise<void> => {
      const ask = { QueueUrl: queueUrl, MaxNumberOfMessages: BATCH, WaitTimeSeconds: WAIT_SECONDS };
      while (!ending.signal.aborted) {
        const { Messages: received = [] } = await this.#sqs.send(new sqs.ReceiveMessageCommand(ask), { abortSignal: ending.signal });
        if (received.length === 0) continue;
        for (const { Body } of received) account.take(indexOf(Buffer.from(Body ?? "", "base64")));
        await account.rest(received.length, this.#style.receivers);
        await remove(received);
      }
    };
    const loops = Array.from({ length: this.#style.receivers }, () =>
      loop().catch((error: unknown) => {
        if (!ending.signal.aborted) account.fail(error);
      }),
    );
    return {
      flush: async () => {
        await account.complete;
        await Promise.all([...deletes]);
      },
      close: async () => {
        ending.abort();
        await Promise.all(loops);
        await Promise.all([...deletes]);
      },
    };
  }

  async remove(): Promise<void> {
    const { sqs, sns } = this.#modules;
    for (const { queueUrl, topicArn } of this.#targets.values()) {
      if (topicArn !== undefined) await this.#sns.send(new sns.DeleteTopicCommand({ TopicArn: topicArn }));
      await this.#sqs.send(new sqs.DeleteQueueCommand({ QueueUrl: queueUrl }));
    }
    this.#targets.clear();
  }

  async close(): Promise<void> {
    this.#sqs.destroy();
    this.#sns.destroy();
  }
}

export interface Modules {
  readonly sqs: typeof import("@aws-sdk/client-sqs");
  readonly sns: typeof import("@aws-sdk/client-sns");
}

/** Imports the clients; a cold start is measured from here. */
export async function openQueue(site: Site, workload: Workload, style: QueueStyle): Promise<QueueSession> {
  const [sqs, sns] = await Promise.all([import("@aws-sdk/client-sqs"), import("@aws-sdk/client-sns")]);
  // A standard queue keeps no key's order; where one is judged, one at a time is as near as it comes.
  const ordered = workload.keys === 0 ? style : { ...style, window: 1, receivers: 1 };
  return new QueueSession({ sqs, sns }, site, workload, ordered);
}
