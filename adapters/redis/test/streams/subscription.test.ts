import { ranFor } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import type { PublishResult, WireDelivery } from "brokerkit/driver";
import { beforeAll, describe, expect, test } from "vitest";
import { type RedisOptions, redis } from "../../src/index.ts";
import { fresh, ids, open, plain, read, record, records, soon, startServer, store, until } from "../stage.ts";

const LEASE_MS = 2_500;
let server: RunningBroker;
beforeAll(async () => {
  server = await startServer();
});

const adapter = (options: RedisOptions = {}) => redis({ host: server.host, port: server.port, leaseMs: LEASE_MS, ...options });

async function topicOn(options: RedisOptions = {}) {
  const opened = await open(adapter(options));
  const topic = fresh();
  await opened.driver.admin.createTopic({ name: topic }, soon());
  return { ...opened, topic };
}

const entryOf = (result: PublishResult | undefined): string => (result?.ok ? String(result.place).slice(2).replace(".", "-") : "");
const handBack = (deliveries: readonly WireDelivery[], delayMs = 0, failures = 0) =>
  deliveries.map((delivery) => ({ delivery, delayMs, failures }));

describe("ownership", () => {
  test("what is acknowledged is over; settling it again changes nothing", async () => {
    const { driver, topic } = await topicOn();
    const { subscription, take } = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2", "3"));
    const got = await take(3);
    expect(await subscription.ack([got[2] as WireDelivery, got[0] as WireDelivery])).toEqual(["confirmed", "confirmed"]);
    expect(await subscription.ack(got)).toEqual(["lost", "confirmed", "lost"]);
    expect(await subscription.nack?.(handBack(got))).toEqual(["lost", "lost", "lost"]);
    expect(await driver.admin.lag(topic, "g", soon())).toEqual({ count: 0, inFlight: 0, oldestMs: 0 });
  });

  test("a member past its lease loses to another, and its late settling touches nothing", async () => {
    const { driver, topic } = await topicOn();
    const zombie = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2"));
    const old = await zombie.take(2);
    const next = await read((await open(adapter())).driver, topic, "g");
    const began = performance.now();
    const taken = await next.take(2);
    expect(performance.now() - began).toBeGreaterThan(LEASE_MS / 2);
    expect(taken.map(({ id, deliveries, failures }) => [id, deliveries, failures])).toEqual([
      ["1", 2, 0],
      ["2", 2, 0],
    ]);
    expect(await zombie.subscription.ack(old)).toEqual(["lost", "lost"]);
    expect(await zombie.subscription.extend?.(old, LEASE_MS)).toEqual(["lost", "lost"]);
    expect(await zombie.subscription.nack?.(handBack(old, 0, 7))).toEqual(["lost", "lost"]);
    expect(await next.subscription.ack(taken)).toEqual(["confirmed", "confirmed"]);
  });

  test("what a plain client has claimed from us is no longer ours, before any lease is over", async () => {
    const { driver, topic } = await topicOn();
    const { subscription, take } = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2", "3"));
    const got = await take(3);
    const client = await plain(server);
    await client.call("XCLAIM", topic, "g", "somebody", "0", (got[1]?.place ?? "").slice(2).replace(".", "-"));
    expect(await subscription.ack(got)).toEqual(["confirmed", "lost", "confirmed"]);
    const pending = (await client.call("XPENDING", topic, "g", "-", "+", "10")) as string[][];
    expect(pending.map(([, consumer]) => consumer)).toEqual(["somebody"]);
  });

  test("a delivery whose lease ran out comes again to the same member; the old one can't settle the new one", async () => {
    const { driver, topic } = await topicOn();
    const { subscription, take } = await read(driver, topic, "g");
    await store(driver, records(topic, "1"));
    const [old] = await take(1);
    const [again] = await take(1);
    expect([again?.id, again?.deliveries]).toEqual(["1", 2]);
    expect(await subscription.ack([old as WireDelivery])).toEqual(["lost"]);
    expect((await driver.admin.lag(topic, "g", soon())).count).toBe(1);
    expect(await subscription.ack([again as WireDelivery])).toEqual(["confirmed"]);
  });

  test("an extended delivery stays, also far beyond the lease", async () => {
    const { driver, topic } = await topicOn();
    const owner = await read(driver, topic, "g");
    await store(driver, records(topic, "kept", "short"));
    const [kept, short] = (await owner.take(2)) as [WireDelivery, WireDelivery];
    expect(await owner.subscription.extend?.([kept], 5 * LEASE_MS)).toEqual(["confirmed"]);
    const other = await read(driver, topic, "g");
    const taken = await other.take(1);
    expect(ids(taken)).toEqual(["short"]);
    await other.subscription.ack(taken);
    expect(await other.subscription.receive(1, 2 * LEASE_MS, soon())).toEqual([]);
    expect(await owner.subscription.ack([kept, short])).toEqual(["confirmed", "lost"]);
  });

  test("members with leases of different lengths respect each other's", async () => {
    const { driver, topic } = await topicOn({ leaseMs: 4_000 });
    const patient = await read(driver, topic, "g");
    const hasty = await read((await open(adapter({ leaseMs: 300 }))).driver, topic, "g");
    await store(driver, records(topic, "1"));
    const got = await patient.take(1, 1_000).catch(() => []);
    const [owner, other, deliveries] = got.length === 1 ? [patient, hasty, got] : [hasty, patient, await hasty.take(1)];
    if (owner === patient) {
      expect(await other.subscription.receive(1, 1_500, soon())).toEqual([]);
      expect(await owner.subscription.ack(deliveries)).toEqual(["confirmed"]);
    }
  });

  test("an ack of many goes through whoever else has what lies between", async () => {
    const { driver, topic } = await topicOn({ leaseMs: 20_000 });
    const [one, two] = [await read(driver, topic, "g"), await read(driver, topic, "g")];
    await store(driver, records(topic, ...Array.from({ length: 100 }, (_, n) => `${n}`)));
    const [mine, theirs]: [WireDelivery[], WireDelivery[]] = [[], []];
    for (let n = 0; n < 10; n++) {
      mine.push(...(await one.take(5)));
      theirs.push(...(await two.take(5)));
    }
    expect(new Set(await one.subscription.ack(mine))).toEqual(new Set(["confirmed"]));
    expect((await driver.admin.lag(topic, "g", soon())).inFlight).toBe(50);
    expect(new Set(await two.subscription.ack(theirs.reverse()))).toEqual(new Set(["confirmed"]));
    expect(await driver.admin.lag(topic, "g", soon())).toEqual({ count: 0, inFlight: 0, oldestMs: 0 });
  });

  test("thousands are acknowledged in one call", async () => {
    const { driver, topic } = await topicOn({ leaseMs: 20_000 });
    const { subscription, take } = await read(driver, topic, "g");
    for (let n = 0; n < 5; n++) await store(driver, records(topic, ...Array.from({ length: 500 }, (_, m) => `${n}-${m}`)));
    const got = await take(2_500);
    expect(new Set(await subscription.ack(got))).toEqual(new Set(["confirmed"]));
    expect((await driver.admin.lag(topic, "g", soon())).count).toBe(0);
  });
});

