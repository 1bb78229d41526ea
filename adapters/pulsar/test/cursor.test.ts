import type { RunningBroker } from "@brokerkit/conformance/brokers";
import type { Cut, WireStart } from "brokerkit/driver";
import { beforeAll, describe, expect, test } from "vitest";
import { administrator } from "../recipe.ts";
import { at, failure, ids, proxied, record, records, replay, soon, store, topicOn, until, usualServer } from "./stage.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await usualServer();
});

const EARLIEST: WireStart = { kind: "earliest" };
const names = (count: number, prefix = ""): string[] => Array.from({ length: count }, (_, n) => `${prefix}${n}`);
const keyed = (topic: string, ...all: readonly string[]) => all.map((n) => record(topic, n, { key: Buffer.from(`k${n}`) }));
const after = (ms: number) => until(() => Date.now() > ms, "the clock to go on");

async function moment(): Promise<number> {
  const now = Date.now();
  await after(now + 2);
  return now + 1;
}

describe("a replay", () => {
  test("ends at what was there when it opened, on every partition", async () => {
    const { driver, topic } = await topicOn(at(server), { partitions: 3 });
    await store(driver, keyed(topic, ...names(50)));
    const first = await replay(driver, topic, EARLIEST);
    await store(driver, keyed(topic, ...names(50, "later")));
    expect(new Set(ids(await first.all()))).toEqual(new Set(names(50)));
    const rest = await replay(driver, topic, { kind: "position", cut: first.cursor.end });
    expect(new Set(ids(await rest.all()))).toEqual(new Set(names(50, "later")));
  });

  test("of nothing ends at once: an empty topic, its end, a time to come", async () => {
    const { driver, topic } = await topicOn(at(server), { partitions: 2 });
    const empty = await replay(driver, topic, EARLIEST);
    expect([await empty.all(), empty.cursor.end.size]).toEqual([[], 0]);
    await store(driver, keyed(topic, ...names(5)));
    const { cursor } = await replay(driver, topic, EARLIEST);
    for (const from of [
      { kind: "position", cut: cursor.end },
      { kind: "time", ms: Date.now() + 1_000 },
    ] as const)
      expect(await (await replay(driver, topic, from)).all(2_000)).toEqual([]);
  });

  test("goes on in the middle of a batch, and ends in one", async () => {
    const { driver, topic } = await topicOn(at(server));
    const results = await store(driver, records(topic, ...names(6)));
    const cutAt = (n: number): Cut => {
      const result = results[n];
      return new Map(result?.ok === true && result.place !== undefined ? [["0", result.place]] : []);
    };
    const part = await replay(driver, topic, { kind: "position", cut: cutAt(1) }, { to: { kind: "position", cut: cutAt(3) } });
    expect(ids(await part.all())).toEqual(["2", "3"]);
    expect([...part.cursor.end]).toEqual([...cutAt(3)]);
    expect(ids(await (await replay(driver, topic, EARLIEST, { to: { kind: "position", cut: new Map() } })).all())).toEqual([]);
  });

  test("is bounded by times, the later one exclusive", async () => {
    const { driver, topic } = await topicOn(at(server), { partitions: 2 });
    await store(driver, keyed(topic, ...names(9, "a")));
    const first = await moment();
    await store(driver, keyed(topic, ...names(9, "b")));
    const second = await moment();
    await store(driver, keyed(topic, ...names(9, "c")));
    const part = await replay(driver, topic, { kind: "time", ms: first }, { to: { kind: "time", ms: second } });
    expect(new Set(ids(await part.all()))).toEqual(new Set(names(9, "b")));
    const behind = await replay(driver, topic, { kind: "position", cut: part.cursor.end });
    expect(new Set(ids(await behind.all()))).toEqual(new Set(names(9, "c")));
  });

  test("follows when it is to, and moves no group", async () => {
    const { driver, topic } = await topicOn(at(server));
    await driver.admin.createGroup(topic, "g", EARLIEST, soon());
    await store(driver, records(topic, "1"));
    const { cursor } = await replay(driver, topic, EARLIEST, { follow: true });
    const seen: unknown[] = [];
    const read = async (): Promise<boolean> => {
      const { deliveries, atEnd } = await cursor.receive(10, 200, soon());
      seen.push(...ids(deliveries));
      return atEnd;
    };
    await until(read, "the end of what was there");
    await store(driver, records(topic, "2"));
    await until(async () => (await read()) && seen.length === 2, "what came behind it");
    expect(seen).toEqual(["1", "2"]);
    expect((await driver.admin.lag(topic, "g", soon())).count).toBe(2);
    expect((await driver.admin.describeTopic(topic, soon()))?.groups).toEqual(["g"]);
  });

  test("whose connection is cut fails as UNAVAILABLE", async () => {
    const proxy = await proxied(server);
    const { driver, topic } = await topicOn(at(server, proxy));
    const { cursor } = await replay(driver, topic, EARLIEST, { follow: true });
    const waiting = failure(driver, cursor.receive(1, 10_000, soon()));
    proxy.cut();
    expect((await waiting).code).toBe("UNAVAILABLE");
  });
});

