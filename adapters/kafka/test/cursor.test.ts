import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { startProxy } from "@brokerkit/conformance/faults";
import type { Cursor, Cut, ReplayRequest, WireDelivery } from "brokerkit/driver";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { openCursor } from "../src/cursor.ts";
import type { Behaviour } from "../src/options.ts";
import type { Cluster } from "../src/protocol/cluster.ts";
import { clusterAt, logOf, publisherOn, record, stored, topicOn, until } from "./log.ts";
import { behaviour, EARLIEST, expire, foreign, ids, names, places, publish, soon, Told, texts, transact } from "./reading.ts";
import { startKafka } from "./stage.ts";

let broker: RunningBroker;
beforeAll(async () => {
  broker = await startKafka({ "log.cleaner.backoff.ms": "100", "log.retention.check.interval.ms": "300" });
});
afterAll(() => broker?.close());

interface Opened {
  readonly cursor: Cursor;
  readonly told: Told;
  /** Reads until the end; fails when that does not come. */
  all(): Promise<WireDelivery[]>;
}

async function open(
  cluster: Cluster,
  topic: string,
  request: Partial<ReplayRequest> = {},
  isolation: Behaviour["isolation"] = "read-committed",
): Promise<Opened> {
  const told = new Told();
  const cursor = await openCursor(
    cluster,
    behaviour({ isolation }),
    { topic, from: EARLIEST, follow: false, ...request, events: told.events },
    soon(),
  );
  onTestFinished(() => cursor.close());
  const all = async (): Promise<WireDelivery[]> => {
    const taken: WireDelivery[] = [];
    await until(async () => {
      const { deliveries, atEnd } = await cursor.receive(1_000, 1_000, soon());
      taken.push(...deliveries);
      return atEnd;
    }, "the end");
    return taken;
  };
  return { cursor, told, all };
}

const cut = (...entries: [shard: string, place: string][]): Cut => new Map(entries) as unknown as Cut;

it("reads everything up to its end, which stays where it was when it opened", async () => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster, 3);
  await publish(cluster, topic, names("a", 300));
  const { cursor, all, told } = await open(cluster, topic);
  await publish(cluster, topic, names("b", 30));
  expect(ids(await all()).sort()).toEqual(names("a", 300).sort());
  expect([...cursor.end.values()].map((place) => Number(place.split(":")[1]) + 1).reduce((sum, n) => sum + n)).toBe(300);
  expect(await cursor.receive(1, 10_000, soon())).toEqual({ deliveries: [], atEnd: true });
  expect(told.losses).toEqual([]);
});

it("is at the end of an empty topic at once", async () => {
  const cluster = await clusterAt([broker.port]);
  const { cursor } = await open(cluster, await topicOn(cluster, 2));
  expect(cursor.end.size).toBe(0);
  expect(await cursor.receive(1, 10_000, soon())).toEqual({ deliveries: [], atEnd: true });
});

it("keeps the order of each partition, and lets none wait for another", async () => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster, 2);
  const producer = foreign(cluster).producer();
  await producer.connect();
  onTestFinished(() => producer.disconnect());
  for (const partition of [0, 1]) {
    await producer.send({ topic, messages: names(String(partition), 2_000).map((value) => ({ value, partition })) });
  }
  const { cursor, all } = await open(cluster, topic);
  const sample: WireDelivery[] = [];
  await until(async () => {
    sample.push(...(await cursor.receive(100, 1_000, soon())).deliveries);
    return sample.length >= 1_000;
  }, "1,000 records");
  const counts = [0, 1].map((partition) => sample.filter(({ shard }) => shard.id === String(partition)).length);
  expect(Math.min(...counts)).toBeGreaterThan(200);
  const everything = [...sample, ...(await all())];
  for (const partition of ["0", "1"]) {
    expect(texts(everything.filter(({ shard }) => shard.id === partition))).toEqual(names(partition, 2_000));
  }
});

it("begins behind a position, ends at one, and ends at once when it begins behind the end", async () => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster, 1);
  await publish(cluster, topic, names("a", 10));
  const from = { kind: "position", cut: cut(["0", "0:2"]) } as const;
  const to = { kind: "position", cut: cut(["0", "0:5"]) } as const;
  const part = await open(cluster, topic, { from, to });
  expect(places(await part.all())).toEqual(["0:3", "0:4", "0:5"]);
  expect(part.cursor.end).toEqual(to.cut);
  const beyond = await open(cluster, topic, { from: { kind: "position", cut: cut(["0", "0:99"]) } });
  expect(await beyond.cursor.receive(1, 10_000, soon())).toEqual({ deliveries: [], atEnd: true });
  expect(beyond.told.losses).toEqual([]);
  const turned = await open(cluster, topic, { from: to, to: from });
  expect(await turned.cursor.receive(1, 10_000, soon())).toEqual({ deliveries: [], atEnd: true });
});

it("begins at a time and ends before one", async () => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster, 1);
  const now = Date.now();
  await stored(
    publisherOn(cluster),
    names("a", 10).map((id, n) => record(topic, id, { publishedAt: now - 10_000 + n * 1_000 })),
  );
  const { all } = await open(cluster, topic, { from: { kind: "time", ms: now - 7_500 }, to: { kind: "time", ms: now - 4_000 } });
  expect(ids(await all())).toEqual(["a-3", "a-4", "a-5"]);
  const future = await open(cluster, topic, { from: { kind: "time", ms: now + 60_000 } });
  expect(await future.all()).toEqual([]);
});