describe("giving back", () => {
  test("a nack comes back not before its time, at its place, with failures and deliveries counted, to any member", async () => {
    const { driver, topic } = await topicOn({ leaseMs: 20_000 });
    const { subscription, take } = await read(driver, topic, "g");
    await store(driver, records(topic, "1"));
    const [first] = await take(1);
    const began = performance.now();
    expect(await subscription.nack?.(handBack([first as WireDelivery], 300, 3))).toEqual(["confirmed"]);
    expect(await driver.admin.lag(topic, "g", soon())).toMatchObject({ count: 1, inFlight: 0 });
    await subscription.close();
    const [second] = await (await read((await open(adapter())).driver, topic, "g")).take(1);
    expect(performance.now() - began).toBeGreaterThanOrEqual(299);
    expect([second?.id, second?.place, second?.failures, second?.deliveries, second?.inbox]).toEqual(["1", first?.place, 3, 2, false]);
  });

  test("failures survive the consumer that got them next", async () => {
    const { driver, topic } = await topicOn();
    const one = await read(driver, topic, "g");
    await store(driver, records(topic, "1"));
    await one.subscription.nack?.(handBack(await one.take(1), 0, 2));
    await one.take(1);
    const [third] = await (await read((await open(adapter())).driver, topic, "g")).take(1);
    expect([third?.failures, third?.deliveries]).toEqual([2, 3]);
  });

  test("a nack wakes a member that waits, in another process too", async () => {
    const { driver, topic } = await topicOn({ leaseMs: 20_000 });
    const one = await read(driver, topic, "g");
    await store(driver, records(topic, "1"));
    const got = await one.take(1);
    const two = await read((await open(adapter({ leaseMs: 20_000 }))).driver, topic, "g");
    const waiting = two.take(1);
    const began = performance.now();
    await one.subscription.nack?.(handBack(got, 100));
    expect(ids(await waiting)).toEqual(["1"]);
    expect(performance.now() - began).toBeGreaterThanOrEqual(99);
    expect(ranFor(began)).toBeLessThan(2_000);
  });

  test("closing hands back at once and in order what was not settled, and leaves no consumer behind", async () => {
    const { driver, topic } = await topicOn({ leaseMs: 20_000 });
    const one = await read(driver, topic, "g");
    const names = Array.from({ length: 120 }, (_, n) => `m-${n}`);
    await store(driver, records(topic, ...names));
    const got = await one.take(120);
    await one.subscription.ack(got.slice(0, 5));
    await one.subscription.close();
    const client = await plain(server);
    expect(await client.call("XINFO", "CONSUMERS", topic, "g")).toEqual([]);
    expect(await driver.admin.lag(topic, "g", soon())).toMatchObject({ count: 115, inFlight: 0 });
    const two = await read(driver, topic, "g");
    expect(two.subscription.created).toBe(false);
    expect(ids(await two.take(115))).toEqual(names.slice(5));
  });

  test("closing while a receive waits ends it, and nothing that comes then is lost", async () => {
    const { driver, topic } = await topicOn({ leaseMs: 20_000 });
    for (let n = 0; n < 20; n++) {
      const one = await read(driver, topic, "g", { from: { kind: "earliest" } });
      const receiving = one.subscription.receive(10, 10_000, soon());
      const [stored] = await Promise.all([store(driver, records(topic, `m-${n}`)), one.subscription.close()]);
      expect(stored.every((result) => result.ok)).toBe(true);
      await receiving;
    }
    const last = await read(driver, topic, "g");
    expect(new Set(ids(await last.take(20)))).toEqual(new Set(Array.from({ length: 20 }, (_, n) => `m-${n}`)));
  });
});

