import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { type LogShard, RecordBatch } from "../src/protocol/batches.ts";
import type { Cluster } from "../src/protocol/cluster.ts";
import { Fetcher, type FetcherRequest } from "../src/protocol/fetcher.ts";
import { PartitionReader } from "../src/protocol/partition.ts";
import { clusterAt, logOf, publisherOn, record, stored, topicOn, until } from "./log.ts";
import { foreign, ids, names, publish, soon, Told, take, texts } from "./reading.ts";
import { startKafka } from "./stage.ts";

const MIB = 1_048_576;

let broker: RunningBroker;
beforeAll(async () => {
  broker = await startKafka();
});
afterAll(() => broker?.close());

function fetcherOf(cluster: Cluster, more: Partial<FetcherRequest> = {}): Fetcher {
  const fetcher = new Fetcher(cluster, { isolation: 0, events: new Told().events, heals: true, ...more });
  onTestFinished(() => fetcher.close());
  return fetcher;
}

function readers(cluster: Cluster, topic: string, partitions: number): PartitionReader[] {
  return Array.from({ length: partitions }, (_, partition) => {
    const shard: LogShard = { id: String(partition), inbox: false };
    return new PartitionReader(cluster.client, { topic, partition, shard }, { from: 0, isolation: 0 });
  });
}

it("gives every part of a record as it was stored", async () => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster);
  const headers = [
    ["plain", Buffer.from("1")],
    ["plain", Buffer.from([0, 255])],
    ["名前", Buffer.alloc(0)],
  ] as const;
  const publishedAt = Date.now() - 3_600_000;
  await stored(publisherOn(cluster), [
    record(topic, "ä", { key: Buffer.from("k"), headers, body: Buffer.from([1, 2, 3]), publishedAt }),
    record(topic, "b", { body: null }),
    record(topic, "c", { body: Buffer.alloc(0), key: Buffer.alloc(0) }),
  ]);
  const producer = foreign(cluster).producer();
  await producer.connect();
  await producer.send({
    topic,
    messages: [{ value: "foreign", timestamp: "1700000000123", headers: { "brokerkit-due": "soon", "brokerkit-failures": "-1" } }],
  });
  await producer.disconnect();
  const fetcher = fetcherOf(cluster);
  fetcher.add(readers(cluster, topic, 1));
  const [a, b, c, d] = await take(fetcher, 4);
  expect(a).toMatchObject({ id: "ä", publishedAt, place: "0:0", failures: 0, inbox: false, deliveries: 1, leaseUntil: Infinity });
  expect(a?.key).toEqual(Buffer.from("k"));
  expect(a?.body).toEqual(Buffer.from([1, 2, 3]));
  expect(a?.headers).toEqual(headers);
  expect(b).toMatchObject({ id: "b", key: undefined, body: null, headers: [] });
  expect(c?.key).toEqual(Buffer.alloc(0));
  expect(c?.body).toEqual(Buffer.alloc(0));
  expect(d).toMatchObject({ id: undefined, publishedAt: 1_700_000_000_123, failures: 0, due: 0, headers: [], place: "0:3" });
});

it.each(["none", "gzip", "snappy", "lz4", "zstd"] as const)("reads batches with compression %s as the client does", async (compression) => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster, 2);
  const publisher = publisherOn(cluster, undefined, compression);
  for (const prefix of ["a", "b"]) {
    await stored(
      publisher,
      names(prefix, 500).map((id) => record(topic, id, { key: Buffer.from(id) })),
    );
  }
  const fetcher = fetcherOf(cluster);
  fetcher.add(readers(cluster, topic, 2));
  const taken = await take(fetcher, 1_000);
  const expected = await logOf(cluster, topic);
  for (const partition of [0, 1]) {
    const mine = taken.filter(({ shard }) => shard.id === String(partition));
    const theirs = expected.filter((one) => one.partition === partition);
    expect(mine.map(({ place, id }) => `${place} ${id}`)).toEqual(theirs.map(({ offset, id }) => `${partition}:${offset} ${id}`));
    expect(texts(mine)).toEqual(theirs.map(({ value }) => value));
  }
});

it("uses the broker's time where the topic is told to", async () => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster, 1, { "message.timestamp.type": "LogAppendTime" });
  const producer = foreign(cluster).producer();
  await producer.connect();
  const before = Date.now();
  await producer.send({ topic, messages: [{ value: "a", timestamp: "1000" }] });
  await producer.disconnect();
  const fetcher = fetcherOf(cluster);
  fetcher.add(readers(cluster, topic, 1));
  const [delivery] = await take(fetcher, 1);
  expect(delivery?.publishedAt).toBeGreaterThanOrEqual(before - 1_000);
});

it("refuses a batch that was damaged on its way", async () => {
  const cluster = await clusterAt([broker.port]);
  const sent = cluster.client.createRecordsBatch([{ topic: "t", key: Buffer.from("k"), value: Buffer.from("value") }] as never, {}).buffer;
  const [whole] = RecordBatch.split(Buffer.from(sent));
  whole?.open(cluster.client);
  expect(whole?.next({ id: "0", inbox: false }, 0)?.body).toEqual(Buffer.from("value"));
  const damaged = Buffer.from(sent);
  damaged.writeUInt8(damaged.readUInt8(damaged.length - 3) ^ 1, damaged.length - 3);
  const [broken] = RecordBatch.split(damaged);
  expect(() => broken?.open(cluster.client)).toThrow("its checksum is wrong");
  expect(RecordBatch.split(Buffer.from(sent).subarray(0, -1))).toEqual([]);
  const old = Buffer.from(sent);
  old.writeUInt8(1, 16);
  expect(() => RecordBatch.split(old)).toThrow("format 1");
});

