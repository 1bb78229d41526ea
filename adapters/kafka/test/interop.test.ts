import { systemClock as clock } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { type Broker, connect, type Delivery, defineTopic, type Schema } from "brokerkit";
import type { WireRecord } from "brokerkit/driver";
import client, { type Consumer, Kafka, type KafkaMessage, logLevel, Partitioners } from "kafkajs";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { kafka } from "../src/index.ts";
import { startKafka } from "./stage.ts";

let broker: RunningBroker;
beforeAll(async () => {
  broker = await startKafka();
});
afterAll(() => broker?.close());

const PARTITIONS = 3;
const text = (bytes: Uint8Array | null | undefined): string | undefined => (bytes == null ? undefined : Buffer.from(bytes).toString());
const names = (count: number, from = 0): readonly string[] => Array.from({ length: count }, (_, n) => `m-${from + n}`);

function foreign(): Kafka {
  return new Kafka({ brokers: [`127.0.0.1:${broker.port}`], logLevel: logLevel.NOTHING });
}

/** A topic of three partitions, made by the plain client. */
async function made(topic: string): Promise<string> {
  const admin = foreign().admin();
  await admin.connect();
  try {
    await admin.createTopics({ topics: [{ topic, numPartitions: PARTITIONS }], waitForLeaders: true });
  } finally {
    await admin.disconnect();
  }
  return topic;
}

interface Sent {
  readonly key?: string | Buffer | null;
  readonly value: string | Buffer | null;
  readonly headers?: Record<string, string | Buffer | (string | Buffer)[]>;
  readonly partition?: number;
}

async function send(
  topic: string,
  messages: readonly Sent[],
  compression: client.CompressionTypes = client.CompressionTypes.None,
): Promise<void> {
  const producer = foreign().producer({ createPartitioner: Partitioners.DefaultPartitioner });
  await producer.connect();
  try {
    await producer.send({ topic, messages: [...messages], compression });
  } finally {
    await producer.disconnect();
  }
}

interface Read {
  readonly partition: number;
  readonly message: KafkaMessage;
}

/** A member of the plain client's group, and what it has read; nothing is committed by itself. */
async function member(topic: string, groupId: string): Promise<{ readonly consumer: Consumer; readonly read: readonly Read[] }> {
  const consumer = foreign().consumer({ groupId });
  onTestFinished(() => consumer.disconnect());
  const read: Read[] = [];
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({ autoCommit: false, eachMessage: async (one) => void read.push(one) });
  return { consumer, read };
}

async function ours(options: Parameters<typeof kafka>[0] = {}): Promise<Broker> {
  const opened = (await connect(kafka({ brokers: [`127.0.0.1:${broker.port}`], ...options }))) as Broker;
  onTestFinished(() => opened.close());
  return opened;
}

const anything: Schema<unknown> = { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) } };
const asBytes = (name: string) => defineTopic(name, { schema: anything, codec: "bytes" });
const partitionOf = (place: string | undefined): number => Number(place?.split(":")[0]);