describe("the group's inbox", () => {
  test("is read by its group alone, beside the topic, with the failures that came along", async () => {
    const { driver, topic } = await topicOn();
    const [one, other] = [await read(driver, topic, "one"), await read(driver, topic, "other")];
    await store(driver, [
      record(topic, "moved", { target: { topic, group: "one" }, failures: 4, key: Buffer.from("k") }),
      record(topic, "plain"),
    ]);
    const got = await one.take(2);
    expect(got.map(({ id, inbox, failures, shard }) => [id, inbox, failures, shard.id]).sort()).toEqual([
      ["moved", true, 4, "retry"],
      ["plain", false, 0, "0"],
    ]);
    expect(ids(await other.take(1))).toEqual(["plain"]);
    expect(await driver.admin.lag(topic, "one", soon())).toMatchObject({ count: 2, inFlight: 2 });
    expect(await one.subscription.ack(got)).toEqual(["confirmed", "confirmed"]);
    expect(await driver.admin.lag(topic, "one", soon())).toMatchObject({ count: 0, inFlight: 0 });
    expect(await (await plain(server)).call("XLEN", `${topic}.one.retry`)).toBe(0);
  });

  test("a delayed record wakes the group in time; a nack counts on", async () => {
    const { driver, topic } = await topicOn();
    const { subscription, take } = await read(driver, topic, "g");
    const waiting = take(1);
    const began = performance.now();
    await store(driver, [record(topic, "later", { target: { topic, group: "g" }, failures: 1, delayMs: 200 })]);
    const got = await waiting;
    expect(performance.now() - began).toBeGreaterThanOrEqual(199);
    await subscription.nack?.(handBack(got, 0, 2));
    expect((await take(1)).map(({ id, failures, deliveries }) => [id, failures, deliveries])).toEqual([["later", 2, 2]]);
  });

  test("a busy inbox and a busy topic share a receive, and no receive gives more than was asked", async () => {
    const { driver, topic } = await topicOn({ leaseMs: 20_000 });
    const { subscription } = await read(driver, topic, "g");
    const names = Array.from({ length: 100 }, (_, n) => `${n}`);
    await store(driver, [...records(topic, ...names), ...names.map((id) => record(topic, `i-${id}`, { target: { topic, group: "g" } }))]);
    const got: WireDelivery[] = [];
    while (got.length < 200) {
      const some = await subscription.receive(7, 1_000, soon());
      expect(some.length).toBeLessThanOrEqual(7);
      got.push(...some);
    }
    expect(new Set(ids(got)).size).toBe(200);
    expect(ids(got.filter(({ inbox }) => !inbox))).toEqual(names);
  });
});

