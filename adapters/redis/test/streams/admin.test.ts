import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { beforeAll, expect, test } from "vitest";
import { redis } from "../../src/index.ts";
import { fresh, ids, open, plain, read, record, records, soon, startServer, store, until } from "../stage.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await startServer();
});

async function topicOn(options = {}, spec = {}) {
  const opened = await open(redis({ host: server.host, port: server.port, leaseMs: 20_000, ...options }));
  const topic = fresh();
  expect(await opened.driver.admin.createTopic({ name: topic, ...spec }, soon())).toBe("created");
  return { ...opened, topic, admin: opened.driver.admin };
}

test("creating again alters nothing; describing tells retention and groups", async () => {
  const { admin, topic } = await topicOn({}, { retention: { ms: 5_000 } });
  expect(await admin.createTopic({ name: topic, retention: { ms: 1 } }, soon())).toBe("existing");
  expect(await admin.createGroup(topic, "b", { kind: "latest" }, soon())).toBe("created");
  expect(await admin.createGroup(topic, "a", { kind: "earliest" }, soon())).toBe("created");
  expect(await admin.createGroup(topic, "b", { kind: "earliest" }, soon())).toBe("existing");
  expect(await admin.describeTopic(topic, soon())).toEqual({ partitions: 1, retention: { ms: 5_000 }, groups: ["a", "b"] });
  expect(await admin.describeTopic(fresh(), soon())).toBeUndefined();
});

test("a stream of somebody else is a topic; a key of another type is none", async () => {
  const { driver, admin } = await topicOn();
  const client = await plain(server);
  const name = fresh();
  await client.call("XADD", name, "*", "a", "1");
  expect(await admin.createTopic({ name }, soon())).toBe("existing");
  expect(await admin.describeTopic(name, soon())).toEqual({ partitions: 1, retention: undefined, groups: [] });
  expect(await driver.describe(name, soon())).toMatchObject({ seek: "live" });
  await client.call("SET", `${name}-text`, "x");
  const error = await admin.createTopic({ name: `${name}-text` }, soon()).catch((raw: unknown) => raw);
  expect(driver.classify(error)).toEqual({ code: "INVALID_ARGUMENT", retryable: false });
});

test("what is missing is NOT_FOUND to all that need it, and deleting it succeeds", async () => {
  const { driver, admin, topic } = await topicOn();
  const missing = fresh();
  const asked = [
    admin.position(missing, undefined, soon()),
    admin.position(missing, "g", soon()),
    admin.position(topic, "g", soon()),
    admin.lag(topic, "g", soon()),
    admin.seek(topic, "g", { kind: "latest" }, soon()),
    admin.createGroup(missing, "g", { kind: "latest" }, soon()),
    driver.describe(missing, soon()),
    driver.replay({ topic: missing, from: { kind: "earliest" }, follow: false, events: { dataLoss: () => {} } }, soon()),
  ];
  for (const one of await Promise.allSettled(asked)) {
    expect(one.status === "rejected" ? driver.classify(one.reason).code : one.value).toBe("NOT_FOUND");
  }
  await admin.deleteGroup(topic, "g", soon());
  await admin.deleteGroup(missing, "g", soon());
  await admin.deleteTopic(missing, soon());
  expect(await (await plain(server)).call("KEYS", `${missing}*`)).toEqual([]);
});

test("deleting a topic leaves no key of it", async () => {
  const { driver, admin, topic } = await topicOn();
  const { subscription, take } = await read(driver, topic, "g");
  await store(driver, [...records(topic, "1", "2", "3"), record(topic, "later", { delayMs: 60_000 })]);
  await store(driver, [
    record(topic, "in", { target: { topic, group: "g" } }),
    record(topic, "in-later", { target: { topic, group: "g" }, delayMs: 60_000 }),
  ]);
  const got = await take(4);
  await subscription.nack?.(got.map((delivery) => ({ delivery, delayMs: 60_000, failures: 1 })));
  const client = await plain(server);
  expect(((await client.call("KEYS", `${topic}*`)) as string[]).length).toBeGreaterThan(8);
  await admin.deleteTopic(topic, soon());
  expect(await client.call("KEYS", `${topic}*`)).toEqual([]);
});

