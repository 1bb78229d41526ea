import { systemClock as clock } from "@brokerkit/conformance";
import type { Clock, WireRecord } from "brokerkit/driver";
import { expect, onTestFinished } from "vitest";
import type { Behaviour } from "../src/options.ts";
import { Cluster } from "../src/protocol/cluster.ts";
import type { Endpoint } from "../src/protocol/line.ts";
import { Publisher, type PublisherWiring } from "../src/publisher.ts";

/** A cluster behind these ports of the loopback address; closed when the test is over. */
export async function clusterAt(
  ports: readonly number[],
  tunnel = false,
  more: { readonly sasl?: Endpoint["sasl"]; readonly clock?: Clock } = {},
): Promise<Cluster> {
  const bootstrap = ports.map((port) => ({ host: "127.0.0.1", port }));
  const endpoint: Endpoint = { bootstrap, clientId: "test", connectTimeoutMs: 5_000, tunnel, sasl: more.sasl, tls: undefined };
  const cluster = await Cluster.open(endpoint, more.clock ?? clock, AbortSignal.timeout(10_000));
  onTestFinished(() => cluster.close());
  return cluster;
}

export function publisherOn(
  cluster: Cluster,
  wiring: PublisherWiring = { limitOf: () => 1_048_588 },
  compression: Behaviour["compression"] = "none",
): Publisher {
  const publisher = new Publisher(cluster, { compression } as Behaviour, wiring);
  onTestFinished(() => publisher.close());
  return publisher;
}

let names = 0;

/** A new topic, once all of it is served. */
export async function topicOn(cluster: Cluster, numPartitions = 1, configs: Readonly<Record<string, string>> = {}): Promise<string> {
  const name = `t-${process.pid}-${++names}`;
  await createTopic(cluster, name, numPartitions, configs);
  return name;
}

export async function createTopic(
  cluster: Cluster,
  name: string,
  numPartitions: number,
  configs: Readonly<Record<string, string>> = {},
  assignments: { partitionIndex: number; brokerIds: number[] }[] = [],
): Promise<void> {
  const entries = Object.entries(configs).map(([key, value]) => ({ name: key, value }));
  const placed = assignments.length > 0;
  const spec = { name, numPartitions: placed ? -1 : numPartitions, replicationFactor: placed ? -1 : 1, assignments, configs: entries };
  await cluster.ask("any", "CreateTopics", [[spec], 10_000, false]);
  await until(() => isServed(cluster, name, numPartitions), `leaders of ${name}`);
}

/** Metadata names a leader before it knows of its office. */
async function isServed(cluster: Cluster, name: string, count: number): Promise<boolean> {
  const { partitions } = (await cluster.topics([name], undefined, 0)).get(name) ?? { partitions: [] };
  if (partitions.length !== count || partitions.some(({ leader }) => leader < 0)) return false;
  const asked = partitions.map(({ leader }, partitionIndex) => {
    const end = [{ partitionIndex, currentLeaderEpoch: -1, timestamp: -1n }];
    return cluster.ask(leader, "ListOffsets", [-1, 0, [{ name, partitions: end }]]);
  });
  return (await Promise.allSettled(asked)).every(({ status }) => status === "fulfilled");
}

/** Waits for a condition, never for a time. */
export async function until(condition: () => boolean | Promise<boolean>, what: string, ms = 20_000): Promise<void> {
  for (const deadline = performance.now() + ms; !(await condition()); ) {
    if (performance.now() > deadline) throw new Error(`Waited ${ms} ms in vain for ${what}.`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export function record(topic: string, id: string, more: Partial<WireRecord> = {}): WireRecord {
  const body = Buffer.from(`body of ${id}`);
  return { target: { topic }, id, dedupeId: id, key: undefined, headers: [], body, publishedAt: Date.now(), ...more };
}

export const keyed = (topic: string, id: string, key: string): WireRecord => record(topic, id, { key: Buffer.from(key) });

/** A record as it lies in the log, read by the client library's own decoder. */
export interface Stored {
  readonly partition: number;
  readonly offset: number;
  /** Number of its batch in the partition. */
  readonly batch: number;
  readonly producerId: bigint;
  readonly epoch: number;
  readonly compressed: boolean;
  readonly timestamp: number;
  readonly key: string | undefined;
  readonly value: string | undefined;
  readonly headers: readonly (readonly [string, Buffer])[];
  readonly id: string | undefined;
}

/** Everything that a topic holds, partition by partition. */
export async function logOf(cluster: Cluster, topic: string): Promise<readonly Stored[]> {
  const state = (await cluster.topics([topic], undefined, 0)).get(topic);
  if (state === undefined) throw new Error(`There is no topic ${topic}.`);
  const stored: Stored[] = [];
  for (const [partition, { leader }] of state.partitions.entries()) {
    let batch = 0;
    for (let next = 0n, end = 1n; next < end; ) {
      const where = { partition, currentLeaderEpoch: -1, fetchOffset: next, lastFetchedEpoch: -1, partitionMaxBytes: 1 << 24 };
      const topics = [{ topicId: state.id, partitions: [where] }];
      const { responses } = await cluster.ask(leader, "Fetch", [100, 1, 1 << 25, 0, 0, -1, topics, [], ""]);
      const answer = responses[0]?.partitions[0];
      end = answer?.highWatermark ?? 0n;
      for (const found of answer?.records ?? []) {
        for (const { key, value, headers, offsetDelta, timestampDelta } of found.records) {
          const named = headers.map(([name, bytes]) => [String(name), bytes ?? Buffer.alloc(0)] as const);
          stored.push({
            partition,
            offset: Number(found.firstOffset) + offsetDelta,
            batch,
            producerId: found.producerId,
            epoch: found.producerEpoch,
            compressed: (found.attributes & 7) !== 0,
            timestamp: Number(found.firstTimestamp + timestampDelta),
            key: key?.toString(),
            value: value?.toString(),
            headers: named,
            id: named.find(([name]) => name === "brokerkit-id")?.[1].toString(),
          });
        }
        next = found.firstOffset + BigInt(found.lastOffsetDelta) + 1n;
        batch++;
      }
    }
  }
  return stored;
}

export async function idsIn(cluster: Cluster, topic: string): Promise<readonly (string | undefined)[]> {
  return (await logOf(cluster, topic)).map(({ id }) => id);
}

/** Publishes and fails unless all was stored; resolves to the places. */
export async function stored(publisher: Publisher, batch: readonly WireRecord[]): Promise<readonly (string | undefined)[]> {
  const results = await publisher.publish(batch, AbortSignal.timeout(10_000));
  return results.map((result) => {
    if (!result.ok) throw result.error;
    expect(result.place).toMatch(/^(retry-)?\d+:\d+$/);
    return result.place;
  });
}
