import { gather } from "@brokerkit/conformance/driver-stage";
import type { SubscribeRequest, Subscription, WireDelivery, WireStart } from "brokerkit/driver";
import { Kafka, logLevel } from "kafkajs";
import { onTestFinished } from "vitest";
import type { Behaviour } from "../src/options.ts";
import type { Cluster } from "../src/protocol/cluster.ts";
import { committedOffsets, offsetsAt } from "../src/protocol/offsets.ts";
import { openSubscription } from "../src/subscription.ts";
import { publisherOn, record, stored, until } from "./log.ts";

export const GROUP = "group";

export function behaviour(more: Partial<Behaviour> = {}): Behaviour {
  return {
    compression: "none",
    groupProtocol: "classic",
    instanceId: undefined,
    sessionTimeoutMs: 3_000,
    rebalanceTimeoutMs: 10_000,
    heartbeatMs: 100,
    groupId: (topic, group) => `${topic}.${group}`,
    isolation: "read-committed",
    ...more,
  };
}

export const soon = (ms = 20_000): AbortSignal => AbortSignal.timeout(ms);
export const EARLIEST: WireStart = { kind: "earliest" };
export const LATEST: WireStart = { kind: "latest" };

export interface Loss {
  readonly shard: string;
  readonly from: string | undefined;
  readonly to: string | undefined;
  readonly missing: number | undefined;
}

/** What a reader was told. */
export class Told {
  readonly releasing: string[] = [];
  /** When what of a shard is being handled has come to its end. */
  handled: Promise<void> = Promise.resolve();
  readonly lost: string[] = [];
  readonly losses: Loss[] = [];
  readonly states: string[] = [];
  readonly events: SubscribeRequest["events"] = {
    releasing: (shard) => {
      this.releasing.push(shard.id);
      return this.handled;
    },
    lost: (shard) => void this.lost.push(shard.id),
    state: (shard, state) => void this.states.push(`${shard} ${state}`),
    dataLoss: (shard, from, to, missing) => void this.losses.push({ shard, from, to, missing }),
  };
}

export interface Reader {
  readonly subscription: Subscription;
  readonly told: Told;
  /** Receives until `count` deliveries came; fails when they don't. */
  take(count: number): Promise<WireDelivery[]>;
}

/** Receives until `count` deliveries came; fails when they don't. */
export function take(from: Pick<Subscription, "receive">, count: number, ms = 20_000): Promise<WireDelivery[]> {
  return gather(count, ms, (most, leftMs) => from.receive(most, leftMs, soon(ms)), ids);
}

interface Reading {
  readonly topic: string;
  readonly group?: string | undefined;
  readonly from?: WireStart;
  readonly with?: Partial<Behaviour>;
}

/** Subscribes; closed when the test is over. */
export async function read(cluster: Cluster, reading: Reading): Promise<Reader> {
  const told = new Told();
  const { topic, group, from = EARLIEST } = reading;
  const request = { topic, group, from, credit: 1_000, events: told.events };
  const subscription = await openSubscription(cluster, behaviour(reading.with), request, soon());
  onTestFinished(() => subscription.close());
  return { subscription, told, take: (count) => take(subscription, count) };
}

export function ids(deliveries: readonly WireDelivery[]): (string | undefined)[] {
  return deliveries.map(({ id }) => id);
}

export function places(deliveries: readonly WireDelivery[]): (string | undefined)[] {
  return deliveries.map(({ place }) => place);
}

/** `a-0`, `a-1`, … */
export function names(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, n) => `${prefix}-${n}`);
}

/** Publishes these in one call; keys spread them over partitions, and are the ids themselves. */
export async function publish(cluster: Cluster, topic: string, which: readonly string[], size = 0): Promise<void> {
  const body = size === 0 ? {} : { body: Buffer.alloc(size, "x") };
  await stored(
    publisherOn(cluster),
    which.map((id) => record(topic, id, { key: Buffer.from(id), ...body })),
  );
}

/** What a group has committed of a topic, partition by partition. */
export async function committed(cluster: Cluster, topic: string, of: string = topic): Promise<Record<number, number>> {
  const state = (await cluster.topics([of], undefined, 0)).get(of);
  if (state === undefined) return {};
  const found = (await committedOffsets(cluster, `${topic}.${GROUP}`, [state], soon())).get(of);
  return Object.fromEntries([...(found ?? [])].map(([partition, offset]) => [partition, Number(offset)]));
}

/** A client that knows nothing of this adapter. */
export function foreign(cluster: Cluster): Kafka {
  const brokers = cluster.endpoint.bootstrap.map(({ host, port }) => `${host}:${port}`);
  return new Kafka({ brokers, logLevel: logLevel.NOTHING });
}

/** Takes away everything before this offset, as retention does. */
export async function expire(cluster: Cluster, topic: string, partition: number, before: number): Promise<void> {
  const leader = (await cluster.topics([topic])).get(topic)?.partitions[partition]?.leader ?? -1;
  const partitions = [{ partitionIndex: partition, offset: BigInt(before) }];
  const line = cluster.line();
  await line.call(leader, cluster.client.deleteRecordsV2.api.async, [[{ name: topic, partitions }], 5_000]);
  line.close();
}

/** Runs transactions of one producer, one after the other: each stores its messages, and is committed or given up. */
export async function transact(
  cluster: Cluster,
  topic: string,
  transactions: readonly { readonly values: readonly string[]; readonly end: "commit" | "abort" }[],
): Promise<void> {
  const producer = foreign(cluster).producer({ transactionalId: `tx-${topic}`, maxInFlightRequests: 1, idempotent: true });
  await producer.connect();
  for (const { values, end } of transactions) {
    const transaction = await producer.transaction();
    for (const value of values) await transaction.send({ topic, messages: [{ value, partition: 0 }] });
    await transaction[end]();
  }
  await producer.disconnect();
  // The end of a transaction is promised before its markers are written.
  const state = (await cluster.topics([topic])).get(topic);
  if (state === undefined) throw new Error(`There is no topic ${topic}.`);
  const end = async (isolation: 0 | 1) => (await offsetsAt(cluster, state, -1n, isolation, soon())).get(0);
  await until(async () => (await end(0)) === (await end(1)), "markers");
}

export function texts(deliveries: readonly WireDelivery[]): string[] {
  return deliveries.map(({ body }) => Buffer.from(body ?? []).toString());
}