it("refuses a record whose parts are longer than it says, and shows nothing of what lies behind it", async () => {
  const cluster = await clusterAt([broker.port]);
  const sent = cluster.client.createRecordsBatch([{ topic: "t", key: Buffer.from("k"), value: Buffer.from("value") }] as never, {}).buffer;
  const lying = Buffer.from(sent);
  // Behind the batch's head: length, attributes, time, offset, length of the key, key, length of the value (all of one byte here).
  expect(lying[67]).toBe(2 * "value".length);
  lying[67] = 2 * 60;
  lying.writeUInt32BE(cluster.client.crc32c(lying.subarray(21)), 17);
  const [batch] = RecordBatch.split(lying);
  batch?.open(cluster.client);
  expect(() => batch?.next({ id: "0", inbox: false }, 0)).toThrow("longer than it says");
});

it("keeps no fetched batch in memory with a record that is held", async () => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster);
  await stored(publisherOn(cluster), [
    ...names("m", 2_000).map((id) => record(topic, id, { body: Buffer.alloc(100, id) })),
    record(topic, "large", { body: Buffer.alloc(50_000, "x") }),
    record(topic, "last", { key: Buffer.from("key") }),
  ]);
  const fetcher = fetcherOf(cluster);
  fetcher.add(readers(cluster, topic, 1));
  const taken = await take(fetcher, 2_002);
  for (const { id, body } of taken.slice(0, 2_000)) {
    expect(body).toEqual(Buffer.alloc(100, id));
    expect(body?.buffer.byteLength).toBeLessThanOrEqual(8_192);
  }
  expect(taken[2_000]?.body?.buffer.byteLength).toBeLessThan(51_000);
  expect(texts(taken.slice(-1))).toEqual(["body of last"]);
  expect(taken.at(-1)?.key).toEqual(Buffer.from("key"));
});

it("reads a record that is larger than what it asks for at a time", async () => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster, 1, { "max.message.bytes": String(8 * MIB) });
  const publisher = publisherOn(cluster, { limitOf: () => 8 * MIB });
  await stored(publisher, [record(topic, "small"), record(topic, "large", { body: Buffer.alloc(5 * MIB, "x") }), record(topic, "last")]);
  const fetcher = fetcherOf(cluster);
  fetcher.add(readers(cluster, topic, 1));
  const taken = await take(fetcher, 3);
  expect(ids(taken)).toEqual(["small", "large", "last"]);
  expect(taken[1]?.body?.length).toBe(5 * MIB);
});

it("holds a bounded part of the log for a reader that takes nothing, and all comes once it does", async () => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster, 8);
  for (let n = 0; n < 24; n++) await publish(cluster, topic, names(`m${n}`, 1_600), 1_000);
  const fetcher = fetcherOf(cluster);
  const all = readers(cluster, topic, 8);
  fetcher.add(all);
  const held = (): number => all.reduce((sum, { buffered }) => sum + buffered, 0);
  let most = 0;
  let same = 0;
  await until(() => {
    same = held() > 0 && held() === most ? same + 1 : 0;
    most = Math.max(most, held());
    return same > 100;
  }, "fetching to pause");
  expect(most).toBeGreaterThan(4 * MIB);
  for (const { buffered } of all) expect(buffered).toBeLessThanOrEqual(2.5 * MIB);
  expect(most).toBeLessThanOrEqual(17 * MIB);
  const taken = new Set<string | undefined>();
  while (taken.size < 24 * 1_600) {
    for (const { id } of await fetcher.receive(5_000, 20_000, soon())) taken.add(id);
    most = Math.max(most, held());
  }
  expect(most).toBeLessThanOrEqual(17 * MIB);
});

it("lets a partition with news pass one without, and one that goes on after a pause", async () => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster, 3);
  const fetcher = fetcherOf(cluster);
  const all = readers(cluster, topic, 3);
  fetcher.add(all);
  const producer = foreign(cluster).producer();
  await producer.connect();
  onTestFinished(() => producer.disconnect());
  const late: number[] = [];
  for (let n = 0; n < 10; n++) {
    fetcher.pause([String(n % 3)], true);
    fetcher.pause([String(n % 3)], false);
    const begun = performance.now();
    await producer.send({ topic, messages: [{ value: `m${n}`, partition: n % 3 }] });
    expect(texts(await take(fetcher, 1))).toEqual([`m${n}`]);
    late.push(performance.now() - begun);
  }
  expect(late.sort((a, b) => a - b)[5]).toBeLessThan(200);
});

it("lets what waits for the network go first while there is more to give out than is asked for", async () => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster);
  await publish(cluster, topic, names("m", 100));
  const fetcher = fetcherOf(cluster);
  fetcher.add(readers(cluster, topic, 1));
  expect(await take(fetcher, 1)).toHaveLength(1);
  const order: string[] = [];
  setImmediate(() => order.push("network"));
  const [next] = await fetcher.receive(1, 1_000, soon());
  order.push(next?.id ?? "nothing");
  expect(order).toEqual(["network", "m-1"]);
});
