import type { Cut, SettleResult, ShardId, SubscribeRequest, Subscription, WireDelivery } from "brokerkit/driver";
import { cutBefore, inboxOf } from "./mapping.ts";
import type { Behaviour } from "./options.ts";
import type { RecordDelivery } from "./protocol/batches.ts";
import type { Cluster } from "./protocol/cluster.ts";
import { GroupReader } from "./protocol/group-reader.ts";
import { LogReader } from "./protocol/log-reader.ts";
import { isolationLevel, offsetsOf } from "./protocol/offsets.ts";
import { topicNow } from "./protocol/topics.ts";

/** Opens a subscription: a member of a group, or a reader that alone sees everything from a point on. */
export async function openSubscription(
  cluster: Cluster,
  behaviour: Behaviour,
  { topic, group, from, events }: SubscribeRequest,
  signal: AbortSignal,
): Promise<Subscription> {
  const isolation = isolationLevel(behaviour);
  const state = await topicNow(cluster, topic, signal);
  if (group === undefined) {
    const offsets = await offsetsOf(cluster, state, from, isolation, signal);
    return new KafkaSubscription(new LogReader(cluster, { topic, isolation, events }, offsets), true, cutBefore(offsets));
  }
  const names = { topic, inbox: inboxOf(topic, group), groupId: behaviour.groupId(topic, group) };
  const reader = await GroupReader.open(cluster, { ...names, from, isolation, member: behaviour, events }, signal);
  return new KafkaSubscription(reader, reader.created, undefined);
}

class KafkaSubscription implements Subscription {
  readonly created: boolean;
  readonly start: Cut | undefined;
  readonly #reader: GroupReader | LogReader;

  constructor(reader: GroupReader | LogReader, created: boolean, start: Cut | undefined) {
    this.#reader = reader;
    this.created = created;
    this.start = start;
  }

  receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    return this.#reader.receive(max, waitMs, signal);
  }

  pause(shards: readonly ShardId[]): void {
    this.#reader.pause(shards, true);
  }

  resume(shards: readonly ShardId[]): void {
    this.#reader.pause(shards, false);
  }

  ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    return Promise.all((deliveries as readonly RecordDelivery[]).map((delivery) => this.#reader.commit(delivery)));
  }

  flush(): Promise<void> {
    return this.#reader.flush();
  }

  async close(): Promise<void> {
    await this.#reader.close();
  }
}