describe("what is gone", () => {
  test("while a replay runs is told, and ends it", async () => {
    const { driver, topic } = await topicOn({ ...at(server), batching: "none" });
    // More than is sent to a reader that does not read.
    const all = names(3_000);
    await store(driver, records(topic, ...all));
    // What is written to from then on is another ledger.
    const rest = administrator({ ...server, options: {} });
    await rest.unload(`persistent://public/default/${topic}`, soon());
    const late = await replay(driver, topic, EARLIEST);
    await rest.truncate(`persistent://public/default/${topic}`, soon());
    rest.close();
    expect((await late.all()).length).toBeLessThan(all.length);
    expect(late.losses).toMatchObject([{ shard: "0", from: undefined, to: late.cursor.end.get("0"), missing: undefined }]);
  });

  test("in part, and its end with it, ends a replay although something newer is left", async () => {
    const { driver, topic } = await topicOn({ ...at(server), batching: "none" });
    const full = `persistent://public/default/${topic}`;
    await store(driver, records(topic, ...names(3_000)));
    const rest = administrator({ ...server, options: {} });
    await rest.unload(full, soon());
    await until(async () => (await driver.publish(records(topic, "end"), soon()))[0]?.ok === true, "the topic to be served again");
    const late = await replay(driver, topic, EARLIEST);
    // The ledger that is written to stays; who reads it is moved behind what it holds.
    await rest.truncate(full, soon());
    expect((await rest.internalStats(full, soon())).ledgers).toHaveLength(1);
    rest.close();
    expect((await late.all()).length).toBeLessThan(3_000);
    expect(late.losses).toMatchObject([{ shard: "0", to: late.cursor.end.get("0"), missing: undefined }]);
  });

  test("is told where a start lies in it; at the earliest there is none", async () => {
    const { driver, topic } = await topicOn(at(server));
    const [first] = await store(driver, records(topic, ...names(4)));
    const rest = administrator({ ...server, options: {} });
    await rest.unload(`persistent://public/default/${topic}`, soon());
    await rest.truncate(`persistent://public/default/${topic}`, soon());
    rest.close();
    await until(async () => (await driver.publish(records(topic, "left"), soon()))[0]?.ok === true, "the topic to be served again");
    const place = first?.ok === true ? first.place : undefined;
    const late = await replay(driver, topic, { kind: "position", cut: new Map(place === undefined ? [] : [["0", place]]) });
    expect(ids(await late.all())).toEqual(["left"]);
    expect(late.losses).toMatchObject([{ shard: "0", from: place, missing: undefined }]);
    const early = await replay(driver, topic, EARLIEST);
    expect([ids(await early.all()), early.losses]).toEqual([["left"], []]);
  });
});