test("lag counts what is unread, pending, given back, delayed and in the inbox, and knows the oldest", async () => {
  const { driver, admin, topic } = await topicOn();
  const { subscription, take } = await read(driver, topic, "g");
  expect(await admin.lag(topic, "g", soon())).toEqual({ count: 0, inFlight: 0, oldestMs: 0 });
  await store(driver, records(topic, "1", "2", "3", "4", "5"));
  const got = await take(3);
  await subscription.nack?.(got.slice(0, 1).map((delivery) => ({ delivery, delayMs: 60_000, failures: 1 })));
  await subscription.ack(got.slice(1, 2));
  await store(driver, [
    record(topic, "later", { delayMs: 60_000 }),
    record(topic, "i", { target: { topic, group: "g" } }),
    record(topic, "il", { target: { topic, group: "g" }, delayMs: 60_000 }),
  ]);
  const began = Date.now();
  await until(() => Date.now() > began + 20, "time to pass");
  const lag = await admin.lag(topic, "g", soon());
  // One given back, one pending, two unread, one delayed, two in the inbox.
  expect([lag.count, lag.inFlight]).toEqual([7, 1]);
  expect(lag.oldestMs).toBeGreaterThanOrEqual(20);
  expect(lag.oldestMs).toBeLessThan(10_000);
});

test("lag is exact from any start that is known, and undefined rather than guessed in between", async () => {
  const { driver, admin, topic } = await topicOn();
  const stored = await store(driver, records(topic, "1", "2", "3", "4"));
  const cut = new Map([["0", stored[1]?.ok ? stored[1].place : undefined]]) as never;
  await admin.createGroup(topic, "earliest", { kind: "earliest" }, soon());
  await admin.createGroup(topic, "latest", { kind: "latest" }, soon());
  await admin.createGroup(topic, "middle", { kind: "position", cut }, soon());
  await store(driver, records(topic, "5"));
  const counts = async () =>
    Promise.all(["earliest", "latest", "middle"].map(async (group) => (await admin.lag(topic, group, soon())).count));
  expect(await counts()).toEqual([5, 1, undefined]);
  const { subscription, take } = await read(driver, topic, "middle");
  await subscription.ack(await take(3));
  await store(driver, records(topic, "6"));
  expect(await counts()).toEqual([6, 2, 1]);
});

test("a group's position is its floor: everything at or before it is acknowledged", async () => {
  const { driver, admin, topic } = await topicOn();
  const { subscription, take } = await read(driver, topic, "g");
  expect(await admin.position(topic, "g", soon())).toEqual(new Map());
  const stored = await store(driver, records(topic, "1", "2", "3", "4"));
  const place = (n: number) => new Map([["0", stored[n]?.ok ? stored[n].place : undefined]]);
  const got = await take(4);
  await subscription.ack([got[0], got[1], got[3]] as never);
  expect(await admin.position(topic, "g", soon())).toEqual(place(1));
  await subscription.nack?.([{ delivery: got[2] as never, delayMs: 60_000, failures: 0 }]);
  expect(await admin.position(topic, "g", soon())).toEqual(place(1));
  expect(await admin.position(topic, undefined, soon())).toEqual(place(3));
  await subscription.close();
  const rest = await driver.replay(
    { topic, from: { kind: "position", cut: place(1) as never }, follow: false, events: { dataLoss: () => {} } },
    soon(),
  );
  expect(ids((await rest.receive(10, 0, soon())).deliveries)).toEqual(["3", "4"]);
  await rest.close();
});

test("keyPrefix keeps topics beside other data apart", async () => {
  const { driver, topic } = await topicOn({ keyPrefix: "app:" });
  await store(driver, records(topic, "1"));
  const client = await plain(server);
  expect([await client.call("XLEN", `app:${topic}`), await client.call("EXISTS", topic)]).toEqual([1, 0]);
  const other = await open(redis({ host: server.host, port: server.port }));
  expect(await other.driver.admin.describeTopic(topic, soon())).toBeUndefined();
});