describe("starts", () => {
  test("latest, earliest, a time and a position each give what they say", async () => {
    const { driver, topic } = await topicOn();
    await store(driver, records(topic, "1", "2"));
    const cut = await driver.admin.position(topic, undefined, soon());
    await until(() => Date.now() > Number([...cut.values()][0]?.slice(2).split(".")[0]) + 5, "time to pass");
    const ms = Date.now();
    await store(driver, records(topic, "3"));
    const starts = {
      latest: { kind: "latest" },
      earliest: { kind: "earliest" },
      time: { kind: "time", ms },
      position: { kind: "position", cut },
    } as const;
    const expected = { latest: ["4"], earliest: ["1", "2", "3", "4"], time: ["3", "4"], position: ["3", "4"] };
    const readers = new Map<keyof typeof starts, Awaited<ReturnType<typeof read>>[]>();
    for (const kind of Object.keys(starts) as (keyof typeof starts)[]) {
      readers.set(kind, [
        await read(driver, topic, `g-${kind}`, { from: starts[kind] }),
        await read(driver, topic, undefined, { from: starts[kind] }),
      ]);
    }
    await store(driver, records(topic, "4"));
    for (const [kind, both] of readers) {
      for (const reader of both) {
        expect(ids(await reader.take(expected[kind].length)), kind).toEqual(expected[kind]);
        expect(reader.losses).toEqual([]);
      }
    }
  });

  test("a group that exists keeps its place, also one that a plain client has made", async () => {
    const { driver, topic } = await topicOn();
    await store(driver, records(topic, "1", "2", "3"));
    const client = await plain(server);
    await client.call("XGROUP", "CREATE", topic, "made", "0");
    await client.call("XREADGROUP", "GROUP", "made", "somebody", "COUNT", "1", "STREAMS", topic, ">");
    const reader = await read(driver, topic, "made", { from: { kind: "latest" } });
    expect(reader.subscription.created).toBe(false);
    expect(ids(await reader.take(2))).toEqual(["2", "3"]);
    expect(ids(await reader.take(1))).toEqual(["1"]);
    expect(reader.losses).toEqual([]);
  });

  test("a missing topic is NOT_FOUND, and nothing is made by asking", async () => {
    const { driver } = await topicOn();
    const missing = fresh();
    for (const group of ["g", undefined]) {
      const error = await read(driver, missing, group).catch((raw: unknown) => raw);
      expect(driver.classify(error).code).toBe("NOT_FOUND");
    }
    expect(await (await plain(server)).call("KEYS", `${missing}*`)).toEqual([]);
  });

  test("what a plain client has stored is read: named fields, or all of them as JSON", async () => {
    const { driver, topic } = await topicOn();
    const reader = await read(driver, topic, "g");
    const client = await plain(server);
    await client.call("XADD", topic, "*", "payload", "hello", "key", "k1", "type", "greeting");
    await client.call("XADD", topic, "*", "a", "1", "b", "2");
    await client.call("XADD", topic, "5000000000000-7", "body", Buffer.from([0, 255]));
    const got = await reader.take(3);
    expect(
      got.map(({ id, key, headers, body }) => [
        id,
        key?.toString(),
        headers.map(([name, value]) => `${name}=${value}`),
        Buffer.from(body ?? []).toString("latin1"),
      ]),
    ).toEqual([
      [undefined, "k1", ["type=greeting"], "hello"],
      [undefined, undefined, [], '{"a":"1","b":"2"}'],
      [undefined, undefined, [], "\0ÿ"],
    ]);
    expect(got.at(-1)?.place).toBe("0:5000000000000.7");
    expect(got.at(-1)?.publishedAt).toBe(5_000_000_000_000);
    expect(await reader.subscription.ack(got)).toEqual(["confirmed", "confirmed", "confirmed"]);
  });

  test("what we store is read by a plain client: body, key and headers are fields", async () => {
    const { driver, topic } = await topicOn();
    await store(driver, [
      record(topic, "id 1", { key: Buffer.from("k"), headers: [["trace", Buffer.from("abc")]], body: Buffer.from("{}"), publishedAt: 12 }),
    ]);
    const [[, fields]] = (await (await plain(server)).call("XRANGE", topic, "-", "+")) as [[string, string[]]];
    expect(fields).toEqual(["bk1", "12 3 id 1", "body", "{}", "key", "k", "trace", "abc"]);
  });
});

