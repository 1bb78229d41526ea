import { systemClock as clock, ranFor } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { startProxy } from "@brokerkit/conformance/faults";
import type { WireDelivery } from "brokerkit/driver";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { cutBefore, inboxOf } from "../src/mapping.ts";
import type { Behaviour } from "../src/options.ts";
import { Cluster } from "../src/protocol/cluster.ts";
import { clusterAt, createTopic, publisherOn, record, stored, topicOn, until } from "./log.ts";
import {
  committed,
  EARLIEST,
  expire,
  foreign,
  GROUP,
  ids,
  LATEST,
  names,
  places,
  publish,
  read,
  soon,
  texts,
  transact,
} from "./reading.ts";
import { startKafka } from "./stage.ts";

let broker: RunningBroker;
let cluster: Cluster;
beforeAll(async () => {
  broker = await startKafka();
});
afterAll(() => broker?.close());

/** The last of each shard: what core acknowledges. */
function heads(deliveries: readonly WireDelivery[]): WireDelivery[] {
  return [...new Map(deliveries.map((delivery) => [delivery.shard, delivery])).values()];
}

/** A way to the broker that can be broken. */
async function proxied(): Promise<{ proxy: Awaited<ReturnType<typeof startProxy>>; far: Cluster }> {
  const proxy = await startProxy({ host: broker.host, port: broker.port });
  onTestFinished(() => proxy.close());
  return { proxy, far: await clusterAt([proxy.port], true) };
}