async function until(condition: () => boolean, what: () => string): Promise<void> {
  for (const deadline = performance.now() + 15_000; !condition(); ) {
    if (performance.now() > deadline) throw new Error(`Waited in vain for ${what()}.`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** All that a topic holds, read by us. */
async function replayed(name: string): Promise<readonly Delivery<unknown>[]> {
  const found: unknown[] = [];
  for await (const message of (await ours()).topic(asBytes(name)).replay({ from: "earliest" })) found.push(message);
  return found as Delivery<unknown>[];
}

test("what a plain producer writes arrives as it is: keys, header bytes and repeated names, tombstones, empty bodies", async () => {
  const topic = await made("foreign-in");
  await send(topic, [
    { key: "text", value: "body", headers: { one: "1", bytes: Buffer.from([0, 255, 128]), twice: ["a", "b"], empty: "" }, partition: 0 },
    { key: Buffer.from([255, 0]), value: Buffer.from([0, 1, 255]), partition: 1 },
    { key: "gone", value: null, partition: 2 },
    { value: "", partition: 2 },
  ]);
  const read = await replayed(topic);
  const at = (place: string): Delivery<unknown> => read.find((message) => message.place === place) as Delivery<unknown>;
  expect(read.map(({ place }) => place).sort()).toEqual(["0:0", "1:0", "2:0", "2:1"]);

  expect(at("0:0")).toMatchObject({ key: "text", tombstone: false });
  expect(text(at("0:0").payload as Uint8Array)).toBe("body");
  const headers = at("0:0").rawHeaders.map(([name, value]) => [name, Buffer.from(value).toString("hex")]);
  expect(headers).toEqual([
    ["one", "31"],
    ["bytes", "00ff80"],
    ["twice", "61"],
    ["twice", "62"],
    ["empty", ""],
  ]);
  expect(at("1:0").key).toBeUndefined();
  expect(Buffer.from(at("1:0").keyBytes as Uint8Array)).toEqual(Buffer.from([255, 0]));
  expect(Buffer.from(at("1:0").payload as Uint8Array)).toEqual(Buffer.from([0, 1, 255]));
  expect(at("2:0")).toMatchObject({ key: "gone", tombstone: true, payload: null });
  expect(at("2:1")).toMatchObject({ key: undefined, tombstone: false });
  expect((at("2:1").payload as Uint8Array).length).toBe(0);
  expect(new Set(read.map(({ id }) => id)).size).toBe(4);
});

test("what we write reaches a plain consumer as it is", async () => {
  const topic = await made("foreign-out");
  const driver = kafka({ brokers: [`127.0.0.1:${broker.port}`] }).open({ clock, down: () => {} });
  onTestFinished(() => driver.close());
  await driver.connect(AbortSignal.timeout(10_000));
  const before = Date.now();
  const record = (id: string, more: Partial<WireRecord>): WireRecord => ({
    target: { topic },
    id,
    dedupeId: id,
    key: undefined,
    headers: [],
    body: Buffer.from(id),
    publishedAt: before,
    ...more,
  });
  const results = await driver.publish(
    [
      record("a", {
        key: Buffer.from("text"),
        headers: [
          ["one", Buffer.from("1")],
          ["twice", Buffer.from([0, 255])],
          ["twice", Buffer.from("b")],
        ],
      }),
      record("b", { key: Buffer.from([255, 0]), body: Buffer.from([0, 1, 255]) }),
      record("c", { key: Buffer.from("gone"), body: null }),
      record("d", { body: Buffer.alloc(0) }),
    ],
    AbortSignal.timeout(10_000),
  );
  expect(results.map(({ ok }) => ok)).toEqual([true, true, true, true]);
  const { read } = await member(topic, "reader");
  await until(
    () => read.length === 4,
    () => `4 records; ${read.length} came`,
  );
  const of = (id: string): KafkaMessage =>
    read.find(({ message }) => String(message.headers?.["brokerkit-id"]) === id)?.message as KafkaMessage;
  expect(of("a").headers).toEqual({
    "brokerkit-id": Buffer.from("a"),
    one: Buffer.from("1"),
    twice: [Buffer.from([0, 255]), Buffer.from("b")],
  });
  expect([text(of("a").key), text(of("a").value), of("a").timestamp]).toEqual(["text", "a", String(before)]);
  expect([of("b").key, of("b").value]).toEqual([Buffer.from([255, 0]), Buffer.from([0, 1, 255])]);
  expect([text(of("c").key), of("c").value]).toEqual(["gone", null]);
  expect([of("d").key, of("d").value]).toEqual([null, Buffer.alloc(0)]);
});

test("a key goes to the partition that plain clients give it", async () => {
  const topic = await made("placement");
  const keys = [...names(200), "", "ключ", "🗝", "x".repeat(1_000)];
  await send(
    topic,
    keys.map((key) => ({ key, value: "theirs" })),
  );
  const publisher = (await ours()).topic(asBytes(topic));
  const receipts = await Promise.all(keys.filter((key) => key !== "").map((key) => publisher.publish(Buffer.from("ours"), { key })));
  expect(new Set(receipts.map(({ place }) => partitionOf(place))).size).toBe(PARTITIONS);
  const [theirs, mine] = [new Map<string, number>(), new Map<string, number>()];
  for (const { key, payload, place } of await replayed(topic)) {
    if (key !== undefined && key !== "") (text(payload as Uint8Array) === "theirs" ? theirs : mine).set(key, partitionOf(place));
  }
  expect(mine.size).toBe(keys.length - 1);
  expect(mine).toEqual(theirs);
});

test("compression: a plain producer's gzip is read, and a plain consumer reads ours", async () => {
  const topic = await made("compressed");
  const body = "compressible ".repeat(1_000);
  await send(topic, [{ key: "k", value: body }], client.CompressionTypes.GZIP);
  await (await ours({ compression: "gzip" })).topic(asBytes(topic)).publish(Buffer.from(body), { key: "k" });
  expect((await replayed(topic)).map(({ payload }) => text(payload as Uint8Array))).toEqual([body, body]);
  const { read } = await member(topic, "reader-gzip");
  await until(
    () => read.length === 2,
    () => `2 records; ${read.length} came`,
  );
  expect(read.map(({ message }) => text(message.value))).toEqual([body, body]);
});

test("a consumer group that exists is taken over where it stands, and given back where we left it", async () => {
  const topic = await made("taken-over");
  const messages = (from: number): readonly Sent[] => names(30, from).map((value, n) => ({ value, partition: n % PARTITIONS }));
  await send(topic, messages(0));

  const first = await member(topic, "billing");
  await until(
    () => first.read.length === 30,
    () => `30 records; ${first.read.length} came`,
  );
  const committed = [3, 10, 0];
  await first.consumer.commitOffsets(committed.map((offset, partition) => ({ topic, partition, offset: `${offset}` })));
  await first.consumer.disconnect();

  const naming = { group: (_: string, group: string): string => group };
  const our = await ours({ naming, sessionTimeoutMs: 6_000 });
  const got: { readonly partition: number; readonly payload: string | undefined }[] = [];
  const subscription = await our.topic(asBytes(topic)).subscribe({ group: "billing" }, (message) => {
    got.push({ partition: partitionOf(message.place), payload: text(message.payload as Uint8Array) });
  });
  expect(subscription.startedFrom).toBe("existing");
  await until(
    () => got.length >= 17,
    () => `17 messages; ${got.length} came`,
  );
  for (const [partition, offset] of committed.entries()) {
    const left = names(30).filter((_, n) => n % PARTITIONS === partition && Math.floor(n / PARTITIONS) >= offset);
    expect(got.filter((one) => one.partition === partition).map(({ payload }) => payload)).toEqual(left);
  }
  await subscription.flush();
  await our.close();

  await send(topic, messages(30));
  const last = await member(topic, "billing");
  await until(
    () => last.read.length >= 30,
    () => `30 records; ${last.read.length} came`,
  );
  expect(last.read.map(({ message }) => text(message.value)).sort()).toEqual([...names(30, 30)].sort());
});
