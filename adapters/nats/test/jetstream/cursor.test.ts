import type { RunningBroker } from "@brokerkit/conformance/brokers";
import type { Cursor, Cut, WireDelivery } from "brokerkit/driver";
import { beforeAll, expect, test } from "vitest";
import { nats } from "../../src/index.ts";
import { api, at, fresh, ids, open, plain, proxied, record, records, replay, soon, startServer, store, until } from "../stage.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await startServer();
});

async function topicOn(...names: string[]) {
  const { driver } = await open(nats(at(server)));
  const topic = fresh();
  await driver.admin.createTopic({ name: topic }, soon());
  await store(driver, records(topic, ...names));
  return { driver, topic };
}

const cut = (sequence: number): Cut => new Map([["0", `0:${sequence}` as never]]);

/** Everything up to the end. */
async function rest(cursor: Cursor, max = 100): Promise<WireDelivery[]> {
  const got: WireDelivery[] = [];
  for (;;) {
    const { deliveries, atEnd } = await cursor.receive(max, 5_000, soon());
    got.push(...deliveries);
    if (atEnd) return got;
  }
}

async function update(topic: string, change: object): Promise<void> {
  const client = await plain(server);
  const { config } = (await api(client, `STREAM.INFO.${topic}`)) as { config: object };
  await api(client, `STREAM.UPDATE.${topic}`, { ...config, ...change });
}

test("from the earliest, a position and a time, up to the end as of opening, in small steps too", async () => {
  const { driver, topic } = await topicOn("1", "2", "3");
  await until(() => Date.now() % 10 === 0, "another millisecond");
  const middle = Date.now() + 1;
  await until(() => Date.now() > middle, "another millisecond");
  await store(driver, records(topic, "4", "5"));
  const whole = await replay(driver, topic, { kind: "earliest" });
  await store(driver, records(topic, "later"));
  expect([...whole.cursor.end]).toEqual([["0", "0:5"]]);
  expect(ids(await rest(whole.cursor, 2))).toEqual(["1", "2", "3", "4", "5"]);
  expect(ids(await rest((await replay(driver, topic, { kind: "position", cut: cut(4) })).cursor))).toEqual(["5", "later"]);
  expect(ids(await rest((await replay(driver, topic, { kind: "time", ms: middle })).cursor))).toEqual(["4", "5", "later"]);
  const until2 = await replay(driver, topic, { kind: "earliest" }, { to: { kind: "position", cut: cut(2) } });
  expect(ids(await rest(until2.cursor))).toEqual(["1", "2"]);
  const before = await replay(driver, topic, { kind: "earliest" }, { to: { kind: "time", ms: middle } });
  expect(ids(await rest(before.cursor))).toEqual(["1", "2", "3"]);
});

test("an empty topic, one that was emptied, and a position past the end are at the end at once", async () => {
  const empty = await topicOn();
  expect(ids(await rest((await replay(empty.driver, empty.topic, { kind: "earliest" })).cursor))).toEqual([]);
  const { driver, topic } = await topicOn("1", "2");
  expect(ids(await rest((await replay(driver, topic, { kind: "position", cut: cut(99) })).cursor))).toEqual([]);
  await api(await plain(server), `STREAM.PURGE.${topic}`);
  expect(ids(await rest((await replay(driver, topic, { kind: "earliest" })).cursor))).toEqual([]);
});

test("following goes on behind the end without a gap, and waits", async () => {
  const { driver, topic } = await topicOn("1", "2");
  const { cursor } = await replay(driver, topic, { kind: "earliest" }, { follow: true });
  expect(ids(await rest(cursor))).toEqual(["1", "2"]);
  const waiting = cursor.receive(10, 10_000, soon());
  await store(driver, records(topic, "3"));
  expect(ids((await waiting).deliveries)).toEqual(["3"]);
});

test("what was removed behind a position, under a reader, or up to the end is a loss; before the earliest it is none", async () => {
  const { driver, topic } = await topicOn("1", "2", "3", "4", "5", "6");
  const under = await replay(driver, topic, { kind: "earliest" });
  expect(ids((await under.cursor.receive(1, 5_000, soon())).deliveries)).toEqual(["1"]);
  const emptied = await replay(driver, topic, { kind: "position", cut: cut(3) });
  await update(topic, { max_msgs: 2 });
  const behind = await replay(driver, topic, { kind: "position", cut: cut(1) });
  expect(ids(await rest(behind.cursor))).toEqual(["5", "6"]);
  expect(behind.losses).toEqual([{ shard: "0", from: "0:2", to: "0:4", missing: 3 }]);
  expect(ids(await rest(under.cursor))).toEqual(["5", "6"]);
  expect(under.losses).toEqual([{ shard: "0", from: "0:2", to: "0:4", missing: 3 }]);
  const earliest = await replay(driver, topic, { kind: "earliest" });
  expect(ids(await rest(earliest.cursor))).toEqual(["5", "6"]);
  expect(earliest.losses).toEqual([]);
  await api(await plain(server), `STREAM.PURGE.${topic}`);
  expect(ids(await rest(emptied.cursor))).toEqual([]);
  expect(emptied.losses).toEqual([{ shard: "0", from: "0:4", to: "0:6", missing: 3 }]);
});

test("a reader that the server has forgotten goes on where it was", async () => {
  const { driver, topic } = await topicOn("1", "2", "3");
  const { cursor, losses } = await replay(driver, topic, { kind: "earliest" });
  expect(ids((await cursor.receive(1, 5_000, soon())).deliveries)).toEqual(["1"]);
  const client = await plain(server);
  const { consumers } = (await api(client, `CONSUMER.NAMES.${topic}`, { offset: 0 })) as { consumers: readonly string[] };
  for (const name of consumers) await api(client, `CONSUMER.DELETE.${topic}.${name}`);
  expect(ids(await rest(cursor))).toEqual(["2", "3"]);
  expect(losses).toEqual([]);
});

test("a missing topic is NOT_FOUND, one that goes under a reader too, and a broken link is UNAVAILABLE", async () => {
  const { driver, topic } = await topicOn("1");
  const missing = await replay(driver, fresh(), { kind: "earliest" }).catch((error: unknown) => error);
  expect(driver.classify(missing).code).toBe("NOT_FOUND");
  const { cursor } = await replay(driver, topic, { kind: "earliest" }, { follow: true });
  await rest(cursor);
  await driver.admin.deleteTopic(topic, soon());
  const gone = await cursor.receive(1, 9_000, soon()).catch((error: unknown) => error);
  expect(driver.classify(gone).code).toBe("NOT_FOUND");
  const other = await topicOn("1");
  const proxy = await proxied(server);
  const far = await open(nats(at(proxy)));
  const reading = await replay(far.driver, other.topic, { kind: "earliest" }, { follow: true });
  await rest(reading.cursor);
  const waiting = reading.cursor.receive(1, 10_000, soon()).catch((error: unknown) => error);
  proxy.reset();
  expect(far.driver.classify(await waiting).code).toBe("UNAVAILABLE");
});

test("large messages come through, also where one pull can't hold them all", async () => {
  const { driver, topic } = await topicOn();
  const body = Buffer.alloc(1_000_000, 120);
  for (let n = 0; n < 12; n++) await store(driver, [record(topic, `m-${n}`, { body })]);
  const { cursor } = await replay(driver, topic, { kind: "earliest" });
  const got = await rest(cursor);
  expect(ids(got)).toEqual(Array.from({ length: 12 }, (_, n) => `m-${n}`));
  expect(got.every(({ body: bytes }) => bytes?.length === body.length)).toBe(true);
});