describe.each<Behaviour["groupProtocol"]>(["classic", "consumer"])("a group by the %s protocol", (groupProtocol) => {
  const group = { group: GROUP, with: { groupProtocol } };

  it("starts where it was told once, and goes on behind what it has acknowledged", async () => {
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 3);
    await publish(cluster, topic, names("a", 30));
    const first = await read(cluster, { topic, ...group });
    expect(first.subscription.created).toBe(true);
    const taken = await first.take(30);
    expect(ids(taken).sort()).toEqual(names("a", 30).sort());
    expect(await first.subscription.ack(heads(taken))).toEqual(["confirmed", "confirmed", "confirmed"]);
    await first.subscription.close();
    await publish(cluster, topic, names("b", 30));
    const second = await read(cluster, { topic, ...group, from: EARLIEST });
    expect(second.subscription.created).toBe(false);
    expect(ids(await second.take(30)).sort()).toEqual(names("b", 30).sort());
  });

  it("that starts at the latest gets what is published after subscribing, on every partition", async () => {
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 4);
    await publish(cluster, topic, names("old", 40));
    const reader = await read(cluster, { topic, ...group, from: LATEST });
    await publish(cluster, topic, names("new", 40));
    expect(ids(await reader.take(40)).sort()).toEqual(names("new", 40).sort());
  });

  it("has its start on all partitions when the first subscribing resolves, also when many subscribe at once", async () => {
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 4);
    await publish(cluster, topic, names("old", 8));
    const readers = await Promise.all([1, 2, 3].map(() => read(cluster, { topic, ...group, from: LATEST })));
    expect(Object.keys(await committed(cluster, topic))).toHaveLength(4);
    expect(readers.filter(({ subscription }) => subscription.created)).toHaveLength(1);
  });

  it("keeps what does not move through a rebalance: no delivery comes twice, and what is open can be acknowledged", async () => {
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 4);
    await publish(cluster, topic, names("a", 200));
    const a = await read(cluster, { topic, ...group });
    const before = await a.take(200);
    const b = await read(cluster, { topic, ...group });
    await until(() => a.told.lost.length === 2, "two partitions to move");
    const moved = new Set(a.told.lost);
    const again = await b.take(before.filter(({ shard }) => moved.has(shard.id)).length);
    expect(new Set(again.map(({ shard }) => shard.id))).toEqual(moved);
    await publish(cluster, topic, names("b", 200));
    const kept = before.filter(({ shard }) => !moved.has(shard.id));
    const own = heads(kept);
    const results = await a.subscription.ack(heads(before));
    for (const [n, delivery] of heads(before).entries()) expect(results[n]).toBe(own.includes(delivery) ? "confirmed" : "lost");
    const rest = [...(await a.take(1)), ...(await b.take(1))];
    while (rest.length < 200) {
      rest.push(...(await a.subscription.receive(200, 50, soon())), ...(await b.subscription.receive(200, 50, soon())));
    }
    expect(ids(rest).sort()).toEqual(names("b", 200).sort());
  });

  it("lets what is being handled end, and commits it, before it hands a partition over: nothing comes twice", async () => {
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 2);
    await publish(cluster, topic, names("a", 100));
    const a = await read(cluster, { topic, ...group });
    const taken = await a.take(100);
    const handling = Promise.withResolvers<void>();
    a.told.handled = handling.promise;
    const b = await read(cluster, { topic, ...group });
    await until(() => a.told.releasing.length === 1, "a partition to be asked for");
    expect(await b.subscription.receive(1, 500, soon())).toEqual([]);
    expect(a.told.lost).toEqual([]);
    expect(await a.subscription.ack(heads(taken))).toEqual(["confirmed", "confirmed"]);
    expect(a.told.lost).toEqual([]);
    handling.resolve();
    await until(() => a.told.lost.length === 1, "a partition to move");
    expect(a.told.lost).toEqual(a.told.releasing);
    await publish(cluster, topic, names("b", 100));
    const rest = await b.take(1);
    expect(rest[0]?.id).toMatch(/^b-/);
  });

  it("survives a link that is cut: nothing is lost, nothing comes twice, and acknowledging goes on", async () => {
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 2);
    const { proxy, far } = await proxied();
    const reader = await read(far, { topic, ...group });
    await publish(cluster, topic, names("a", 50));
    const first = await reader.take(50);
    proxy.cut();
    await publish(cluster, topic, names("b", 50));
    const second = await reader.take(50);
    expect(ids(second).sort()).toEqual(names("b", 50).sort());
    proxy.cut();
    expect(await reader.subscription.ack(heads(first))).toEqual(["confirmed", "confirmed"]);
    expect(reader.told.lost).toEqual([]);
    expect(new Set(reader.told.states)).toEqual(new Set(["0 down", "0 up", "1 down", "1 up"]));
  });

  it("is over when its session is: acknowledging says lost and commits nothing, receiving says unavailable", async () => {
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 1);
    await publish(cluster, topic, names("a", 10));
    const { proxy, far } = await proxied();
    const reader = await read(far, { topic, group: GROUP, with: { groupProtocol, sessionTimeoutMs: 1_000 } });
    const taken = await reader.take(10);
    proxy.pause();
    const acked = reader.subscription.ack(taken.slice(4, 5));
    await expect(reader.subscription.receive(1, 20_000, soon())).rejects.toMatchObject({ driverCode: "UNAVAILABLE" });
    expect(reader.told.lost).toEqual(["0"]);
    expect(await acked).toEqual(["lost"]);
    expect(await reader.subscription.ack(heads(taken))).toEqual(["lost"]);
    const next = await read(cluster, { topic, ...group });
    expect(ids(await next.take(10))).toEqual(names("a", 10));
    await next.subscription.close();
    proxy.resume();
    expect(await committed(cluster, topic)).toEqual({ 0: 0 });
  });

  it("of a process that is gone in the middle of acknowledging is taken over without a loss", async () => {
    const dying = await clusterAt([broker.port]);
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 2);
    await publish(cluster, topic, names("a", 200));
    const reader = await read(dying, { topic, group: GROUP, with: { groupProtocol, sessionTimeoutMs: 1_000 } });
    const taken = await reader.take(100);
    void reader.subscription.ack(heads(taken));
    dying.close();
    const next = await read(cluster, { topic, ...group });
    const floor = await committed(cluster, topic);
    const rest = await next.take(200 - (floor[0] ?? 0) - (floor[1] ?? 0));
    const seen = new Set([...ids(taken), ...ids(rest)]);
    expect(seen.size).toBe(200);
  });

  it("reads partitions that are added, from their first record on", async () => {
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 1);
    const reader = await read(cluster, { topic, ...group, from: LATEST });
    const admin = foreign(cluster).admin();
    await admin.connect();
    await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] });
    await admin.disconnect();
    const producer = foreign(cluster).producer();
    await producer.connect();
    // One by one: this producer sends all of a request again when a part of it was refused.
    for (const partition of [0, 1, 2]) await producer.send({ topic, messages: [{ value: `p${partition}`, partition }] });
    await producer.disconnect();
    expect(texts(await reader.take(3)).sort()).toEqual(["p0", "p1", "p2"]);
    expect(reader.told.losses).toEqual([]);
  });

  it("reads its inbox when that appears, and gives delayed records out in time without holding up others", async () => {
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 1);
    const reader = await read(cluster, { topic, ...group });
    const target = { topic, group: GROUP };
    const before = Date.now();
    await stored(publisherOn(cluster), [
      record(topic, "late", { target, delayMs: 1_500, failures: 2 }),
      record(topic, "later", { target, delayMs: 3_000 }),
      record(topic, "now", { target, failures: 1 }),
    ]);
    const [now] = await reader.take(1);
    expect(now).toMatchObject({ id: "now", inbox: true, failures: 1, place: "retry-0:2" });
    expect(await reader.subscription.ack([now as WireDelivery])).toEqual(["confirmed"]);
    const [late] = await reader.take(1);
    expect(Date.now() - before).toBeGreaterThanOrEqual(1_500);
    expect(late).toMatchObject({ id: "late", inbox: true, failures: 2, place: "retry-0:0" });
    expect(await reader.subscription.ack([late as WireDelivery])).toEqual(["confirmed"]);
    // Held back still, so no commit passes it.
    expect(await committed(cluster, topic, inboxOf(topic, GROUP))).toEqual({ 0: 1 });
    const [later] = await reader.take(1);
    expect(await reader.subscription.ack([later as WireDelivery])).toEqual(["confirmed"]);
    expect(await committed(cluster, topic, inboxOf(topic, GROUP))).toEqual({ 0: 3 });
  });
});

