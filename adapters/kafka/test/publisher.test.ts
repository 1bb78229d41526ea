import { systemClock as clock, ranFor } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { type FaultProxy, startProxy } from "@brokerkit/conformance/faults";
import type { Clock, PublishResult, WireRecord } from "brokerkit/driver";
import { type IHeaders, Kafka, logLevel } from "kafkajs";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { classify } from "../src/errors.ts";
import { protocolName } from "../src/protocol/client-error.ts";
import type { Cluster } from "../src/protocol/cluster.ts";
import { REQUEST_MS } from "../src/protocol/line.ts";
import { hashKey } from "../src/protocol/records.ts";
import { clusterAt, createTopic, idsIn, keyed, logOf, publisherOn, record, stored, topicOn, until } from "./log.ts";
import { type RunningCluster, startCluster, startKafka } from "./stage.ts";

let broker: RunningBroker;
beforeAll(async () => {
  broker = await startKafka();
});
afterAll(() => broker?.close());

const soon = (ms = 10_000): AbortSignal => AbortSignal.timeout(ms);
const direct = (): Promise<Cluster> => clusterAt([broker.port]);
const names = (count: number, prefix = "m"): string[] => Array.from({ length: count }, (_, n) => `${prefix}-${n}`);
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** What became of each record: "ok", or whether it may have been stored and the code of its error. */
function outcomes(results: readonly PublishResult[]): string[] {
  return results.map((result) => {
    if (result.ok) return "ok";
    const { code, retryable } = classify(result.error);
    return `${result.sent} ${code}${retryable ? " again" : ""}`;
  });
}

async function proxied(): Promise<FaultProxy> {
  const proxy = await startProxy({ host: "127.0.0.1", port: broker.port });
  onTestFinished(() => proxy.close());
  return proxy;
}

test("a call keeps its order, the next one follows, and places tell where", async () => {
  const cluster = await direct();
  const topic = await topicOn(cluster);
  const publisher = publisherOn(cluster);
  expect(await stored(publisher, [keyed(topic, "a", "k"), keyed(topic, "b", "l"), record(topic, "c")])).toEqual(["0:0", "0:1", "0:2"]);
  expect(await stored(publisher, [keyed(topic, "d", "k")])).toEqual(["0:3"]);
  expect(await idsIn(cluster, topic)).toEqual(["a", "b", "c", "d"]);
});

test("one call goes to many topics, and a missing one spoils only its own records", async () => {
  const cluster = await direct();
  const [one, two] = [await topicOn(cluster, 2), await topicOn(cluster, 3)];
  const batch = names(30).map((id, n) => keyed([one, two, "missing"][n % 3] as string, id, id));
  const results = await publisherOn(cluster).publish(batch, soon());
  expect(outcomes(results)).toEqual(batch.map(({ target }) => (target.topic === "missing" ? "no NOT_FOUND" : "ok")));
  const found = [...(await logOf(cluster, one)), ...(await logOf(cluster, two))].map(({ id }) => id).sort();
  expect(found).toEqual(
    batch
      .filter(({ target }) => target.topic !== "missing")
      .map(({ id }) => id)
      .sort(),
  );
  expect((await cluster.topics(["missing"], soon(), 0)).get("missing")).toBeUndefined();
});

test("a topic that was missing a moment ago is found", async () => {
  const cluster = await direct();
  const topic = `late-${process.pid}`;
  const publisher = publisherOn(cluster);
  expect(outcomes(await publisher.publish([record(topic, "a")], soon()))).toEqual(["no NOT_FOUND"]);
  await createTopic(await direct(), topic, 1);
  expect(await stored(publisher, [record(topic, "a")])).toEqual(["0:0"]);
});

test("records lie where their key belongs; without a key, one call goes to one partition and the next to the next", async () => {
  const cluster = await direct();
  const topic = await topicOn(cluster, 5);
  const publisher = publisherOn(cluster);
  const places = await stored(
    publisher,
    names(200).map((id) => keyed(topic, id, id)),
  );
  expect(places.map((place) => place?.split(":")[0])).toEqual(names(200).map((id) => String(hashKey(Buffer.from(id)) % 5)));
  const free: Set<string>[] = [];
  for (let n = 0; n < 5; n++) {
    const found = await stored(
      publisher,
      names(20).map((id) => record(topic, id)),
    );
    free.push(new Set(found.map((place) => place?.split(":")[0] ?? "")));
  }
  expect(free.map(({ size }) => size)).toEqual([1, 1, 1, 1, 1]);
  expect(new Set(free.flatMap((seen) => [...seen])).size).toBe(5);
});

