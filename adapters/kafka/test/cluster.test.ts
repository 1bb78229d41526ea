import { type Broker, connect, defineTopic, isBrokerError, type Schema } from "brokerkit";
import { Kafka, logLevel } from "kafkajs";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { kafka } from "../src/index.ts";
import { type RunningCluster, startCluster } from "./stage.ts";

let cluster: RunningCluster;
beforeAll(async () => {
  cluster = await startCluster();
});
afterAll(() => cluster?.close());

const PARTITIONS = 6;
const numbers: Schema<number> = { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value: value as number }) } };
const topicOf = (name: string) => defineTopic(name, { schema: numbers, partitions: PARTITIONS });

async function ours(): Promise<Broker> {
  const opened = (await connect(kafka({ brokers: cluster.addresses, sessionTimeoutMs: 6_000 }))) as Broker;
  onTestFinished(() => opened.close());
  return opened;
}

async function until(condition: () => boolean | Promise<boolean>, what: () => string, ms = 20_000): Promise<void> {
  for (const deadline = performance.now() + ms; !(await condition()); ) {
    if (performance.now() > deadline) throw new Error(`Waited in vain for ${what()}.`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The leader and the copies in step of each partition, by the plain client. */
async function partitions(topic: string): Promise<readonly { readonly leader: number; readonly isr: readonly number[] }[]> {
  const admin = new Kafka({ brokers: [...cluster.addresses], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  try {
    return (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0]?.partitions ?? [];
  } finally {
    await admin.disconnect();
  }
}

const inStep = (topic: string, count: number) => async (): Promise<boolean> =>
  (await partitions(topic)).every(({ leader, isr }) => leader > 0 && isr.length === count);

test("a leader is killed under load: nothing confirmed is lost, each key's order holds, and work goes on", {
  timeout: 60_000,
}, async () => {
  const name = "leaders";
  const broker = await ours();
  await broker.provision([topicOf(name)]);
  await until(inStep(name, 3), () => "three copies of each partition");
  expect((await partitions(name)).filter(({ leader }) => leader === 3)).toHaveLength(PARTITIONS / 3);

  const KEYS = 30;
  const first = new Map<string, number[]>();
  const seen = new Set<string>();
  const consumer = await ours();
  await consumer.topic(topicOf(name)).subscribe({ group: "g", concurrency: 16 }, ({ key = "", payload }) => {
    if (seen.has(`${key}/${payload}`)) return;
    seen.add(`${key}/${payload}`);
    first.set(key, [...(first.get(key) ?? []), payload]);
  });

  let running = true;
  let confirmed = 0;
  const publisher = broker.topic(topicOf(name));
  // What the leader took to its grave may be stored or not: it is published again under its id, before anything newer of its key.
  const stored = async (key: string, payload: number): Promise<void> => {
    for (;;) {
      const sent = publisher.publish(payload, { key, id: `${key}/${payload}`, timeoutMs: 30_000 });
      const error: unknown = await sent.then(
        () => undefined,
        (reason: unknown) => reason,
      );
      if (error === undefined) return;
      if (!isBrokerError(error) || !error.inDoubt) throw error;
    }
  };
  const load = Array.from({ length: KEYS }, async (_, n) => {
    for (let next = 0; running; next += 1) {
      await stored(`k-${n}`, next);
      confirmed += 1;
    }
  });
  for (const one of load) one.catch(() => {});
  await until(
    () => confirmed > 2_000,
    () => `2,000 confirmed; ${confirmed} are`,
  );
  const atKill = confirmed;
  await cluster.nodes[2].kill();
  await until(
    async () => confirmed > atKill + 3_000 && (await partitions(name)).every(({ leader }) => leader !== 3),
    () => `3,000 more after the kill; ${confirmed - atKill} are`,
  );
  await cluster.nodes[2].restart();
  running = false;
  await Promise.all(load);
  await until(
    () => seen.size >= confirmed,
    () => `${confirmed} messages; ${seen.size} came`,
  );
  expect(seen.size).toBe(confirmed);
  expect(first.size).toBe(KEYS);
  for (const [key, payloads] of first) expect(payloads, `first deliveries of ${key}`).toEqual(payloads.map((_, n) => n));
});

test("with too few copies a publish is refused and can be retried; it works again when one is back", { timeout: 60_000 }, async () => {
  const name = "copies";
  const broker = await ours();
  expect(broker.capabilities.durabilityOnAck).toBe("replicated");
  await broker.provision([topicOf(name)]);
  await until(inStep(name, 3), () => "three copies of each partition");
  const topic = broker.topic(topicOf(name));
  await topic.publish(0, { key: "k" });

  await Promise.all([cluster.nodes[1].kill(), cluster.nodes[2].kill()]);
  await until(inStep(name, 1), () => "the last copies");
  const refused = await topic.publish(1, { key: "k", timeoutMs: 3_000 }).catch((error: unknown) => error);
  expect(isBrokerError(refused, "UNAVAILABLE", "TIMEOUT"), String(refused)).toBe(true);
  expect(refused).toMatchObject({ retryable: true });

  await cluster.nodes[1].restart();
  await until(
    async () => (await partitions(name)).every(({ isr }) => isr.length >= 2),
    () => "two copies",
  );
  await topic.publish(2, { key: "k", timeoutMs: 15_000 });
  const stored: number[] = [];
  for await (const { payload } of topic.replay({ from: "earliest" })) stored.push(payload);
  expect(stored.filter((payload) => payload !== 1)).toEqual([0, 2]);
  await cluster.nodes[2].restart();
});