describe("loss", () => {
  const trim = async (topic: string, keep: number) => (await plain(server)).call("XTRIM", topic, "MAXLEN", String(keep));

  test("unread entries that were trimmed are counted, before anything later comes", async () => {
    const { driver, topic } = await topicOn();
    const reader = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2"));
    await reader.subscription.ack(await reader.take(2));
    await store(driver, records(topic, "3", "4", "5", "6", "7"));
    await trim(topic, 2);
    expect(ids(await reader.take(2))).toEqual(["6", "7"]);
    expect(reader.losses.map(({ shard, missing }) => [shard, missing])).toEqual([["0", 3]]);
    await store(driver, records(topic, "8"));
    await reader.take(1);
    expect(reader.losses).toHaveLength(1);
  });

  test("everything trimmed is a loss too, and trimming what was read is none", async () => {
    const { driver, topic } = await topicOn();
    const reader = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2", "3"));
    await reader.subscription.ack(await reader.take(3));
    await trim(topic, 0);
    expect(await reader.subscription.receive(1, 50, soon())).toEqual([]);
    expect(reader.losses).toEqual([]);
    await reader.subscription.close();
    await store(driver, records(topic, "4", "5"));
    await trim(topic, 0);
    const again = await read(driver, topic, "g");
    expect(await again.subscription.receive(1, 50, soon())).toEqual([]);
    expect(again.losses.map(({ missing }) => missing)).toEqual([2]);
    await store(driver, records(topic, "6"));
    expect(ids(await again.take(1))).toEqual(["6"]);
    expect(again.losses).toHaveLength(1);
  });

  test("a deleted entry that was not read is reported, once", async () => {
    const { driver, topic } = await topicOn();
    const reader = await read(driver, topic, "g");
    const stored = await store(driver, records(topic, "1", "2", "3", "4"));
    await reader.subscription.ack(await reader.take(1));
    await (await plain(server)).call("XDEL", topic, entryOf(stored[2]));
    expect(ids(await reader.take(2))).toEqual(["2", "4"]);
    expect(reader.losses.map(({ missing }) => missing)).toEqual([undefined]);
    await store(driver, records(topic, "5"));
    expect(ids(await reader.take(1))).toEqual(["5"]);
    expect(reader.losses).toHaveLength(1);
    expect(await driver.admin.lag(topic, "g", soon())).toMatchObject({ count: 3 });
  });

  test("pending entries that were trimmed are reported with their places when they can't be delivered again", async () => {
    const { driver, topic } = await topicOn();
    const one = await read(driver, topic, "g");
    const stored = await store(driver, records(topic, "1", "2"));
    const got = await one.take(2);
    await trim(topic, 0);
    await one.subscription.nack?.(handBack(got.slice(0, 1), 0, 1));
    const two = await read((await open(adapter())).driver, topic, "g");
    await until(async () => {
      await two.subscription.receive(1, 100, soon());
      return one.losses.length + two.losses.length === 2;
    }, "both losses");
    const places = [...one.losses, ...two.losses].map(({ from, to, missing }) => [from, to, missing]);
    expect(places.sort()).toEqual(stored.map((result) => [result.ok && result.place, result.ok && result.place, 1]));
    expect(await driver.admin.lag(topic, "g", soon())).toMatchObject({ count: 0 });
  });

  test("a held delivery that was trimmed can be acknowledged; extending it says that it can't come again", async () => {
    const { driver, topic } = await topicOn();
    const reader = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2"));
    const [acked, extended] = (await reader.take(2)) as [WireDelivery, WireDelivery];
    await trim(topic, 0);
    expect(await reader.subscription.ack([acked])).toEqual(["confirmed"]);
    expect(await reader.subscription.extend?.([extended], LEASE_MS)).toEqual(["lost"]);
    expect(reader.losses).toEqual([{ shard: "0", from: extended.place, to: extended.place, missing: 1 }]);
  });

  test("retention of our own is told apart: a start behind it loses, one at its edge does not", async () => {
    const { driver } = await topicOn();
    const topic = fresh();
    await driver.admin.createTopic({ name: topic, native: { redis: { maxLength: 3 } } }, soon());
    const [first, second] = await store(driver, records(topic, "1", "2", "3", "4"));
    await store(driver, records(topic, "5"));
    const start = (result: typeof first) =>
      ({ from: { kind: "position", cut: new Map([["0", result?.ok ? result.place : undefined]]) } }) as never;
    const [behind, edge] = [await read(driver, topic, "behind", start(first)), await read(driver, topic, "edge", start(second))];
    expect(ids(await behind.take(3))).toEqual(["3", "4", "5"]);
    expect(ids(await edge.take(3))).toEqual(["3", "4", "5"]);
    expect(behind.losses.map(({ missing }) => missing)).toEqual([1]);
    expect(edge.losses).toEqual([]);
  });
});