test("bodies, keys, headers and times arrive as they were given, at kafkajs too", async () => {
  const cluster = await direct();
  const topic = await topicOn(cluster);
  const headers: WireRecord["headers"] = [
    ["b", Buffer.from([0, 200])],
    ["a", Buffer.from("1")],
    ["b", Buffer.alloc(0)],
  ];
  const now = Date.now();
  await stored(publisherOn(cluster), [
    record(topic, "first", { headers, publishedAt: now - 5_000, key: Buffer.alloc(0) }),
    keyed(topic, "gone", "k"),
    record(topic, "old", { publishedAt: 1_000, body: Buffer.alloc(0) }),
    { ...keyed(topic, "gone", "k"), body: null },
  ]);
  const [first, , old, gone] = await logOf(cluster, topic);
  expect(first).toMatchObject({ key: "", value: "body of first", timestamp: now - 5_000 });
  expect(first?.headers).toEqual([["brokerkit-id", Buffer.from("first")], ...headers]);
  expect(old).toMatchObject({ key: undefined, value: "" });
  expect(old?.headers.slice(1)).toEqual([["brokerkit-published", Buffer.from("1000")]]);
  expect(Math.abs((old?.timestamp ?? 0) - Date.now())).toBeLessThan(30_000);
  expect(gone).toMatchObject({ key: "k", value: undefined });

  const consumer = new Kafka({ brokers: [`127.0.0.1:${broker.port}`], logLevel: logLevel.NOTHING }).consumer({
    groupId: `${topic}-kafkajs`,
  });
  await consumer.connect();
  onTestFinished(() => consumer.disconnect());
  await consumer.subscribe({ topic, fromBeginning: true });
  const read: { value: string | undefined; headers: IHeaders | undefined }[] = [];
  await consumer.run({
    eachMessage: async ({ message }) => void read.push({ value: message.value?.toString(), headers: message.headers }),
  });
  await until(() => read.length === 4, "kafkajs");
  expect(read[0]?.headers).toEqual({
    "brokerkit-id": Buffer.from("first"),
    a: Buffer.from("1"),
    b: [Buffer.from([0, 200]), Buffer.alloc(0)],
  });
  expect(read.map(({ value }) => value)).toEqual(["body of first", "body of gone", "", undefined]);
});

test.each(["gzip", "snappy", "lz4", "zstd"] as const)("what was compressed by %s reads the same", async (compression) => {
  const cluster = await direct();
  const topic = await topicOn(cluster, 2);
  const batch = names(500).map((id) => keyed(topic, id, `key-${id}`));
  await stored(publisherOn(cluster, undefined, compression), batch);
  const log = await logOf(cluster, topic);
  expect(log.every(({ compressed }) => compressed)).toBe(true);
  expect(log.map(({ id, value }) => `${id} ${value}`).sort()).toEqual(batch.map(({ id }) => `${id} body of ${id}`).sort());
});

test("ten thousand records of a hundred keys lie in order", async () => {
  const cluster = await direct();
  const topic = await topicOn(cluster, 4);
  const publisher = publisherOn(cluster);
  for (let from = 0; from < 10_000; from += 5_000) {
    await stored(
      publisher,
      Array.from({ length: 5_000 }, (_, n) => keyed(topic, String(from + n), `k-${(from + n) % 100}`)),
    );
  }
  const log = await logOf(cluster, topic);
  expect(new Set(log.map(({ id }) => id)).size).toBe(10_000);
  for (let key = 0; key < 100; key++) {
    const found = log.filter((one) => one.key === `k-${key}`).map(({ id }) => Number(id));
    expect(found).toEqual(Array.from({ length: 100 }, (_, n) => n * 100 + key));
  }
});

test("a partition's share beyond the topic's limit goes in rounds", async () => {
  const cluster = await direct();
  const topic = await topicOn(cluster, 1, { "max.message.bytes": "2000" });
  await stored(
    publisherOn(cluster, { limitOf: () => 2_000 }),
    names(100).map((id) => keyed(topic, id, "k")),
  );
  const log = await logOf(cluster, topic);
  expect(log.map(({ id }) => id)).toEqual(names(100));
  expect(log.at(-1)?.batch).toBeGreaterThanOrEqual(2);
});