describe("a group", () => {
  it("settles once: again, or behind a later head, nothing is changed", async () => {
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 1);
    await publish(cluster, topic, names("a", 5));
    const { subscription, take } = await read(cluster, { topic, group: GROUP });
    const taken = (await take(5)) as [WireDelivery, WireDelivery, WireDelivery, WireDelivery, WireDelivery];
    expect(await subscription.ack([taken[2]])).toEqual(["confirmed"]);
    expect(await subscription.ack([taken[2], taken[0]])).toEqual(["lost", "lost"]);
    expect(await committed(cluster, topic)).toEqual({ 0: 3 });
    expect(await subscription.ack([taken[3], taken[4]])).toEqual(["confirmed", "confirmed"]);
    await subscription.close();
    expect(await subscription.ack([taken[4]])).toEqual(["lost"]);
    expect(await committed(cluster, topic)).toEqual({ 0: 5 });
  });

  it("closes with everything acknowledged committed, twice as well as once, and ends a waiting receive", async () => {
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 1);
    await publish(cluster, topic, names("a", 5));
    const { subscription, take } = await read(cluster, { topic, group: GROUP });
    const taken = await take(5);
    const waiting = subscription.receive(1, 30_000, soon());
    void subscription.ack(taken);
    const begun = performance.now();
    await Promise.all([subscription.close(), subscription.close()]);
    expect(ranFor(begun)).toBeLessThan(3_000);
    expect(await waiting).toEqual([]);
    expect(await committed(cluster, topic)).toEqual({ 0: 5 });
  });

  it("closes in time on a dead link", async () => {
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 1);
    await publish(cluster, topic, names("a", 5));
    const { proxy, far } = await proxied();
    const { subscription, take } = await read(far, { topic, group: GROUP });
    const taken = await take(5);
    proxy.pause();
    const acked = subscription.ack(taken.slice(-1));
    const begun = performance.now();
    await subscription.close();
    expect(ranFor(begun)).toBeLessThan(3_000);
    expect(await acked).toEqual(["lost"]);
  });

  it("does not give out what is paused, and gives all of it out in order when it goes on", async () => {
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 2);
    const producer = foreign(cluster).producer();
    await producer.connect();
    onTestFinished(() => producer.disconnect());
    const send = (partition: number, values: readonly string[]) =>
      producer.send({ topic, messages: values.map((value) => ({ value, partition })) });
    await send(0, names("a", 100));
    const { subscription, take } = await read(cluster, { topic, group: GROUP });
    const first = await take(10);
    subscription.pause?.(["0"]);
    await send(1, names("b", 10));
    expect(texts(await take(10))).toEqual(names("b", 10));
    expect(await subscription.receive(10, 300, soon())).toEqual([]);
    subscription.resume?.(["0"]);
    expect(texts([...first, ...(await take(90))])).toEqual(names("a", 100));
  });

  it("says how much retention took before it was read, and goes on behind it", async () => {
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 1);
    await publish(cluster, topic, names("a", 20));
    const first = await read(cluster, { topic, group: GROUP });
    await first.subscription.ack((await first.take(5)).slice(-1));
    await first.subscription.close();
    await expire(cluster, topic, 0, 12);
    const { take, told } = await read(cluster, { topic, group: GROUP });
    expect(places(await take(8))).toEqual(names("x", 8).map((_, n) => `0:${n + 12}`));
    expect(told.losses).toEqual([{ shard: "0", from: "0:5", to: "0:11", missing: 7 }]);
  });

  it("reads only what transactions have committed, and commits past their markers", async () => {
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 1);
    await transact(cluster, topic, [
      { values: ["a", "b"], end: "commit" },
      { values: ["void"], end: "abort" },
      { values: ["c"], end: "commit" },
    ]);
    const { subscription, take } = await read(cluster, { topic, group: GROUP });
    const taken = await take(3);
    expect(texts(taken)).toEqual(["a", "b", "c"]);
    expect(places(taken)).toEqual(["0:0", "0:1", "0:5"]);
    expect(await subscription.receive(1, 300, soon())).toEqual([]);
    expect(await subscription.ack(taken.slice(-1))).toEqual(["confirmed"]);
    expect(await committed(cluster, topic)).toEqual({ 0: 6 });
    const dirty = await read(cluster, { topic, group: undefined, with: { isolation: "read-uncommitted" } });
    expect(texts(await dirty.take(4))).toEqual(["a", "b", "void", "c"]);
  });

  it("ends with NOT_FOUND when its topic is deleted", async () => {
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 1);
    const { subscription } = await read(cluster, { topic, group: GROUP });
    const waiting = subscription.receive(1, 20_000, soon());
    await cluster.ask("any", "DeleteTopics", [[{ name: topic, topicId: null }], 5_000] as never);
    await expect(waiting).rejects.toMatchObject({ driverCode: "NOT_FOUND" });
  });

  it("is refused for a topic that is not there", async () => {
    cluster = await clusterAt([broker.port]);
    await expect(read(cluster, { topic: "nowhere", group: GROUP })).rejects.toMatchObject({ driverCode: "NOT_FOUND" });
  });

  it("stops receiving when it is told to", async () => {
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 1);
    const { subscription } = await read(cluster, { topic, group: GROUP });
    const stop = new AbortController();
    const waiting = subscription.receive(1, 30_000, stop.signal);
    const begun = performance.now();
    stop.abort();
    expect(await waiting).toEqual([]);
    expect(ranFor(begun)).toBeLessThan(1_000);
  });
});

