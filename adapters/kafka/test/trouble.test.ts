import { readdirSync, rmSync, statSync, truncateSync } from "node:fs";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { type FaultProxy, startProxy } from "@brokerkit/conformance/faults";
import type { Subscription } from "brokerkit/driver";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { KafkaAdmin } from "../src/admin.ts";
import { inboxOf } from "../src/mapping.ts";
import type { Behaviour } from "../src/options.ts";
import type { Cluster } from "../src/protocol/cluster.ts";
import { openSubscription } from "../src/subscription.ts";
import { clusterAt, publisherOn, record, stored, topicOn, until } from "./log.ts";
import { behaviour, committed, foreign, GROUP, ids, LATEST, names, places, publish, read, soon, Told, take } from "./reading.ts";
import { startKafka } from "./stage.ts";

let broker: RunningBroker;
beforeAll(async () => {
  broker = await startKafka();
});
afterAll(() => broker?.close());

/** A way to the broker that answers nothing. */
async function deaf(): Promise<FaultProxy> {
  const proxy = await startProxy({ host: broker.host, port: broker.port });
  onTestFinished(() => proxy.close());
  proxy.drop();
  return proxy;
}

it("a first address that is silent does not keep a cluster from being reached by the next", async () => {
  const { port } = await deaf();
  const cluster = await clusterAt([port, broker.port]);
  const topic = await topicOn(cluster);
  await publish(cluster, topic, names("a", 4));
  // Patience with a coordinator is a third of the session: too short to wait for silent servers again and again.
  const reader = await read(cluster, { topic, group: GROUP, with: { sessionTimeoutMs: 1_500 } });
  expect(ids(await reader.take(4)).sort()).toEqual(names("a", 4));
});

it("a first address that falls silent later is passed over", async () => {
  const proxy = await startProxy({ host: broker.host, port: broker.port });
  onTestFinished(() => proxy.close());
  const cluster = await clusterAt([proxy.port, broker.port]);
  const topic = await topicOn(cluster);
  await publish(cluster, topic, names("a", 4));
  proxy.drop();
  const reader = await read(cluster, { topic, group: GROUP });
  expect(ids(await reader.take(4)).sort()).toEqual(names("a", 4));
});

/** Holds the answers to what a cluster asks by this name back, until they are let go. */
function hold(cluster: Cluster, name: string): { readonly held: number; go(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const ask = cluster.ask.bind(cluster);
  let held = 0;
  cluster.ask = (async (...args: Parameters<typeof ask>) => {
    const answer = await ask(...args);
    if (args[1] === name) {
      held++;
      await promise;
    }
    return answer;
  }) as Cluster["ask"];
  return {
    get held() {
      return held;
    },
    go: resolve,
  };
}

it("a group's start is not overwritten by a member that looked before another one set it", async () => {
  const [one, other, plain] = [await clusterAt([broker.port]), await clusterAt([broker.port]), await clusterAt([broker.port])];
  const topic = await topicOn(plain);
  const { groupId, ...rest } = behaviour({ heartbeatMs: 50 });
  const open = (cluster: Cluster): Promise<Subscription> => {
    const request = { topic, group: GROUP, from: LATEST, credit: 1_000, events: new Told().events };
    return openSubscription(cluster, { groupId, ...rest }, request, soon());
  };
  const [first, second] = [hold(one, "OffsetFetch"), hold(other, "OffsetFetch")];
  const starting = open(one);
  await until(() => first.held === 1, "the first member to look");
  const joining = open(other);
  await until(() => second.held === 1, "the second member to look");
  first.go();
  const starter = await starting;
  await publish(plain, topic, ["a"]);
  await starter.close();
  const admin = foreign(plain).admin();
  await admin.connect();
  onTestFinished(() => admin.disconnect());
  const alone = async (): Promise<boolean> => {
    const [group] = (await admin.describeGroups([groupId(topic, GROUP)])).groups;
    return group?.state === "Stable" && group.members.length === 1 && (group.members[0]?.memberAssignment.length ?? 0) > topic.length + 10;
  };
  await until(alone, "the second member to have it all");
  second.go();
  const reader = await joining;
  onTestFinished(() => reader.close());
  expect(ids(await take(reader, 1))).toEqual(["a"]);
});

it("an instance that comes back for another topic of its group is not given the first one's partitions", async () => {
  const cluster = await clusterAt([broker.port]);
  const [one, two] = [await topicOn(cluster, 2), await topicOn(cluster, 2)];
  await publish(cluster, one, names("one", 4));
  await publish(cluster, two, names("two", 4));
  const shared: Partial<Behaviour> = { instanceId: "box", groupId: (_, group) => `shared-${group}-${one}` };
  const of = (topic: string) => ({ topic, group: GROUP, with: shared });
  const before = [await read(cluster, of(one)), await read(cluster, of(two))];
  await Promise.all(before.map(({ subscription }) => subscription.close()));
  const reader = await read(cluster, of(two));
  expect(ids(await reader.take(4)).sort()).toEqual(names("two", 4));
});

it("lag counts what a transaction holds back that nobody ends", async () => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster);
  await read(cluster, { topic, group: GROUP });
  const producer = foreign(cluster).producer({ transactionalId: `open-${topic}`, maxInFlightRequests: 1, idempotent: true });
  await producer.connect();
  onTestFinished(() => producer.disconnect());
  const transaction = await producer.transaction();
  await transaction.send({ topic, messages: [{ value: "open" }] });
  await publish(cluster, topic, names("a", 5));
  const subscribe = (): never => {
    throw new Error("not asked for");
  };
  const admin = new KafkaAdmin({ behaviour: behaviour(), run: (call) => call(cluster), subscribe });
  const { count, oldestMs } = await admin.lag(topic, GROUP, soon());
  expect(count).toBe(6);
  expect(oldestMs).toBeGreaterThanOrEqual(0);
  await transaction.abort();
});