test("records without a key go on in the next partition rather than in another round", async () => {
  const cluster = await direct();
  const topic = await topicOn(cluster, 3, { "max.message.bytes": "2000" });
  await stored(
    publisherOn(cluster, { limitOf: () => 2_000 }),
    names(100).map((id) => record(topic, id)),
  );
  const log = await logOf(cluster, topic);
  expect(log.map(({ id }) => id).sort()).toEqual(names(100).sort());
  expect(log.map(({ batch }) => batch)).toEqual(log.map(() => 0));
  expect(new Set(log.map(({ partition }) => partition)).size).toBe(3);
});

test("where a round is refused, nothing after it follows in that partition", async () => {
  const cluster = await direct();
  const topic = await topicOn(cluster, 2, { "max.message.bytes": "2000" });
  const [key, other] = ["a", "b", "c", "d"].sort(
    (one, two) => (hashKey(Buffer.from(one)) % 2) - (hashKey(Buffer.from(two)) % 2),
  ) as string[];
  const large = { ...keyed(topic, "large", "a"), key: Buffer.from(key as string), body: Buffer.alloc(5_000) };
  const last = ["d", "c", "b", "a"].find((one) => hashKey(Buffer.from(one)) % 2 !== hashKey(Buffer.from(key as string)) % 2) ?? other;
  const batch = [keyed(topic, "x", key as string), large, keyed(topic, "y", key as string), keyed(topic, "z", last as string)];
  const publisher = publisherOn(cluster, { limitOf: () => 2_000 });
  expect(outcomes(await publisher.publish(batch, soon()))).toEqual(["ok", "no TOO_LARGE", "no UNAVAILABLE again", "ok"]);
  expect((await idsIn(cluster, topic)).toSorted()).toEqual(["x", "z"]);
  expect(await stored(publisher, [keyed(topic, "y", key as string)])).toEqual([expect.stringMatching(/:1$/)]);
});

test("a limit that proves to be lower makes batches smaller until they fit", async () => {
  const cluster = await direct();
  const topic = await topicOn(cluster, 1, { "max.message.bytes": "1000" });
  const publisher = publisherOn(cluster);
  let left = names(60).map((id) => keyed(topic, id, "k"));
  for (let calls = 0; left.length > 0; calls++) {
    expect(calls).toBeLessThan(8);
    const results = await publisher.publish(left, soon());
    expect(outcomes(results).filter((outcome) => outcome !== "ok" && outcome !== "no UNAVAILABLE again")).toEqual([]);
    left = left.filter((_, n) => results[n]?.ok === false);
  }
  expect(await idsIn(cluster, topic)).toEqual(names(60));
});

test("a compacted topic refuses records without a key, and they alone are at fault", async () => {
  const cluster = await direct();
  const topic = await topicOn(cluster, 1, { "cleanup.policy": "compact" });
  const publisher = publisherOn(cluster);
  const results = await publisher.publish([keyed(topic, "a", "k"), record(topic, "b"), keyed(topic, "c", "k")], soon());
  expect(outcomes(results)).toEqual(["no UNAVAILABLE again", "no INVALID_ARGUMENT", "no UNAVAILABLE again"]);
  expect(String((results[1] as { error: unknown }).error)).toMatch(/without (a )?key/i);
  expect(await stored(publisher, [keyed(topic, "a", "k"), keyed(topic, "c", "k")])).toEqual(["0:0", "0:1"]);
});

test("a time that the topic does not take is the clock's fault", async () => {
  const cluster = await direct();
  const topic = await topicOn(cluster, 1, { "message.timestamp.before.max.ms": "1000" });
  const results = await publisherOn(cluster).publish([record(topic, "a", { publishedAt: Date.now() - 30_000 })], soon());
  expect(outcomes(results)).toEqual(["no INVALID_ARGUMENT"]);
  expect(String((results[0] as { error: unknown }).error)).toMatch(/clock/);
});

