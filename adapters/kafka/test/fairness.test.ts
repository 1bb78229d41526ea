import { systemClock as clock } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import type { WireDelivery } from "brokerkit/driver";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import type { LogShard } from "../src/protocol/batches.ts";
import type { Cluster, TopicState } from "../src/protocol/cluster.ts";
import type { FetchedPartition } from "../src/protocol/fetch.ts";
import { Fetcher } from "../src/protocol/fetcher.ts";
import type { Line } from "../src/protocol/line.ts";
import { PartitionReader } from "../src/protocol/partition.ts";
import { clusterAt, publisherOn, record, stored, topicOn, until } from "./log.ts";
import { soon, Told } from "./reading.ts";
import { startKafka } from "./stage.ts";

const MIB = 1_048_576;

let broker: RunningBroker;
beforeAll(async () => {
  broker = await startKafka();
});
afterAll(() => broker?.close());

function fetcherOf(cluster: Cluster): Fetcher {
  const fetcher = new Fetcher(cluster, { isolation: 0, events: new Told().events, heals: true });
  onTestFinished(() => fetcher.close());
  return fetcher;
}

function readers(cluster: Cluster, topic: string, partitions: number): PartitionReader[] {
  return Array.from({ length: partitions }, (_, partition) => {
    const shard: LogShard = { id: String(partition), inbox: false };
    return new PartitionReader(cluster.client, { topic, partition, shard }, { from: 0, isolation: 0 });
  });
}

/** Stores records of 10 kB in these partitions, as many in each. */
async function fill(cluster: Cluster, topic: string, partitions: readonly number[], each: number): Promise<void> {
  const producer = cluster.line();
  onTestFinished(() => producer.close());
  const state = (await cluster.topics([topic], undefined, 0)).get(topic);
  const value = Buffer.alloc(10_000, "x");
  await Promise.all(
    partitions.map(async (partition) => {
      const messages = Array.from({ length: Math.min(10, each) }, () => ({ topic, partition, value }));
      for (let n = 0; n < each; n += messages.length) {
        await producer.ask(state?.partitions[partition]?.leader ?? -1, "Produce", [1, 10_000, messages, {}]);
      }
    }),
  );
}

/** Takes slowly until every partition of these has given something, at most so many records. */
async function untilSeen(fetcher: Fetcher, partitions: readonly number[], atMost: number): Promise<Map<string, number>> {
  const seen = new Map<string, number>();
  for (let taken = 0; taken < atMost; ) {
    const some = await fetcher.receive(4, 10_000, soon());
    if (some.length === 0) break;
    taken += some.length;
    for (const { shard } of some) seen.set(shard.id, (seen.get(shard.id) ?? 0) + 1);
    if (partitions.every((one) => seen.has(String(one)))) break;
    await new Promise((turn) => setTimeout(turn, 1));
  }
  return seen;
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, n) => from + n);

/** Waits until as much is fetched ahead as ever will be while nobody takes anything. */
async function full(all: readonly PartitionReader[]): Promise<void> {
  let before = -1;
  let same = 0;
  await until(() => {
    const held = all.reduce((sum, { buffered }) => sum + buffered, 0);
    same = held > 4 * MIB && held === before ? same + 1 : 0;
    before = held;
    return same > 60;
  }, "the buffer to be full");
}

it("lets every partition of a node come, with more in each than the buffer has room for and a slow reader", async () => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster, 40);
  await fill(cluster, topic, range(0, 40), 240);
  const fetcher = fetcherOf(cluster);
  fetcher.add(readers(cluster, topic, 40));
  const seen = await untilSeen(fetcher, range(0, 40), 3_200);
  expect([...seen.keys()].map(Number).sort((a, b) => a - b)).toEqual(range(0, 40));
});

it("lets cold partitions come beside hot ones that fill the buffer", async () => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster, 24);
  await fill(cluster, topic, range(0, 12), 240);
  const fetcher = fetcherOf(cluster);
  const all = readers(cluster, topic, 24);
  fetcher.add(all);
  await full(all);
  await fill(cluster, topic, range(12, 24), 1);
  const seen = await untilSeen(fetcher, range(12, 24), 600);
  for (const cold of range(12, 24)) expect(seen.get(String(cold)), `partition ${cold}`).toBe(1);
});

it("reads on beside partitions that are paused with the buffer full of them; each comes whole and in order once it goes on", async () => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster, 24);
  await fill(cluster, topic, range(0, 24), 120);
  const fetcher = fetcherOf(cluster);
  const all = readers(cluster, topic, 24);
  fetcher.add(all);
  await full(all);
  const first = await fetcher.receive(64, 10_000, soon());
  const paused = all.filter(({ buffered }) => buffered > 0).map(({ shard }) => shard.id);
  expect(paused.length).toBeGreaterThan(8);
  expect(paused.length).toBeLessThan(20);
  fetcher.pause(paused, true);
  const places: WireDelivery[] = [...first];
  const others = (24 - paused.length) * 120;
  while (places.length < first.length + others) {
    const some = await fetcher.receive(500, 10_000, soon());
    expect(some.length, `after ${places.length - first.length} of ${others}`).toBeGreaterThan(0);
    for (const { shard } of some) expect(paused).not.toContain(shard.id);
    places.push(...some);
  }
  fetcher.pause(paused, false);
  while (places.length < 24 * 120) {
    const some = await fetcher.receive(500, 10_000, soon());
    expect(some.length, `after ${places.length}`).toBeGreaterThan(0);
    places.push(...some);
  }
  for (const { shard } of all) {
    const mine = places.filter((one) => one.shard.id === shard.id).map(({ place }) => place);
    expect(mine).toEqual(range(0, 120).map((offset) => `${shard.id}:${offset}`));
  }
});