it("follows: says when it was at the end, waits, and goes on, in new partitions too", async () => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster, 1);
  await publish(cluster, topic, names("a", 5));
  const { cursor, all } = await open(cluster, topic, { follow: true });
  expect(ids(await all())).toEqual(names("a", 5));
  const waiting = cursor.receive(10, 20_000, soon());
  await publish(cluster, topic, ["b"]);
  expect(await waiting).toMatchObject({ deliveries: [{ id: "b" }], atEnd: true });
  const admin = foreign(cluster).admin();
  await admin.connect();
  await admin.createPartitions({ topicPartitions: [{ topic, count: 2 }] });
  await admin.disconnect();
  const producer = foreign(cluster).producer();
  await producer.connect();
  await producer.send({ topic, messages: [{ value: "c", partition: 1 }] });
  await producer.disconnect();
  const { deliveries } = await cursor.receive(10, 20_000, soon());
  expect(texts(deliveries)).toEqual(["c"]);
});

it("says what is missing before a position that retention has passed", async () => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster, 1);
  await publish(cluster, topic, names("a", 10));
  await expire(cluster, topic, 0, 7);
  const { all, told } = await open(cluster, topic, { from: { kind: "position", cut: cut(["0", "0:1"]) } });
  expect(ids(await all())).toEqual(["a-7", "a-8", "a-9"]);
  expect(told.losses).toEqual([{ shard: "0", from: "0:2", to: "0:6", missing: 5 }]);
  const earliest = await open(cluster, topic);
  expect(ids(await earliest.all())).toEqual(["a-7", "a-8", "a-9"]);
  expect(earliest.told.losses).toEqual([]);
});

it("comes to the end where only transaction markers and what was given up are left", async () => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster, 1);
  await transact(cluster, topic, [
    { values: ["a"], end: "commit" },
    { values: ["void", "void"], end: "abort" },
  ]);
  const { cursor, all } = await open(cluster, topic);
  expect(cursor.end.get("0")).toBe("0:4");
  expect(texts(await all())).toEqual(["a"]);
  const dirty = await open(cluster, topic, {}, "read-uncommitted");
  expect(texts(await dirty.all())).toEqual(["a", "void", "void"]);
});

it("reads what a producer committed behind a transaction of which it sees only the marker", async () => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster, 1);
  await transact(cluster, topic, [
    { values: ["void"], end: "abort" },
    { values: ["a"], end: "commit" },
  ]);
  const { all } = await open(cluster, topic, { from: { kind: "position", cut: cut(["0", "0:0"]) } });
  expect(texts(await all())).toEqual(["a"]);
});

it("passes over what compaction has left out, and comes to the end", async () => {
  const cluster = await clusterAt([broker.port]);
  const configs = { "cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01", "max.compaction.lag.ms": "100" };
  const topic = await topicOn(cluster, 1, { ...configs, "delete.retention.ms": "0" });
  const keyed = (id: string, key: string) => record(topic, id, { key: Buffer.from(key) });
  const publisher = publisherOn(cluster);
  const puts = names("a", 9).map((id, n) => keyed(id, `k${n % 3}`));
  await stored(publisher, [...puts, { ...keyed("gone", "k9"), body: null }]);
  // A segment is rolled by the next record, and the cleaner leaves the newest segment alone.
  let more = 0;
  await until(
    async () => {
      await stored(publisher, [keyed(`z-${more++}`, "z")]);
      return !(await logOf(cluster, topic)).some(({ id }) => id === "a-0" || id === "gone");
    },
    "the cleaner",
    30_000,
  );
  const { all, told } = await open(cluster, topic, { from: { kind: "position", cut: cut(["0", "0:0"]) } });
  const read = await all();
  expect(ids(read).slice(0, 3)).toEqual(["a-6", "a-7", "a-8"]);
  expect(places(read).slice(0, 3)).toEqual(["0:6", "0:7", "0:8"]);
  expect(told.losses).toEqual([]);
});

it("ends with its link, and stops when it is told to", async () => {
  const cluster = await clusterAt([broker.port]);
  const topic = await topicOn(cluster, 1);
  const proxy = await startProxy({ host: broker.host, port: broker.port });
  onTestFinished(() => proxy.close());
  const { cursor } = await open(await clusterAt([proxy.port], true), topic, { follow: true });
  await publish(cluster, topic, ["a"]);
  expect((await cursor.receive(1, 20_000, soon())).deliveries).toHaveLength(1);
  const stop = new AbortController();
  const stopped = cursor.receive(1, 20_000, stop.signal);
  stop.abort();
  expect((await stopped).deliveries).toEqual([]);
  const waiting = cursor.receive(1, 20_000, soon());
  proxy.cut();
  await expect(waiting).rejects.toThrow();
  const closed = await open(cluster, topic, { follow: true });
  const ended = closed.cursor.receive(1, 20_000, soon());
  await closed.cursor.close();
  expect((await ended).deliveries).toEqual([]);
});

it("nothing is sent over a cluster that is closed, whoever asks for a line of it", async () => {
  const cluster = await clusterAt([broker.port]);
  cluster.close();
  await expect(cluster.line().ask("any", "Metadata", [[], false, false])).rejects.toMatchObject({ driverCode: "UNAVAILABLE" });
});