test("the first message for a group makes its inbox, as the topic is, once", async () => {
  const cluster = await direct();
  const topic = await topicOn(cluster, 3, { "max.message.bytes": "5000", "cleanup.policy": "compact" });
  const made: string[] = [];
  const reader = (name: string) => ({ topic: name, refresh: () => void made.push(name), close: () => {} });
  cluster.readers.add(reader(topic)).add(reader("another"));
  const [one, two] = [publisherOn(cluster), publisherOn(cluster)];
  const target = { topic, group: "g" };
  const now = Date.now();
  const batch = names(20).map((id) => ({ ...keyed(topic, id, id), target, failures: 2, delayMs: 60_000 }));
  const places = (await Promise.all([one, two].map((publisher) => stored(publisher, batch)))).flat();
  expect(new Set(made)).toEqual(new Set([topic]));
  const shards = names(20).map((id) => `retry-${hashKey(Buffer.from(id)) % 3}`);
  expect(places.map((place) => place?.split(":")[0])).toEqual([...shards, ...shards]);
  const log = await logOf(cluster, `${topic}.g.retry`);
  expect(log.length).toBe(40);
  const headers = new Map(log[0]?.headers);
  expect(headers.get("brokerkit-failures")?.toString()).toBe("2");
  expect(Math.abs(Number(headers.get("brokerkit-due")) - now - 60_000)).toBeLessThan(10_000);
  // As long as the topic's longest, though it bears more headers; and nothing in it is compacted away.
  const long = { ...keyed(topic, "long", "k"), target, failures: 1, body: Buffer.alloc(4_850) };
  await stored(one, [long, { ...record(topic, "free"), target }]);
  expect(await idsIn(cluster, topic)).toEqual([]);
});

test("a call that waits for another ends when its signal does, with nothing sent", async () => {
  const proxy = await proxied();
  const cluster = await clusterAt([proxy.port], true);
  const topic = await topicOn(cluster);
  const publisher = publisherOn(cluster);
  await stored(publisher, [record(topic, "a")]);
  proxy.pause();
  const stop = new AbortController();
  const first = publisher.publish([record(topic, "b")], stop.signal);
  const second = publisher.publish([record(topic, "c")], AbortSignal.timeout(100));
  expect(outcomes(await second)).toEqual(["no TIMEOUT again"]);
  stop.abort();
  await first;
});

test("calls that overlap are stored one after the other", async () => {
  const cluster = await direct();
  const topic = await topicOn(cluster);
  const publisher = publisherOn(cluster);
  const places = await Promise.all(names(20).map((id) => stored(publisher, [keyed(topic, id, "k")])));
  expect(places.flat()).toEqual(names(20).map((_, n) => `0:${n}`));
  expect(await idsIn(cluster, topic)).toEqual(names(20));
});

test("there is no inbox of a topic that is missing", async () => {
  const cluster = await direct();
  const results = await publisherOn(cluster).publish([{ ...record("missing", "a"), target: { topic: "missing", group: "g" } }], soon());
  expect(outcomes(results)).toEqual(["no NOT_FOUND"]);
  expect((await cluster.topics(["missing.g.retry"], soon(), 0)).get("missing.g.retry")).toBeUndefined();
});

test("a topic made anew under its name is found again", async () => {
  const cluster = await direct();
  const topic = await topicOn(cluster, 2);
  const publisher = publisherOn(cluster);
  await stored(
    publisher,
    names(20).map((id) => keyed(topic, id, id)),
  );
  const other = await direct();
  await other.ask("any", "DeleteTopics", [[{ name: topic }], 10_000]);
  await until(async () => (await other.topics([topic], soon(), 0)).get(topic) === undefined, "deletion");
  await createTopic(other, topic, 1);
  let results: readonly PublishResult[] = [];
  await until(async () => {
    results = await publisher.publish(
      names(20).map((id) => keyed(topic, id, id)),
      soon(),
    );
    expect(outcomes(results).filter((outcome) => !["ok", "no UNAVAILABLE again"].includes(outcome))).toEqual([]);
    return results.every(({ ok }) => ok);
  }, "the new topic");
  expect((await idsIn(cluster, topic)).length).toBeGreaterThanOrEqual(20);
});

