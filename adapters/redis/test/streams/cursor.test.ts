import { ranFor } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import type { Cursor, Cut, Driver, PublishResult, ReplayRequest, WireDelivery } from "brokerkit/driver";
import { beforeAll, expect, test } from "vitest";
import { redis } from "../../src/index.ts";
import { defer, fresh, ids, type Loss, open, plain, record, records, soon, startServer, store, until } from "../stage.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await startServer();
});

async function topicOn(spec = {}) {
  const opened = await open(redis({ host: server.host, port: server.port }));
  const topic = fresh();
  await opened.driver.admin.createTopic({ name: topic, ...spec }, soon());
  return { ...opened, topic };
}

async function replay(driver: Driver, topic: string, more: Partial<ReplayRequest> = {}): Promise<Cursor & { readonly losses: Loss[] }> {
  const losses: Loss[] = [];
  const dataLoss = (shard: string, from: string | undefined, to: string | undefined, missing: number | undefined) =>
    void losses.push({ shard, from, to, missing });
  const cursor = await driver.replay({ topic, from: { kind: "earliest" }, follow: false, events: { dataLoss }, ...more }, soon());
  defer(() => cursor.close());
  return Object.assign(cursor, { losses });
}

/** Everything up to the end. */
async function all(cursor: Cursor, max = 100): Promise<WireDelivery[]> {
  const found: WireDelivery[] = [];
  for (;;) {
    const { deliveries, atEnd } = await cursor.receive(max, 1_000, soon());
    found.push(...deliveries);
    if (atEnd) return found;
  }
}

const at = (result: PublishResult | undefined): Cut => new Map(result?.ok && result.place !== undefined ? [["0", result.place]] : []);
const trim = async (topic: string, keep: number) => (await plain(server)).call("XTRIM", topic, "MAXLEN", String(keep));

test("from the earliest, a time and a position, up to the end as of opening", async () => {
  const { driver, topic } = await topicOn();
  const stored = await store(driver, records(topic, "1", "2", "3"));
  await until(
    () =>
      Date.now() >
      Number(
        String([...at(stored[2]).values()][0])
          .slice(2)
          .split(".")[0],
      ) +
        5,
    "time to pass",
  );
  const ms = Date.now();
  const [four] = await store(driver, records(topic, "4"));
  const earliest = await replay(driver, topic);
  expect(earliest.end).toEqual(at(four));
  const readers = [
    earliest,
    await replay(driver, topic, { from: { kind: "time", ms } }),
    await replay(driver, topic, { from: { kind: "position", cut: at(stored[1]) } }),
  ];
  await store(driver, records(topic, "5"));
  expect(await Promise.all(readers.map(async (cursor) => ids(await all(cursor))))).toEqual([["1", "2", "3", "4"], ["4"], ["3", "4"]]);
  const last = readers[0] as Cursor;
  expect(await last.receive(10, 0, soon())).toEqual({ deliveries: [], atEnd: true });
});

test("replayed deliveries are whole and owned by nobody", async () => {
  const { driver, topic } = await topicOn();
  const sent = record(topic, "1", { key: Buffer.from("k"), headers: [["h", Buffer.from("v")]], publishedAt: 77 });
  const [stored] = await store(driver, [sent]);
  const [found] = await all(await replay(driver, topic));
  expect({ ...found, place: found?.place }).toMatchObject({
    id: "1",
    key: sent.key,
    headers: sent.headers,
    body: sent.body,
    publishedAt: 77,
    deliveries: 1,
    failures: 0,
  });
  expect([found?.place, found?.inbox, found?.leaseUntil]).toEqual([stored?.ok && stored.place, false, Number.POSITIVE_INFINITY]);
});

test("ends before a time and at a cut, whichever is said, and never behind the end", async () => {
  const { driver, topic } = await topicOn();
  const stored = await store(driver, records(topic, "1", "2"));
  await until(
    () =>
      Date.now() >
      Number(
        String([...at(stored[1]).values()][0])
          .slice(2)
          .split(".")[0],
      ) +
        5,
    "time to pass",
  );
  const ms = Date.now();
  await store(driver, records(topic, "3"));
  const to = async (bound: ReplayRequest["to"]) => {
    const cursor = await replay(driver, topic, { to: bound });
    return [ids(await all(cursor)), cursor.end];
  };
  expect(await to({ kind: "time", ms })).toEqual([["1", "2"], at(stored[1])]);
  expect(await to({ kind: "position", cut: at(stored[0]) })).toEqual([["1"], at(stored[0])]);
  expect(await to({ kind: "time", ms: 5 })).toEqual([[], new Map()]);
  expect((await to({ kind: "time", ms: ms + 3_600_000 }))[0]).toEqual(["1", "2", "3"]);
});