it.each<readonly [string, Readonly<Record<string, string>>, number]>([
  ["", {}, 1],
  [", but for a note that the server has no room for", { "offset.metadata.max.bytes": "4" }, 6],
])("what is acknowledged behind a delayed record of the inbox does not come again%s", async (_, settings, again) => {
  const server = again === 1 ? broker : await startKafka({ ...settings });
  if (server !== broker) onTestFinished(() => server.close());
  const cluster = await clusterAt([server.port]);
  const topic = await topicOn(cluster);
  const target = { topic, group: GROUP };
  const inbox = publisherOn(cluster);
  const first = await read(cluster, { topic, group: GROUP });
  await stored(inbox, [record(topic, "late", { target, delayMs: 3_600_000 })]);
  await stored(
    inbox,
    names("soon", 5).map((id) => record(topic, id, { target })),
  );
  for (const member of cluster.readers) member.refresh();
  const taken = await first.take(5);
  expect(ids(taken)).toEqual(names("soon", 5));
  expect(await first.subscription.ack(taken.slice(-1))).toEqual(["confirmed"]);
  await first.subscription.close();
  expect(await committed(cluster, topic, inboxOf(topic, GROUP))).toEqual({ 0: 0 });
  await stored(inbox, [record(topic, "next", { target })]);
  const second = await read(cluster, { topic, group: GROUP });
  const more = await second.take(again);
  expect(ids(more).at(-1)).toBe("next");
  expect(await second.subscription.ack(more.slice(-1))).toEqual(["confirmed"]);
});

/** Where a server keeps a partition's log, as it says itself. */
async function folderOf(cluster: Cluster, topic: string): Promise<string> {
  const line = cluster.line();
  const { async } = cluster.client.describeLogDirsV4.api;
  const { results } = await line.call("any", async, [[{ name: topic, partitions: [0] }]]);
  line.close();
  return `${results[0]?.logDir}/${topic}-0`;
}

it("a log that lost its end behind what was acknowledged is gone on with, and the group goes back to where it ends", async () => {
  const frail = await startKafka();
  onTestFinished(() => frail.close());
  const cluster = await clusterAt([frail.port]);
  const topic = await topicOn(cluster);
  const folder = await folderOf(cluster, topic);
  const log = `${folder}/00000000000000000000.log`;
  for (const id of names("a", 5)) await publish(cluster, topic, [id]);
  const kept = statSync(log).size;
  for (const id of names("b", 5)) await publish(cluster, topic, [id]);
  const reader = await read(cluster, { topic, group: GROUP, with: { sessionTimeoutMs: 25_000 } });
  const taken = await reader.take(10);
  expect(await reader.subscription.ack(taken.slice(-1))).toEqual(["confirmed"]);

  // What a server that loses power may do to what it had not written to its disk.
  await frail.kill();
  truncateSync(log, kept);
  for (const file of readdirSync(folder)) if (/index$|snapshot$/.test(file)) rmSync(`${folder}/${file}`);
  await frail.restart();

  const published = (id: string) => async (): Promise<boolean> =>
    publish(cluster, topic, [id]).then(
      () => true,
      () => false,
    );
  await until(published("c"), "publishing");
  const more = await reader.take(1);
  expect(places(more)).toEqual(["0:5"]);
  expect(reader.told.losses).toEqual([{ shard: "0", from: "0:5", to: "0:9", missing: undefined }]);
  expect(reader.told.lost).toEqual(["0"]);
  expect(more[0]?.shard).not.toBe(taken[0]?.shard);
  expect(await reader.subscription.ack(taken.slice(-1))).toEqual(["lost"]);
  expect(await reader.subscription.ack(more)).toEqual(["confirmed"]);
  expect(await committed(cluster, topic)).toEqual({ 0: 6 });
}, 60_000);