test("cut off before the answer: in doubt, stored once; the next call goes on", async () => {
  const proxy = await proxied();
  const cluster = await clusterAt([proxy.port], true);
  const topic = await topicOn(cluster);
  const publisher = publisherOn(cluster);
  await stored(publisher, [keyed(topic, "a", "k")]);
  const cut = proxy.cutWhen({ direction: "up", when: (bytes) => bytes.includes("marked"), at: "answered" });
  expect(outcomes(await publisher.publish([keyed(topic, "marked", "k"), keyed(topic, "c", "k")], soon()))).toEqual([
    "maybe UNAVAILABLE again",
    "maybe UNAVAILABLE again",
  ]);
  expect(await cut).toBe(true);
  expect(await idsIn(cluster, topic)).toEqual(["a", "marked", "c"]);
  expect(await stored(publisher, [keyed(topic, "d", "k")])).toEqual(["0:3"]);
  expect(await stored(publisher, [keyed(topic, "e", "k")])).toEqual(["0:4"]);
  const log = await logOf(cluster, topic);
  expect(new Set(log.map(({ producerId }) => producerId)).size).toBe(1);
  expect(log.map(({ epoch }) => epoch)).toEqual([0, 0, 0, 1, 1]);
});

test("a producer that the server knows better begins anew; what it refused was not stored", async () => {
  const cluster = await direct();
  const topic = await topicOn(cluster);
  const publisher = publisherOn(cluster);
  await stored(publisher, [keyed(topic, "a", "k")]);
  const [first] = await logOf(cluster, topic);
  // Somebody goes on under the same id.
  const origin = { producerId: first?.producerId ?? 0n, producerEpoch: (first?.epoch ?? 0) + 5 };
  await cluster.ask(1, "Produce", [-1, 5_000, [{ topic, partition: 0, value: Buffer.from("b") }], { ...origin, compression: "none" }]);
  expect(outcomes(await publisher.publish([keyed(topic, "c", "k")], soon()))).toEqual(["no UNAVAILABLE again"]);
  expect(await stored(publisher, [keyed(topic, "c", "k")])).toEqual(["0:2"]);
  expect(await stored(publisher, [keyed(topic, "d", "k")])).toEqual(["0:3"]);
  const log = await logOf(cluster, topic);
  expect(log[2]?.producerId).not.toBe(first?.producerId);
  expect(log[3]).toMatchObject({ producerId: log[2]?.producerId, epoch: log[2]?.epoch });
});

test("cut off before the server saw it: in doubt, not stored", async () => {
  const proxy = await proxied();
  const cluster = await clusterAt([proxy.port], true);
  const topic = await topicOn(cluster);
  const publisher = publisherOn(cluster);
  await stored(publisher, [keyed(topic, "a", "k")]);
  const cut = proxy.cutWhen({ direction: "up", when: (bytes) => bytes.includes("marked"), at: "before" });
  expect(outcomes(await publisher.publish([keyed(topic, "marked", "k")], soon()))).toEqual(["maybe UNAVAILABLE again"]);
  expect(await cut).toBe(true);
  expect(await stored(publisher, [keyed(topic, "marked", "k")])).toEqual(["0:1"]);
  expect(await idsIn(cluster, topic)).toEqual(["a", "marked"]);
});

test("nothing to connect to: nothing was sent, and that is said at once", async () => {
  const proxy = await proxied();
  const cluster = await clusterAt([proxy.port], true);
  const topic = await topicOn(cluster);
  const publisher = publisherOn(cluster);
  await stored(publisher, [record(topic, "a")]);
  const { open } = proxy.statistics;
  expect(open).toBeGreaterThan(0);
  proxy.refuse();
  proxy.reset();
  await until(() => proxy.statistics.open === 0, "the cut");
  await turn();
  const begun = performance.now();
  let results: readonly PublishResult[] = [];
  // The first call may still find the connection whose end has not been noticed.
  await until(async () => {
    results = await publisher.publish([record(topic, "b")], soon());
    return !(results[0]?.ok === false && results[0].sent === "maybe");
  }, "a refusal");
  expect(outcomes(results)).toEqual(["no UNAVAILABLE again"]);
  expect(ranFor(begun)).toBeLessThan(1_000);
  await proxy.heal();
  await stored(publisher, [record(topic, "b")]);
});