describe("waiting", () => {
  test("an aborted receive ends within a second with what was assigned meanwhile", async () => {
    const { driver, topic } = await topicOn({ leaseMs: 20_000 });
    const { subscription } = await read(driver, topic, "g");
    for (let n = 0; n < 10; n++) {
      const controller = new AbortController();
      const receiving = subscription.receive(10, 20_000, controller.signal);
      const storing = store(driver, records(topic, `m-${n}`));
      if (n % 2) await storing;
      const began = performance.now();
      controller.abort();
      const got = await receiving;
      expect(ranFor(began)).toBeLessThan(1_000);
      await storing;
      const rest = got.length === 1 ? [] : await subscription.receive(10, 5_000, soon());
      expect(ids([...got, ...rest])).toEqual([`m-${n}`]);
      await subscription.ack([...got, ...rest]);
    }
  });

  test("many members that wait do not poll", async () => {
    const { driver } = await topicOn({ leaseMs: 30_000 });
    const waits: Promise<unknown>[] = [];
    const stop = new AbortController();
    for (let n = 0; n < 20; n++) {
      const topic = fresh();
      await driver.admin.createTopic({ name: topic }, soon());
      for (const group of ["g", undefined]) waits.push((await read(driver, topic, group)).subscription.receive(10, 20_000, stop.signal));
    }
    const client = await plain(server);
    const blocked = async () => Number(/blocked_clients:(\d+)/.exec(String(await client.call("INFO", "clients")))?.[1]);
    const commands = async () => Number(/total_commands_processed:(\d+)/.exec(String(await client.call("INFO", "stats")))?.[1]);
    await until(async () => (await blocked()) === 40, "all to wait");
    const before = await commands();
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect((await commands()) - before).toBeLessThan(20);
    stop.abort();
    await Promise.all(waits);
  });

  test("fifty members of one group share without overlap", async () => {
    const { driver, topic } = await topicOn({ leaseMs: 20_000 });
    const readers = await Promise.all(Array.from({ length: 50 }, () => read(driver, topic, "g")));
    const seen: (string | undefined)[] = [];
    const stop = new AbortController();
    const working = readers.map(async ({ subscription }) => {
      while (!stop.signal.aborted) {
        const got = await subscription.receive(10, 5_000, stop.signal);
        seen.push(...ids(got));
        await subscription.ack(got);
      }
    });
    for (let n = 0; n < 20; n++) await store(driver, records(topic, ...Array.from({ length: 50 }, (_, m) => `${n}-${m}`)));
    await until(() => seen.length >= 1_000, "all of it");
    stop.abort();
    await Promise.all(working);
    expect(new Set(seen).size).toBe(1_000);
    expect(seen).toHaveLength(1_000);
  });
});

