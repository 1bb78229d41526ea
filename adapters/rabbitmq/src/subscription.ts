import type { Channel } from "amqplib";
import type { Cut, SettleResult, SubscribeRequest, Subscription, WireDelivery } from "brokerkit/driver";
import type { Session } from "./client.ts";
import { groupMissing, topicMissing } from "./errors.ts";
import { exchangeOf, queueOf } from "./mapping.ts";
import { Consumer } from "./protocol/consumer.ts";
import { LogReader } from "./protocol/log.ts";
import { createGroup, hasLog, hasTopic } from "./protocol/topology.ts";

export async function openSubscription(session: Session, request: SubscribeRequest, signal: AbortSignal): Promise<Subscription> {
  const { topic, group, from, exclusive = false } = request;
  if (group !== undefined) {
    const created = (await createGroup(session, topic, group, exclusive, signal)) === "created";
    const gone = (): Error => groupMissing(topic, group);
    return Consumer.open(session, request, { queue: queueOf(topic, group), created, gone, settles: true }, signal);
  }
  if (!(await hasTopic(session, topic, signal))) throw topicMissing(topic);
  if (await hasLog(session, topic, signal)) return new LogSubscription(await LogReader.open(session, topic, from, request.events, signal));
  return Consumer.open(
    session,
    request,
    { queue: (channel) => temporaryQueue(channel, topic), created: true, gone: () => topicMissing(topic), settles: false },
    signal,
  );
}

/** Everything published from now on, or from a point, read from the topic's log. There is nothing to settle on the server. */
class LogSubscription implements Subscription {
  readonly created = true;
  readonly start: Cut;
  readonly #reader: LogReader;

  constructor(reader: LogReader) {
    this.#reader = reader;
    this.start = reader.start;
  }

  receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    return this.#reader.read(max, waitMs, signal);
  }

  async ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    return deliveries.map(() => "confirmed");
  }

  async flush(): Promise<void> {}

  close(): Promise<void> {
    return this.#reader.close();
  }
}

/** A queue that is there as long as its channel's connection, for what is published from now on. */
async function temporaryQueue(channel: Channel, topic: string): Promise<string> {
  const { queue } = await channel.assertQueue("", { exclusive: true, autoDelete: true, durable: false });
  await channel.bindQueue(queue, exchangeOf(topic), "#");
  return queue;
}