describe("broadcast", () => {
  it("gives everything to every reader from its start on, and says where that was", async () => {
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 2);
    await publish(cluster, topic, names("old", 20));
    const a = await read(cluster, { topic, from: LATEST });
    const b = await read(cluster, { topic });
    await publish(cluster, topic, names("new", 20));
    const taken = await a.take(20);
    expect(ids(taken).sort()).toEqual(names("new", 20).sort());
    expect(await b.take(40)).toHaveLength(40);
    expect(await a.subscription.ack(taken.slice(0, 1))).toEqual(["confirmed"]);
    const resumed = await read(cluster, { topic, from: { kind: "position", cut: a.subscription.start ?? new Map() } });
    expect(ids(await resumed.take(20)).sort()).toEqual(names("new", 20).sort());
  });

  it("ends with its link, once all that was fetched is given out", async () => {
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 1);
    await publish(cluster, topic, names("a", 10));
    const { proxy, far } = await proxied();
    const { subscription, take } = await read(far, { topic });
    await take(1);
    proxy.refuse();
    proxy.cut();
    expect(ids(await take(9))).toEqual(names("a", 10).slice(1));
    await expect(subscription.receive(1, 20_000, soon())).rejects.toThrow();
  });

  it("says what is missing before a position that retention has passed, and nothing at the earliest", async () => {
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 1);
    await publish(cluster, topic, names("a", 10));
    await expire(cluster, topic, 0, 6);
    const at = await read(cluster, { topic, from: { kind: "position", cut: cutBefore(new Map([[0, 2n]])) } });
    expect(ids(await at.take(4))).toEqual(names("a", 10).slice(6));
    expect(at.told.losses).toEqual([{ shard: "0", from: "0:2", to: "0:5", missing: 4 }]);
    const earliest = await read(cluster, { topic });
    expect(ids(await earliest.take(4))).toEqual(names("a", 10).slice(6));
    expect(earliest.told.losses).toEqual([]);
  });

  it("goes on at the end of a log that was cut back behind it, and says so", async () => {
    cluster = await clusterAt([broker.port]);
    const topic = await topicOn(cluster, 1);
    await publish(cluster, topic, names("a", 3));
    const reader = await read(cluster, { topic, from: { kind: "position", cut: cutBefore(new Map([[0, 9n]])) } });
    await until(async () => (await reader.subscription.receive(1, 50, soon())).length === 0 && reader.told.losses.length > 0, "a loss");
    expect(reader.told.losses).toEqual([{ shard: "0", from: "0:3", to: "0:8", missing: undefined }]);
    await publish(cluster, topic, ["b"]);
    expect(ids(await reader.take(1))).toEqual(["b"]);
  });
});

it("a cluster that is closed under a group leaves no timer behind and settles everything", async () => {
  const endpoint = {
    bootstrap: [{ host: broker.host, port: broker.port }],
    clientId: "gone",
    connectTimeoutMs: 5_000,
    tunnel: false,
    sasl: undefined,
    tls: undefined,
  };
  const mine = await Cluster.open(endpoint, clock, soon());
  const topic = `closed-${process.pid}`;
  await createTopic(mine, topic, 1);
  const { subscription } = await read(mine, { topic, group: GROUP });
  mine.close();
  const begun = performance.now();
  await subscription.close();
  expect(ranFor(begun)).toBeLessThan(3_000);
});