describe("moving a live group", () => {
  test("takes away what is outstanding, wakes who waits, and delivers from there", async () => {
    const { driver, topic } = await topicOn({ leaseMs: 20_000 });
    const here = await read(driver, topic, "g");
    const there = await read((await open(adapter({ leaseMs: 20_000 }))).driver, topic, "g");
    await store(driver, records(topic, "1", "2", "3"));
    const held = await here.take(3);
    const waiting = there.take(3);
    await driver.admin.seek(topic, "g", { kind: "earliest" }, soon());
    expect(here.lost.map(({ id }) => id).sort()).toEqual(["0", "retry"]);
    expect(ids(await waiting)).toEqual(["1", "2", "3"]);
    expect(there.lost).toHaveLength(2);
    expect(await here.subscription.ack(held)).toEqual(["lost", "lost", "lost"]);
    expect((await driver.admin.lag(topic, "g", soon())).inFlight).toBe(3);
  });

  test("the same member may get the same entries again; what it held before settles none of them", async () => {
    const { driver, topic } = await topicOn({ leaseMs: 20_000 });
    const { subscription, take, lost } = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2"));
    const old = await take(2);
    await driver.admin.seek(topic, "g", { kind: "earliest" }, soon());
    const again = await take(2);
    expect(again.every(({ shard }) => old.every((delivery) => delivery.shard !== shard))).toBe(true);
    expect(lost).toEqual([old[0]?.shard, expect.anything()]);
    expect(await subscription.ack(old)).toEqual(["lost", "lost"]);
    expect(await subscription.ack(again)).toEqual(["confirmed", "confirmed"]);
  });

  test("forward skips what was not handled, given back and pending, and keeps the inbox", async () => {
    const { driver, topic } = await topicOn({ leaseMs: 20_000 });
    const { subscription, take } = await read(driver, topic, "g");
    await store(driver, [...records(topic, "1", "2", "3", "4"), record(topic, "kept", { target: { topic, group: "g" } })]);
    const got = await take(3);
    await subscription.nack?.(handBack(got.slice(0, 1), 60_000));
    await driver.admin.seek(topic, "g", { kind: "latest" }, soon());
    await store(driver, records(topic, "5"));
    expect(ids(await take(2)).sort()).toEqual(["5", "kept"]);
    expect(await driver.admin.lag(topic, "g", soon())).toMatchObject({ count: 2 });
  });

  test("a group that is deleted is lost to its members", async () => {
    const { driver, topic } = await topicOn();
    const { subscription, lost } = await read(driver, topic, "g");
    const receiving = subscription.receive(1, 20_000, soon()).catch((error: unknown) => error);
    await driver.admin.deleteGroup(topic, "g", soon());
    expect(driver.classify(await receiving).code).toBe("NOT_FOUND");
    expect(lost).toHaveLength(2);
  });
});

test("a broadcast reader sees everything, settles nothing, and starts where it says", async () => {
  const { driver, topic } = await topicOn();
  await store(driver, records(topic, "old"));
  const [one, two] = [await read(driver, topic, undefined), await read(driver, topic, undefined)];
  await store(driver, records(topic, "1", "2"));
  for (const reader of [one, two]) {
    const got = await reader.take(2);
    expect(ids(got)).toEqual(["1", "2"]);
    expect(await reader.subscription.ack(got)).toEqual(["confirmed", "confirmed"]);
    expect(reader.subscription.nack).toBeUndefined();
  }
  const resumed = await read(driver, topic, undefined, { from: { kind: "position", cut: one.subscription.start as never } });
  expect(ids(await resumed.take(2))).toEqual(["1", "2"]);
  expect(await (await plain(server)).call("XINFO", "GROUPS", topic)).toEqual([]);
});