test("an abort settles the call: before anything was sent for sure, and in doubt after", async () => {
  const proxy = await proxied();
  const cluster = await clusterAt([proxy.port], true);
  const topic = await topicOn(cluster);
  const publisher = publisherOn(cluster);
  expect(outcomes(await publisher.publish([record(topic, "never")], AbortSignal.abort()))).toEqual(["no ABORTED"]);
  await stored(publisher, [record(topic, "a")]);
  proxy.pause();
  const leave = new AbortController();
  const waiting = publisher.publish([record(topic, "b"), record("missing", "c")], leave.signal);
  await turn();
  const begun = performance.now();
  leave.abort();
  const [first, second] = outcomes(await waiting);
  expect(ranFor(begun)).toBeLessThan(500);
  expect([first, second]).toEqual(["no ABORTED", "no ABORTED"]);
  proxy.resume();
  // What is known of the cluster is asked over another connection, which the abort has ended.
  await until(async () => (await publisher.publish([record(topic, "d")], soon()))[0]?.ok === true, "a new connection");
  proxy.pause("down");
  const again = new AbortController();
  const sent = publisher.publish([record(topic, "e")], again.signal);
  await turn();
  again.abort();
  expect(outcomes(await sent)).toEqual(["maybe ABORTED"]);
  await proxy.heal();
  await stored(publisher, [record(topic, "f")]);
  const ids = await idsIn(cluster, topic);
  expect(ids.filter((id) => id !== "e")).toEqual(["a", "d", "f"]);
});

test("bytes of a call that was given up do not get behind newer ones", async () => {
  const proxy = await proxied();
  const cluster = await direct();
  const topic = await topicOn(cluster);
  // Only what is published goes through the proxy, and past it once that refuses.
  const way = await clusterAt([proxy.port, broker.port], true);
  const parted = new Proxy(cluster, {
    get(target, name) {
      const value: unknown = Reflect.get(name === "line" ? way : target, name, name === "line" ? way : target);
      return typeof value === "function" ? value.bind(name === "line" ? way : target) : value;
    },
  });
  const publisher = publisherOn(parted);
  const { open } = proxy.statistics;
  await stored(publisher, [keyed(topic, "a", "k")]);
  expect(proxy.statistics.open).toBe(open + 1);
  proxy.pause("up");
  const leave = new AbortController();
  const waiting = publisher.publish([keyed(topic, "late", "k")], leave.signal);
  await turn();
  leave.abort();
  expect(outcomes(await waiting)).toEqual(["maybe ABORTED"]);
  proxy.refuse();
  expect(await stored(publisher, [keyed(topic, "newer", "k")])).toEqual(["0:1"]);
  const { passed } = proxy.statistics.up;
  proxy.resume();
  await until(() => proxy.statistics.open === open, "the end of the late bytes");
  expect(proxy.statistics.up.passed).toBeGreaterThan(passed + 100);
  expect(await stored(publisher, [keyed(topic, "newest", "k")])).toEqual(["0:2"]);
  expect(await idsIn(cluster, topic)).toEqual(["a", "newer", "newest"]);
});

test("a server that does not answer is given up on, in doubt", async () => {
  let late: (() => void) | undefined;
  const timer: Clock["timer"] = (ms, run) => {
    if (ms !== REQUEST_MS) return clock.timer(ms, run);
    late = run;
    return {
      cancel: () => {
        late = undefined;
      },
    };
  };
  const proxy = await proxied();
  const cluster = await clusterAt([proxy.port], true, { clock: { ...clock, timer } });
  const topic = await topicOn(cluster);
  const publisher = publisherOn(cluster);
  await stored(publisher, [record(topic, "a")]);
  expect(late).toBeUndefined();
  proxy.drop("down");
  const waiting = publisher.publish([record(topic, "b")], soon());
  await turn();
  late?.();
  expect(outcomes(await waiting)).toEqual(["maybe TIMEOUT again"]);
  await proxy.heal();
  await until(async () => (await publisher.publish([record(topic, "c")], soon()))[0]?.ok === true, "a new connection");
});