test("an empty topic, one that has expired to nothing, and a position past the end are at the end at once", async () => {
  const { driver, topic } = await topicOn();
  const empty = await replay(driver, topic);
  expect([empty.end, await empty.receive(10, 10_000, soon())]).toEqual([new Map(), { deliveries: [], atEnd: true }]);
  const [, last] = await store(driver, records(topic, "1", "2"));
  await trim(topic, 0);
  const expired = await replay(driver, topic);
  expect([expired.end, await expired.receive(10, 10_000, soon())]).toEqual([at(last), { deliveries: [], atEnd: true }]);
  expect(expired.losses).toEqual([]);
  const past = await replay(driver, topic, {
    from: { kind: "position", cut: new Map([["0", "0:9999999999999.0" as never]]) },
    follow: true,
  });
  expect(await past.receive(10, 0, soon())).toEqual({ deliveries: [], atEnd: true });
  await store(driver, records(topic, "3"));
  expect(ids((await past.receive(10, 5_000, soon())).deliveries)).toEqual(["3"]);
});

test("the end is reached by fetching, also when its last entries were deleted", async () => {
  const { driver, topic } = await topicOn();
  const stored = await store(driver, records(topic, "1", "2", "3"));
  const cursor = await replay(driver, topic);
  await (await plain(server)).call(
    "XDEL",
    topic,
    String([...at(stored[2]).values()][0])
      .slice(2)
      .replace(".", "-"),
  );
  await store(driver, records(topic, "4"));
  expect(ids(await all(cursor, 1))).toEqual(["1", "2"]);
});

test("following goes on behind the end without a gap, and waits", async () => {
  const { driver, topic } = await topicOn();
  await store(driver, records(topic, "1", "2", "3"));
  const cursor = await replay(driver, topic, { follow: true });
  expect(await cursor.receive(2, 0, soon())).toMatchObject({ atEnd: false, deliveries: [{ id: "1" }, { id: "2" }] });
  expect(await cursor.receive(2, 0, soon())).toMatchObject({ atEnd: true, deliveries: [{ id: "3" }] });
  const waiting = cursor.receive(10, 10_000, soon());
  await store(driver, records(topic, "4"));
  expect(await waiting).toMatchObject({ atEnd: true, deliveries: [{ id: "4" }] });
  const controller = new AbortController();
  const aborted = cursor.receive(10, 10_000, controller.signal);
  const began = performance.now();
  controller.abort();
  expect(await aborted).toEqual({ deliveries: [], atEnd: true });
  expect(ranFor(began)).toBeLessThan(1_000);
});

test("what was trimmed before a position is a loss; before the earliest it is none", async () => {
  const { driver, topic } = await topicOn();
  const stored = await store(driver, records(topic, "1", "2", "3", "4"));
  await trim(topic, 2);
  const [behind, earliest, after] = [
    await replay(driver, topic, { from: { kind: "position", cut: at(stored[0]) } }),
    await replay(driver, topic),
    await replay(driver, topic, { from: { kind: "position", cut: at(stored[2]) } }),
  ];
  expect(await Promise.all([behind, earliest, after].map(async (cursor) => ids(await all(cursor))))).toEqual([
    ["3", "4"],
    ["3", "4"],
    ["4"],
  ]);
  expect(behind.losses.map(({ shard, from, missing }) => [shard, from, missing])).toEqual([
    ["0", [...at(stored[0]).values()][0], undefined],
  ]);
  expect([earliest.losses, after.losses]).toEqual([[], []]);
});

test("what is trimmed under a reader is counted before it goes on", async () => {
  const { driver, topic } = await topicOn();
  await store(driver, records(topic, ...Array.from({ length: 20 }, (_, n) => `${n}`)));
  const cursor = await replay(driver, topic);
  expect(ids((await cursor.receive(5, 0, soon())).deliveries)).toEqual(["0", "1", "2", "3", "4"]);
  await trim(topic, 3);
  expect(ids(await all(cursor))).toEqual(["17", "18", "19"]);
  expect(cursor.losses.map(({ missing }) => missing)).toEqual([12]);
});

test("a time that retention of our own has passed is a loss, one behind it is none", async () => {
  const { driver, topic } = await topicOn({ native: { redis: { maxLength: 2 } } });
  const began = Date.now() - 1;
  await store(driver, records(topic, "1", "2", "3"));
  await until(() => Date.now() > began + 30, "time to pass");
  const middle = Date.now();
  await until(() => Date.now() > middle, "the next millisecond");
  await store(driver, records(topic, "4"));
  const [old, young] = [
    await replay(driver, topic, { from: { kind: "time", ms: began } }),
    await replay(driver, topic, { from: { kind: "time", ms: middle } }),
  ];
  expect([ids(await all(old)), ids(await all(young))]).toEqual([["3", "4"], ["4"]]);
  expect([old.losses.length, young.losses.length]).toEqual([1, 0]);
});

test("large entries are read a few at a time", async () => {
  const { driver, topic } = await topicOn();
  for (let n = 0; n < 6; n++) await store(driver, [record(topic, `${n}`, { body: Buffer.alloc(3_000_000) })]);
  const cursor = await replay(driver, topic);
  expect((await cursor.receive(1, 0, soon())).deliveries).toHaveLength(1);
  expect((await cursor.receive(100, 0, soon())).deliveries).toHaveLength(1);
  expect(ids(await all(cursor))).toEqual(["2", "3", "4", "5"]);
});