/** Three nodes as a script: partition n is led by node n % 3 + 1, and has as many batches as are asked for. `dead` ones can't be reached. */
class ScriptedCluster {
  readonly clock = clock;
  readonly closed = false;
  readonly client: Cluster["client"];
  readonly #batch: Buffer;
  readonly #partitions: number;
  readonly dead = new Set<number>();
  /** Nodes by partition, where that is another than the rule says. */
  readonly moved = new Map<number, number>();
  readonly asked: { readonly node: number; readonly partitions: readonly number[]; readonly bytes: number }[] = [];
  metadata = 0;

  constructor(cluster: Cluster, partitions: number) {
    this.client = cluster.client;
    this.#partitions = partitions;
    const value = Buffer.alloc(100_000, "x");
    this.#batch = Buffer.from(this.client.createRecordsBatch([{ topic: "t", value }] as never, {}).buffer);
  }

  get cluster(): Cluster {
    return this as unknown as Cluster;
  }

  stale(): void {}
  form(): unknown {
    return { api: {} };
  }

  leader(partition: number): number {
    return this.moved.get(partition) ?? (partition % 3) + 1;
  }

  async topics(): Promise<Map<string, TopicState>> {
    this.metadata += 1;
    const partitions = range(0, this.#partitions).map((one) => ({ leader: this.leader(one), epoch: 0 }));
    return new Map([["t", { name: "t", id: "t", partitions, replicas: 1 }]]);
  }

  line(): Line {
    const call = async (node: number, _send: unknown, args: readonly unknown[]): Promise<FetchedPartition[]> => {
      const [, , bytes, , , , topics] = args as [0, 0, number, 0, 0, 0, { partitions: { partition: number; fetchOffset: bigint }[] }[]];
      const asked = topics.flatMap(({ partitions }) => partitions);
      this.asked.push({ node, partitions: asked.map(({ partition }) => partition), bytes });
      await new Promise((turn) => setImmediate(turn));
      if (this.dead.has(node)) throw Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
      let left = bytes;
      return asked.map(({ partition, fetchOffset }) => {
        const batches: Buffer[] = [];
        for (let room = MIB; Math.min(room, left) > this.#batch.length; room -= this.#batch.length) {
          left -= this.#batch.length;
          const batch = Buffer.from(this.#batch);
          batch.writeBigInt64BE(fetchOffset + BigInt(batches.length), 0);
          batches.push(batch);
        }
        const records = Buffer.concat(batches);
        const [end, none] = [Number(fetchOffset) + 100, { divergesAt: -1, aborted: [] }];
        return { topicId: "t", partition, errorCode: 0, highWatermark: end, stableOffset: end, records, ...none };
      });
    };
    return { call, close: () => {} } as unknown as Line;
  }
}

it("gives each of three nodes its part of the buffer, and takes from each (scripted nodes)", async () => {
  const script = new ScriptedCluster(await clusterAt([broker.port]), 99);
  const fetcher = fetcherOf(script.cluster);
  const all = readers(script.cluster, "t", 99);
  fetcher.add(all);
  await until(() => script.asked.length >= 6, "two requests to each node");
  for (const node of [1, 2, 3])
    expect(script.asked.filter((one) => one.node === node).length, `requests to node ${node}`).toBeGreaterThan(0);
  await until(() => all.reduce((sum, { buffered }) => sum + buffered, 0) > 12 * MIB, "the buffer to fill");
  expect(all.reduce((sum, { buffered }) => sum + buffered, 0)).toBeLessThanOrEqual(16 * MIB);
  const seen = await untilSeen(fetcher, range(0, 99), 6_000);
  expect(seen.size).toBe(99);
  for (const node of [1, 2, 3]) expect(all.filter(({ leader, fed }) => leader === node && fed > 0)).toHaveLength(33);
});

it("finds a new leader for what was not asked for when the node went (scripted nodes)", async () => {
  const script = new ScriptedCluster(await clusterAt([broker.port]), 6);
  const fetcher = fetcherOf(script.cluster);
  const all = readers(script.cluster, "t", 6);
  fetcher.add(all);
  await until(() => all.every(({ buffered, busy }) => buffered >= MIB && !busy), "all to be full");
  script.dead.add(3);
  script.moved.set(2, 1).set(5, 2);
  const before = script.metadata;
  // Only the third partition has room again: its request finds out about the node.
  fetcher.pause(["0", "1", "3", "4", "5"], true);
  await fetcher.receive(16, 10_000, soon());
  await until(() => all.every(({ leader }) => leader === 1 || leader === 2), "new leaders of both partitions");
  expect(script.metadata).toBeGreaterThan(before);
  expect(all[5]?.leader).toBe(2);
});

it("reads a topic and its inbox in the order of who waits longest, whatever the topic", async () => {
  const cluster = await clusterAt([broker.port]);
  const [one, other] = [await topicOn(cluster, 3), await topicOn(cluster, 3)];
  const publisher = publisherOn(cluster);
  for (const topic of [one, other, one]) {
    await stored(
      publisher,
      range(0, 60).map((n) => record(topic, `${topic}-${n}`, { key: Buffer.from(String(n)) })),
    );
  }
  const fetcher = fetcherOf(cluster);
  const [first, second] = [readers(cluster, one, 3), readers(cluster, other, 3)];
  fetcher.add([first[0], second[0], first[1], second[1], first[2], second[2]].filter((reader) => reader !== undefined));
  const taken = new Set<string | undefined>();
  for (let count = 0; count < 180; ) {
    const some = await fetcher.receive(50, 10_000, soon());
    expect(some.length).toBeGreaterThan(0);
    count += some.length;
    for (const { id } of some) taken.add(id);
  }
  expect(taken.size).toBe(120);
});