test("after close nothing is sent, and what is under way is in doubt", async () => {
  const proxy = await proxied();
  const cluster = await clusterAt([proxy.port], true);
  const topic = await topicOn(cluster);
  const publisher = publisherOn(cluster);
  await stored(publisher, [record(topic, "a")]);
  proxy.pause("down");
  const waiting = publisher.publish([record(topic, "b")], soon());
  await turn();
  publisher.close();
  publisher.close();
  expect(outcomes(await waiting)).toEqual(["maybe UNAVAILABLE again"]);
  proxy.resume();
  expect(outcomes(await publisher.publish([record(topic, "c")], soon()))).toEqual(["no UNAVAILABLE again"]);
  const second = publisherOn(cluster);
  cluster.close();
  expect(outcomes(await second.publish([record(topic, "d")], soon()))).toEqual(["no UNAVAILABLE again"]);
});

test("a topic that may not be written to, or not even looked at, spoils only its own records", { timeout: 60_000 }, async () => {
  const own = await startKafka({ sasl: "boss:b ann:a", acl: "boss" });
  onTestFinished(() => own.close());
  const login = (username: string) => ({ sasl: { mechanism: "PLAIN" as const, username, password: username.charAt(0) } });
  const boss = await clusterAt([own.port], false, login("boss"));
  const [mine, seen, hidden] = [await topicOn(boss), await topicOn(boss), await topicOn(boss)];
  const { createAclsV3, AclOperations, AclPermissionTypes, ResourcePatternTypes, ResourceTypes } = boss.client;
  const rule = (resourceName: string, operation: 4 | 8) => ({
    resourceType: ResourceTypes.TOPIC,
    resourceName,
    resourcePatternType: ResourcePatternTypes.LITERAL,
    principal: "User:ann",
    host: "*",
    operation,
    permissionType: AclPermissionTypes.ALLOW,
  });
  const rules = [rule(mine, AclOperations.WRITE), rule(seen, AclOperations.DESCRIBE)];
  await boss.line().call("any", createAclsV3.api.async, [rules]);
  const publisher = publisherOn(await clusterAt([own.port], false, login("ann")));
  const batch = [mine, seen, hidden, mine].map((topic, n) => record(topic, `m-${n}`));
  expect(outcomes(await publisher.publish(batch, soon()))).toEqual(["ok", "no FORBIDDEN", "no FORBIDDEN", "ok"]);
  expect(await idsIn(boss, mine)).toEqual(["m-0", "m-3"]);
});

test("the server is killed under load: what was confirmed is there once, and each key is in order", { timeout: 60_000 }, async () => {
  const own = await startKafka();
  onTestFinished(() => own.close());
  const cluster = await clusterAt([own.port]);
  const topic = await topicOn(cluster, 3);
  const publisher = publisherOn(cluster);
  const doubted = new Set<string>();
  let confirmed = 0;
  let killed: Promise<void> | undefined;
  for (let n = 0; n < 1_000; n += 5) {
    let left = names(1_000)
      .slice(n, n + 5)
      .map((id, each) => keyed(topic, id, `k-${(n + each) % 7}`));
    while (left.length > 0) {
      const results = await publisher.publish(left, soon());
      results.forEach((result, each) => {
        if (!result.ok && result.sent === "maybe") doubted.add((left[each] as WireRecord).id);
      });
      left = left.filter((_, each) => results[each]?.ok === false);
      if (left.length > 0) await killed;
    }
    confirmed += 5;
    if (confirmed === 300) killed = own.kill().then(() => own.restart());
  }
  const log = await logOf(cluster, topic);
  const copies = Map.groupBy(log, ({ id }) => id);
  for (const id of names(1_000)) {
    const count = copies.get(id)?.length ?? 0;
    expect(count).toBeGreaterThanOrEqual(1);
    expect(count).toBeLessThanOrEqual(doubted.has(id) ? 2 : 1);
  }
  for (let key = 0; key < 7; key++) {
    const found = log.filter((one) => one.key === `k-${key}`).map(({ id }) => Number(id?.slice(2)));
    const firsts = [...new Set(found)];
    expect(firsts).toEqual(firsts.toSorted((one, two) => one - two));
  }
});

