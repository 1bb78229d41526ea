import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { startProxy } from "@brokerkit/conformance/faults";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { inboxOf } from "../src/mapping.ts";
import { KafkaAdmin } from "../src/admin.ts";
import { Cluster } from "../src/protocol/cluster.ts";
import { createMembership } from "../src/protocol/membership.ts";
import { clock } from "./clock.ts";
import { clusterAt, publisherOn, record, stored, topicOn, until } from "./log.ts";
import { behaviour, committed, EARLIEST, foreign, GROUP, ids, LATEST, names, publish, read, soon } from "./reading.ts";
import { startKafka } from "./stage.ts";

let broker: RunningBroker;
beforeAll(async () => {
  broker = await startKafka();
});
afterAll(() => broker?.close());

it("S12 static member of another topic", async () => {
  const cluster = await clusterAt([broker.port]);
  const [one, two] = [await topicOn(cluster, 2), await topicOn(cluster, 2)];
  const of = (topic: string) => ({ topic, group: GROUP, with: { instanceId: "box", groupId: (_: string, g: string) => `shared-${g}`, sessionTimeoutMs: 6_000 } });
  await publish(cluster, one, names("one", 4));
  await publish(cluster, two, names("two", 4));
  const a = await read(cluster, of(one));
  await a.subscription.close();
  const b = await read(cluster, of(two));
  const got = await b.take(4);
  expect(ids(got).sort()).toEqual(names("two", 4));
});

it("S12b two static members, two topics, restarted in the other order", async () => {
  const cluster = await clusterAt([broker.port]);
  const [one, two] = [await topicOn(cluster, 2), await topicOn(cluster, 2)];
  const of = (topic: string) => ({ topic, group: GROUP, with: { instanceId: "box", groupId: (_: string, g: string) => `shared2-${g}`, sessionTimeoutMs: 6_000 } });
  await publish(cluster, one, names("one", 4));
  await publish(cluster, two, names("two", 4));
  const a = await read(cluster, of(one));
  const b = await read(cluster, of(two));
  await Promise.all([a.subscription.close(), b.subscription.close()]);
  const b2 = await read(cluster, of(two));
  expect(ids(await b2.take(4)).sort()).toEqual(names("two", 4));
});

it("S84 one consumer group, two topics", async () => {
  const cluster = await clusterAt([broker.port]);
  const [one, two] = [await topicOn(cluster, 3), await topicOn(cluster, 3)];
  const of = (topic: string) => ({ topic, group: GROUP, with: { groupId: (_: string, g: string) => `shared3-${g}`, sessionTimeoutMs: 6_000 } });
  await publish(cluster, one, names("one", 9));
  await publish(cluster, two, names("two", 9));
  const [a, b] = await Promise.all([read(cluster, of(one)), read(cluster, of(two))]);
  expect(ids(await a.take(9)).sort()).toEqual(names("one", 9));
  expect(ids(await b.take(9)).sort()).toEqual(names("two", 9));
});

it("S11 first bootstrap is deaf", async () => {
  const proxy = await startProxy({ host: broker.host, port: broker.port });
  onTestFinished(() => proxy.close());
  proxy.drop();
  const started = performance.now();
  const cluster = await clusterAt([proxy.port, broker.port]);
  console.log("opened after", performance.now() - started);
});

it("S11b first bootstrap goes deaf later", async () => {
  const proxy = await startProxy({ host: broker.host, port: broker.port });
  onTestFinished(() => proxy.close());
  const cluster = await clusterAt([proxy.port, broker.port]);
  const topic = await topicOn(cluster, 2);
  await publish(cluster, topic, names("a", 4));
  proxy.drop();
  const started = performance.now();
  const reader = await read(cluster, { topic, group: GROUP, with: { sessionTimeoutMs: 10_000 } });
  console.log("subscribed after", performance.now() - started);
  expect(ids(await reader.take(4)).sort()).toEqual(names("a", 4));
}, 60_000);

it("S36 lag with a hanging transaction", async () => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster, 1);
  const reader = await read(cluster, { topic, group: GROUP });
  const producer = foreign(cluster).producer({ transactionalId: `hang-${topic}`, maxInFlightRequests: 1, idempotent: true });
  await producer.connect();
  const transaction = await producer.transaction();
  await transaction.send({ topic, messages: [{ value: "open" }] });
  await publish(cluster, topic, names("a", 5));
  const admin = new KafkaAdmin({ behaviour: behaviour(), run: (call) => call(cluster), subscribe: () => Promise.reject(new Error()) });
  console.log("lag", await admin.lag(topic, GROUP, soon()));
  await transaction.abort();
  await producer.disconnect();
  void reader;
});
