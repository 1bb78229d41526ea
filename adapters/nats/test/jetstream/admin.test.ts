import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { beforeAll, expect, test } from "vitest";
import { nats } from "../../src/index.ts";
import { at, fresh, open, plain, read, record, records, soon, startServer, store } from "../stage.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await startServer();
});

const opened = () => open(nats(at(server)));

test("a topic is created with what was asked, and never altered; describing tells retention and groups", async () => {
  const { driver } = await opened();
  const topic = fresh();
  const retention = { ms: 60_000, bytes: 1_000_000 };
  expect(await driver.admin.createTopic({ name: topic, retention }, soon())).toBe("created");
  expect(await driver.admin.createTopic({ name: topic, retention: { ms: 1_000 } }, soon())).toBe("existing");
  await driver.admin.createGroup(topic, "b", { kind: "latest" }, soon());
  await driver.admin.createGroup(topic, "a", { kind: "latest" }, soon());
  await driver.admin.seek(topic, "a", { kind: "earliest" }, soon());
  expect(await driver.admin.describeTopic(topic, soon())).toEqual({ partitions: 1, retention, groups: ["a", "b"] });
  expect(await driver.admin.describeTopic(fresh(), soon())).toBeUndefined();
  const manager = await (await plain(server)).jetstreamManager();
  expect((await manager.streams.info(topic)).config).toMatchObject({ storage: "file", discard: "old", duplicate_window: 6e10 });
});

test("native options are used, and refused where they are wrong", async () => {
  const { driver } = await opened();
  const topic = fresh();
  const native = { nats: { storage: "memory", maxMessages: 5, discard: "new" }, redis: { maxLength: 1 } };
  await driver.admin.createTopic({ name: topic, native }, soon());
  const manager = await (await plain(server)).jetstreamManager();
  expect((await manager.streams.info(topic)).config).toMatchObject({ storage: "memory", max_msgs: 5, discard: "new" });
  expect(await driver.describe(topic, soon())).toMatchObject({ durable: false, durabilityOnAck: "memory" });
  for (const wrong of [{ maxLength: 1 }, { replicas: 0 }, { maxMessages: 1.5 }, { storage: "disk" }, { discard: "none" }, 5]) {
    const error = await (async () => driver.admin.createTopic({ name: fresh(), native: { nats: wrong } }, soon()))().catch(
      (raw: unknown) => raw,
    );
    expect([driver.classify(error).code, String(error)]).toEqual(["INVALID_ARGUMENT", expect.stringContaining("native.nats")]);
  }
});

test("a subject that another stream keeps is explained", async () => {
  const { driver } = await opened();
  const name = fresh();
  await (await (await plain(server)).jetstreamManager()).streams.add({ name: `taken-${name}`, subjects: [`${name}.>`] });
  const error = await driver.admin.createTopic({ name: `${name}.a` }, soon()).catch((raw: unknown) => raw);
  expect([driver.classify(error).code, String(error)]).toEqual(["INVALID_ARGUMENT", expect.stringContaining(`"taken-${name}"`)]);
});

test("many that make a topic at the same moment all have it", async () => {
  const drivers = await Promise.all(Array.from({ length: 40 }, async () => (await opened()).driver));
  for (let n = 0; n < 10; n++) {
    const name = fresh();
    const made = await Promise.all(drivers.map((driver) => driver.admin.createTopic({ name }, soon())));
    expect(made).toContain("created");
  }
});

test("what is missing is NOT_FOUND to all that need it, and deleting it succeeds", async () => {
  const { driver } = await opened();
  const [topic, missing] = [fresh(), fresh()];
  await driver.admin.createTopic({ name: topic }, soon());
  const asked = [
    () => driver.admin.createGroup(missing, "g", { kind: "latest" }, soon()),
    () => driver.admin.position(missing, undefined, soon()),
    () => driver.admin.position(topic, "g", soon()),
    () => driver.admin.seek(topic, "g", { kind: "earliest" }, soon()),
    () => driver.admin.lag(topic, "g", soon()),
    () => driver.admin.lag(missing, "g", soon()),
    () => driver.describe(missing, soon()),
  ];
  for (const ask of asked) expect(driver.classify(await ask().catch((error: unknown) => error)).code).toBe("NOT_FOUND");
  for (const name of [topic, missing]) await driver.admin.deleteGroup(name, "g", soon());
  await driver.admin.deleteTopic(missing, soon());
});

test("deleting a topic takes its inboxes along, and nothing of topics whose names begin alike", async () => {
  const { driver } = await opened();
  const topic = fresh();
  const beside = [`${topic}.b`, `${topic}-b`, `${topic}.g.dead`];
  const long = "g".repeat(100);
  for (const name of [topic, ...beside]) {
    await driver.admin.createTopic({ name }, soon());
    for (const group of ["g", long]) await driver.admin.createGroup(name, group, { kind: "latest" }, soon());
  }
  const manager = await (await plain(server)).jetstreamManager();
  const names = async (): Promise<string[]> => {
    const found: string[] = [];
    for await (const name of manager.streams.names()) if (name.startsWith(topic)) found.push(name);
    return found.sort();
  };
  const before = await names();
  expect(before).toHaveLength(12);
  await driver.admin.deleteTopic(topic, soon());
  const gone = before.filter((name) => name === topic || name === `${topic}~g~retry` || name === `${topic}~${long}~retry`);
  expect(gone).toHaveLength(3);
  expect(await names()).toEqual(before.filter((name) => !gone.includes(name)));
});

test("lag counts what is unread, pending and in the inbox, and knows the oldest; a position is the floor", async () => {
  const { driver } = await opened();
  const topic = fresh();
  await driver.admin.createTopic({ name: topic }, soon());
  const { subscription, take } = await read(driver, topic, "g");
  expect(await driver.admin.lag(topic, "g", soon())).toEqual({ count: 0, inFlight: 0, oldestMs: 0 });
  await store(driver, records(topic, "1", "2", "3", "4"));
  const floor = async () => [...(await driver.admin.position(topic, "g", soon()))].flat();
  expect(await floor()).toEqual([]);
  const got = await take(4);
  await subscription.ack([got[0], got[2]] as never);
  expect(await floor()).toEqual(["0", "0:1"]);
  await store(driver, [...records(topic, "5"), record(topic, "6", { target: { topic, group: "g" }, delayMs: 60_000 })]);
  const lag = await driver.admin.lag(topic, "g", soon());
  // What is kept back counts as in flight once a member has seen it.
  expect(lag.count).toBe(4);
  expect([2, 3]).toContain(lag.inFlight);
  expect(lag.oldestMs).toBeGreaterThan(0);
  expect(lag.oldestMs).toBeLessThan(10_000);
  await subscription.ack([got[1], got[3]] as never);
  expect(await floor()).toEqual(["0", "0:4"]);
  await driver.admin.seek(topic, "g", { kind: "position", cut: new Map([["0", "0:2" as never]]) }, soon());
  expect(await floor()).toEqual(["0", "0:2"]);
  expect(await driver.admin.lag(topic, "g", soon())).toMatchObject({ count: 4 });
});

test("a shorter window or a single server of a topic narrows what it can do", async () => {
  const { driver, capabilities } = await opened();
  const topic = fresh();
  await (await (await plain(server)).jetstreamManager()).streams.add({ name: topic, subjects: [topic], duplicate_window: 1e9 });
  expect(capabilities).toMatchObject({ dedupe: { windowMs: 120_000 }, durabilityOnAck: "page-cache" });
  expect(await driver.describe(topic, soon())).toMatchObject({ dedupe: { windowMs: 1_000 }, durable: true });
});