describe("on three servers", () => {
  let servers: RunningCluster;
  beforeAll(async () => {
    // Slow to count a server out: a frozen one is to be waited for.
    servers = await startCluster({ "broker.session.timeout.ms": "5000", "replica.lag.time.max.ms": "10000" });
  });
  afterAll(() => servers?.close());

  test("several leaders, and one of them away: the others' records are stored", { timeout: 60_000 }, async () => {
    const cluster = await clusterAt(servers.nodes.map(({ port }) => port));
    const topic = `led-${process.pid}`;
    const assignments = [1, 2, 3].map((node, partitionIndex) => ({ partitionIndex, brokerIds: [node] }));
    await createTopic(cluster, topic, 3, { "min.insync.replicas": "1" }, assignments);
    const publisher = publisherOn(cluster);
    const keys = [0, 1, 2].map((partition) => names(50, "k").find((key) => hashKey(Buffer.from(key)) % 3 === partition) as string);
    expect(
      (
        await stored(
          publisher,
          keys.map((key) => keyed(topic, key, key)),
        )
      ).map((place) => place?.[0]),
    ).toEqual(["0", "1", "2"]);
    const strict = `strict-${process.pid}`;
    await createTopic(cluster, strict, 1, { "min.insync.replicas": "2" }, [{ partitionIndex: 0, brokerIds: [2, 3] }]);
    await stored(publisher, [record(strict, "a")]);
    await servers.nodes[2].kill();
    const results = await publisher.publish(
      keys.map((key) => keyed(topic, key, key)),
      soon(),
    );
    expect(outcomes(results).slice(0, 2)).toEqual(["ok", "ok"]);
    expect(outcomes(results)[2]).toMatch(/^(no|maybe) UNAVAILABLE again$/);
    // Once the cluster knows, keys of that partition wait, and records without a key go elsewhere.
    await until(
      async () => (await cluster.topics([topic], soon(), 0)).get(topic)?.partitions[2]?.leader === -1,
      "a partition without a leader",
    );
    expect(outcomes(await publisher.publish([keyed(topic, "z", keys[2] as string)], soon()))).toEqual(["no UNAVAILABLE again"]);
    for (let n = 0; n < 3; n++) expect((await stored(publisher, [record(topic, `free-${n}`)]))[0]).toMatch(/^[01]:/);
    // A server that lost a copy refuses at once, or has stored it and says that the copy is missing.
    let refusals: string[] = [];
    await until(async () => {
      refusals = outcomes(await publisher.publish([record(strict, "b")], soon()));
      return refusals[0] === "no UNAVAILABLE again";
    }, "too few copies");
    expect((await idsIn(cluster, strict)).filter((id) => id === "b").length).toBeLessThanOrEqual(1);
    await servers.nodes[2].restart();
    await until(async () => (await publisher.publish([keyed(topic, "z", keys[2] as string)], soon()))[0]?.ok === true, "its return");
  });

  test("a leader that steps down while it waits for its followers leaves the records in doubt", { timeout: 60_000 }, async () => {
    const cluster = await clusterAt(servers.nodes.map(({ port }) => port));
    const topic = `moved-${process.pid}`;
    await createTopic(cluster, topic, 1, { "min.insync.replicas": "1" }, [{ partitionIndex: 0, brokerIds: [2, 1, 3] }]);
    const { describeLogDirsV4, alterPartitionReassignmentsV1 } = cluster.client;
    const sizeAt = async (node: number): Promise<bigint> => {
      const { results } = await cluster.line().call(node, describeLogDirsV4.api.async, [[{ name: topic, partitions: [0] }]]);
      return results.flatMap(({ topics }) => topics.flatMap(({ partitions }) => partitions))[0]?.partitionSize ?? 0n;
    };
    const publisher = publisherOn(cluster);
    await stored(publisher, [record(topic, "a")]);
    await until(async () => (await sizeAt(1)) === (await sizeAt(2)), "the copy of the first");
    const before = await sizeAt(1);
    const [, , third] = servers.nodes;
    await third.stop();
    try {
      const publishing = publisher.publish([record(topic, "b")], soon());
      await until(async () => (await sizeAt(1)) > before, "a copy at the leader to be");
      const moved = [{ name: topic, partitions: [{ partitionIndex: 0, replicas: [1] }] }];
      await cluster.line().call("any", alterPartitionReassignmentsV1.api.async, [10_000, true, moved]);
      const [result] = await publishing;
      expect(outcomes(await publishing)).toEqual(["maybe UNAVAILABLE again"]);
      expect(protocolName((result as { error: unknown }).error)).toBe("NOT_LEADER_OR_FOLLOWER");
    } finally {
      await third.cont();
    }
    expect(await idsIn(cluster, topic)).toEqual(["a", "b"]);
  });
});
