import { ranFor } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { startProxy } from "@brokerkit/conformance/faults";
import type { Driver, WireDelivery } from "brokerkit/driver";
import { beforeAll, describe, expect, test } from "vitest";
import { type RedisOptions, redis } from "../../src/index.ts";
import {
  defer,
  fresh,
  ids,
  open,
  plain,
  type Reader,
  read,
  reconnected,
  record,
  records,
  soon,
  startServer,
  store,
  until,
} from "../stage.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await startServer();
});

type At = Pick<RunningBroker, "host" | "port">;
/** Leases that are never over here: nobody gets anything by waiting for one. */
const adapter = (at: At = server, options: RedisOptions = {}) => redis({ host: at.host, port: at.port, leaseMs: 30_000, ...options });

async function driverOn(at: At = server, options: RedisOptions = {}): Promise<Driver> {
  return (await open(adapter(at, options))).driver;
}

async function topicOn(at: At = server): Promise<{ driver: Driver; topic: string }> {
  const [driver, topic] = [await driverOn(at), fresh()];
  await driver.admin.createTopic({ name: topic }, soon());
  return { driver, topic };
}

const own = (driver: Driver, topic: string, group = "g"): Promise<Reader> =>
  read(driver, topic, group, { from: { kind: "earliest" }, exclusive: true });
const names = (from: number, to: number): string[] => Array.from({ length: to - from }, (_, n) => `m-${from + n}`);
const handBack = (deliveries: readonly WireDelivery[], delayMs = 0) => deliveries.map((delivery) => ({ delivery, delayMs, failures: 0 }));
const keysOf = async (topic: string): Promise<string[]> => ((await (await plain(server)).call("KEYS", `${topic}*`)) as string[]).sort();

describe("a new owner", () => {
  test("has first what several earlier members left, in place order, whenever their leases end; then what is newer", async () => {
    const { driver, topic } = await topicOn();
    const dead = await Promise.all([0, 1, 2].map(async () => read(await driverOn(), topic, "g")));
    await store(driver, [...records(topic, ...names(0, 60)), record(topic, "inbox", { target: { topic, group: "g" } })]);
    const done = new Set<string | undefined>();
    for (let n = 0; n < 12; n++) {
      const got = await (dead[n % 3] as Reader).take(5);
      const handled = got.filter(({ inbox }) => !inbox).slice(0, 2);
      await dead[n % 3]?.subscription.ack(handled);
      for (const id of ids(handled)) done.add(id);
      // One leaves properly half-way: what it has is given back, and is due since then.
      if (n === 7) await dead[1]?.subscription.close();
      if (n === 7) dead[1] = await read(await driverOn(), topic, "g");
    }
    await store(driver, records(topic, ...names(60, 90)));
    const owner = await own(await driverOn(), topic);
    const got: WireDelivery[] = [];
    // Seven at a time, which is fewer than there is left.
    while (ids(got).at(-1) !== "m-89") got.push(...(await owner.subscription.receive(7, 5_000, soon())));
    expect(ids(got.filter(({ inbox }) => !inbox))).toEqual(names(0, 90).filter((id) => !done.has(id)));
    expect(ids(got)).toContain("inbox");
    expect(new Set(await owner.subscription.ack(got))).toEqual(new Set(["confirmed"]));
    expect(await driver.admin.lag(topic, "g", soon())).toMatchObject({ count: 0, inFlight: 0 });
  });

  test("has ten thousand that were pending in order, in time, and does not get what is newer before", async () => {
    const { driver, topic } = await topicOn();
    const zombie = await own(await driverOn(), topic);
    for (let n = 0; n < 10_000; n += 500) await store(driver, records(topic, ...names(n, n + 500)));
    const held = await zombie.take(10_000);
    await store(driver, records(topic, ...names(10_000, 10_100)));
    const began = performance.now();
    const owner = await own(await driverOn(), topic);
    const got = await owner.take(10_100);
    expect(ranFor(began)).toBeLessThan(10_000);
    expect(ids(got)).toEqual(names(0, 10_100));
    expect(got[0]?.deliveries).toBe(2);
    expect(new Set(await zombie.subscription.ack(held))).toEqual(new Set(["lost"]));
    expect(new Set(await owner.subscription.ack(got))).toEqual(new Set(["confirmed"]));
    expect(await driver.admin.lag(topic, "g", soon())).toMatchObject({ count: 0, inFlight: 0 });
  });

  test("is told what was trimmed while it was pending, with its places", async () => {
    const { driver, topic } = await topicOn();
    const zombie = await own(driver, topic);
    await store(driver, records(topic, ...names(0, 4)));
    const held = await zombie.take(4);
    await (await plain(server)).call("XTRIM", topic, "MAXLEN", "2");
    const owner = await own(await driverOn(), topic);
    expect(ids(await owner.take(2))).toEqual(["m-2", "m-3"]);
    expect(owner.losses).toEqual(held.slice(0, 2).map(({ place }) => ({ shard: "0", from: place, to: place, missing: 1 })));
  });

  test("takes over on a full server", async () => {
    const full = await startServer();
    const { driver, topic } = await topicOn(full);
    const zombie = await read(await driverOn(full), topic, "g");
    await store(driver, records(topic, "1", "2"));
    await zombie.take(1);
    await (await plain(full)).call("CONFIG", "SET", "maxmemory", "1");
    const owner = await own(await driverOn(full), topic);
    const got = await owner.take(2);
    expect(ids(got)).toEqual(["1", "2"]);
    expect(await owner.subscription.ack(got)).toEqual(["confirmed", "confirmed"]);
  });

  test("finds at once what the former one handed back by closing, and nothing of that one stays", async () => {
    const { driver, topic } = await topicOn();
    const before = await keysOf(topic);
    for (let n = 0; n < 3; n++) {
      const owner = await own(driver, topic);
      await store(driver, records(topic, `m-${n}`));
      expect(ids(await owner.take(n + 1))).toEqual(names(0, n + 1));
      await owner.subscription.close();
    }
    expect((await keysOf(topic)).filter((key) => /bk:/.test(key))).toEqual([]);
    expect(await (await plain(server)).call("XINFO", "CONSUMERS", topic, "g")).toEqual([]);
    const last = await own(driver, topic);
    await driver.admin.deleteGroup(topic, "g", soon());
    expect(await keysOf(topic)).toEqual(before);
    await expect(last.take(1)).rejects.toThrow(/group/);
  });

  test("dies with its topic, which leaves nothing behind", async () => {
    const { driver, topic } = await topicOn();
    const owner = await own(driver, topic);
    await driver.admin.deleteTopic(topic, soon());
    expect(await keysOf(topic)).toEqual([]);
    expect(driver.classify(await owner.take(1).catch((error: unknown) => error)).code).toBe("NOT_FOUND");
  });
});

describe("a former owner", () => {
  test("settles nothing, is told promptly that it has lost, and ends", async () => {
    const { driver, topic } = await topicOn();
    const zombie = await own(driver, topic);
    await store(driver, records(topic, "1", "2", "3"));
    const [one, two, three] = (await zombie.take(3)) as [WireDelivery, WireDelivery, WireDelivery];
    const waiting = zombie.subscription.receive(10, 20_000, soon(20_000)).catch((error: unknown) => driver.classify(error));
    const began = performance.now();
    const owner = await own(await driverOn(), topic);
    expect(await waiting).toEqual({ code: "UNAVAILABLE", retryable: true });
    expect(ranFor(began)).toBeLessThan(2_000);
    expect(zombie.lost.map(({ id }) => id).sort()).toEqual(["0", "retry"]);
    // Before the new owner has it, and when it has it.
    expect(await zombie.subscription.ack([one])).toEqual(["lost"]);
    const taken = await owner.take(3);
    expect(await zombie.subscription.extend?.([two], 30_000)).toEqual(["lost"]);
    expect(await zombie.subscription.nack?.(handBack([three]))).toEqual(["lost"]);
    await zombie.subscription.close();
    expect(await owner.subscription.ack(taken)).toEqual(["confirmed", "confirmed", "confirmed"]);
    expect(ids(taken)).toEqual(["1", "2", "3"]);
    await store(driver, records(topic, "4"));
    expect(ids(await owner.take(1))).toEqual(["4"]);
  });

  test("is assigned nothing by what it had sent before and the server reads afterwards", async () => {
    const proxy = await startProxy(server);
    defer(() => proxy.close());
    const { driver, topic } = await topicOn();
    const zombie = await own(await driverOn(proxy), topic);
    await store(driver, records(topic, "1"));
    await zombie.take(1);
    // Its next read leaves this process and stops half-way, as if this process had been stopped there.
    proxy.pause("up");
    const waiting = zombie.subscription.receive(10, 20_000, soon(20_000)).catch((error: unknown) => driver.classify(error).code);
    const owner = await own(await driverOn(), topic);
    await store(driver, records(topic, "2", "3"));
    proxy.resume();
    expect(await waiting).toBe("UNAVAILABLE");
    expect(ids(await owner.take(3))).toEqual(["1", "2", "3"]);
    expect((await driver.admin.lag(topic, "g", soon())).inFlight).toBe(3);
  });

  test("that was still taking over when the next one did gives way to it", async () => {
    const proxy = await startProxy(server);
    defer(() => proxy.close());
    const { driver, topic } = await topicOn();
    const dead = await read(driver, topic, "g");
    await store(driver, records(topic, ...names(0, 500)));
    await store(driver, records(topic, ...names(500, 1_000)));
    await store(driver, records(topic, ...names(1_000, 1_500)));
    await dead.take(1_500);
    const slow = await driverOn(proxy);
    proxy.latency(200);
    const taking = own(slow, topic).catch((error: unknown) => driver.classify(error).code);
    const client = await plain(server);
    await until(async () => (await client.call("HGET", `${topic}:meta`, "owner:g")) !== null, "the first step");
    // What is pending takes more than one; the next one waits for the answer to this.
    proxy.pause("down");
    const owner = await own(await driverOn(), topic);
    const began = owner.take(1_500);
    proxy.latency(0);
    proxy.resume();
    expect(await taking).toBe("UNAVAILABLE");
    expect(ids(await began)).toEqual(names(0, 1_500));
  });

  test("and another one at the same time: of many that take at once one is left, and gets everything", async () => {
    const { driver, topic } = await topicOn();
    const first = await own(driver, topic);
    await store(driver, records(topic, ...names(0, 1_500)));
    await first.take(1_500);
    const drivers = await Promise.all(Array.from({ length: 6 }, () => driverOn()));
    const taking = await Promise.allSettled(drivers.map((one) => own(one, topic)));
    const ended = await Promise.all(
      taking.map(async (one) => {
        if (one.status === "rejected") return driver.classify(one.reason).code;
        return one.value.take(1_500, 3_000).then(ids, (error: unknown) => driver.classify(error).code);
      }),
    );
    expect(ended.filter((end) => end !== "UNAVAILABLE")).toEqual([names(0, 1_500)]);
  });
});

describe("an owner", () => {
  test("gets back what it gave back before anything newer, in place order, however few it asks for", async () => {
    const { driver, topic } = await topicOn();
    const { subscription, take } = await own(driver, topic);
    await store(driver, records(topic, ...names(0, 10)));
    const got = await take(6);
    await subscription.nack?.(handBack(got.slice(4)));
    await subscription.nack?.(handBack(got.slice(0, 4)));
    const again: WireDelivery[] = [];
    while (again.length < 10) again.push(...(await subscription.receive(1, 5_000, soon())));
    expect(ids(again)).toEqual(names(0, 10));
  });

  test("gets what falls due in time, before what is newer by then", async () => {
    const { driver, topic } = await topicOn();
    const { subscription, take } = await own(driver, topic);
    await store(driver, records(topic, ...names(0, 3)));
    const began = performance.now();
    await subscription.nack?.(handBack(await take(3), 200));
    expect(ids(await take(1))).toEqual(["m-0"]);
    expect(performance.now() - began).toBeGreaterThanOrEqual(199);
    await store(driver, [...records(topic, "newer"), record(topic, "later", { delayMs: 100 })]);
    expect(ids(await take(4))).toEqual(["m-1", "m-2", "newer", "later"]);
  });

  test("gets what fell due while it did not ask before what is newer", async () => {
    const { driver, topic } = await topicOn();
    const { subscription, take } = await own(driver, topic);
    await store(driver, records(topic, ...names(0, 2)));
    await subscription.nack?.(handBack(await take(2), 100));
    const due = performance.now() + 110;
    expect(await subscription.receive(1, 10, soon())).toEqual([]);
    await store(driver, records(topic, "newer"));
    await until(() => performance.now() > due, "it to be due");
    for (const id of ["m-0", "m-1", "newer"]) expect(ids(await subscription.receive(1, 1_000, soon()))).toEqual([id]);
  });

  test("is woken by a seek, and follows it", async () => {
    const { driver, topic } = await topicOn();
    const { subscription, take, lost } = await own(driver, topic);
    await store(driver, records(topic, "1", "2"));
    const held = await take(2);
    const waiting = take(2);
    const other = await driverOn();
    const began = performance.now();
    await other.admin.seek(topic, "g", { kind: "earliest" }, soon());
    expect(ids(await waiting)).toEqual(["1", "2"]);
    // A wait that nobody ends lasts 5 s.
    expect(ranFor(began)).toBeLessThan(3_000);
    expect(lost).toHaveLength(2);
    expect(await subscription.ack(held)).toEqual(["lost", "lost"]);
  });

  test("ends its wait at once when it is told to, and loses nothing by it", async () => {
    const { driver, topic } = await topicOn();
    const { subscription } = await own(driver, topic);
    for (let n = 0; n < 10; n++) {
      const controller = new AbortController();
      const receiving = subscription.receive(10, 20_000, controller.signal);
      const storing = store(driver, records(topic, `m-${n}`));
      if (n % 2) await storing;
      controller.abort();
      const got = [...(await receiving)];
      await storing;
      if (got.length === 0) got.push(...(await subscription.receive(10, 5_000, soon())));
      expect(ids(got)).toEqual([`m-${n}`]);
      await subscription.ack(got);
    }
  });
});

describe("many owners of one driver", () => {
  const SHARDS = 16;
  async function ownMany(driver: Driver, group = "g"): Promise<{ topics: string[]; readers: Reader[] }> {
    const topics = Array.from({ length: SHARDS }, () => fresh());
    await Promise.all(topics.map((name) => driver.admin.createTopic({ name }, soon())));
    return { topics, readers: await Promise.all(topics.map((topic) => own(driver, topic, group))) };
  }
  const connections = async (at: At): Promise<number> =>
    String(await (await plain(at)).call("CLIENT", "LIST")).match(/name=brokerkit:/g)?.length ?? 0;

  test("share two connections, wait without polling, and each is woken for itself", async () => {
    const alone = await startServer();
    const [driver, publisher] = [await driverOn(alone), await driverOn(alone)];
    const { topics, readers } = await ownMany(driver);
    expect(await connections(alone)).toBe(2 + 2 + 2);
    const stop = new AbortController();
    const seen: string[] = [];
    const work = async ({ subscription }: Reader, n: number): Promise<void> => {
      while (!stop.signal.aborted) {
        const got = await subscription.receive(10, 20_000, stop.signal);
        seen.push(...ids(got).map((id) => `${n} ${id}`));
        await subscription.ack(got);
      }
    };
    const working = Promise.allSettled(readers.map(work));
    const client = await plain(alone);
    const commands = async () => Number(/total_commands_processed:(\d+)/.exec(String(await client.call("INFO", "stats")))?.[1]);
    await until(async () => /blocked_clients:1/.test(String(await client.call("INFO", "clients"))), "them to wait");
    const before = await commands();
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect((await commands()) - before).toBeLessThan(20);
    // Two for each in a row: who has come back to wait must be waited for again.
    for (let n = 0; n < 2 * SHARDS; n++) {
      await store(publisher, records(topics[n >> 1] as string, `m-${n}`));
      await until(() => seen.length === n + 1, `message ${n}`, 3_000);
    }
    expect(seen).toEqual(Array.from({ length: 2 * SHARDS }, (_, n) => `${n >> 1} m-${n}`));
    stop.abort();
    expect((await working).map(({ status }) => status)).toEqual(Array(SHARDS).fill("fulfilled"));
  });

  test("also two groups of one topic, which stand at different places", async () => {
    const { driver, topic } = await topicOn();
    const [one, two] = [await own(driver, topic, "one"), await own(driver, topic, "two")];
    await store(driver, records(topic, "1"));
    await one.subscription.ack(await one.take(1));
    const waiting = one.take(1);
    expect(ids(await two.take(1))).toEqual(["1"]);
    const both = [waiting, two.take(1)];
    await store(driver, records(topic, "2"));
    expect((await Promise.all(both)).map(ids)).toEqual([["2"], ["2"]]);
  });

  test("all lose what they have when a connection breaks, and go on together", async () => {
    const proxy = await startProxy(server);
    defer(() => proxy.close());
    const driver = await driverOn(proxy);
    const { topics, readers } = await ownMany(driver);
    for (const topic of topics) await store(driver, records(topic, "1", "2"));
    for (const { take, subscription } of readers) await subscription.ack((await take(2)).slice(0, 1));
    const waits = readers.map(({ subscription }) =>
      subscription.receive(10, 20_000, soon()).catch((error: unknown) => driver.classify(error).code),
    );
    proxy.cut();
    expect(await Promise.all(waits)).toEqual(Array(SHARDS).fill("UNAVAILABLE"));
    expect(readers.map(({ lost }) => lost.length)).toEqual(Array(SHARDS).fill(2));
    await Promise.all(readers.map(({ subscription }) => subscription.close()));
    await driver.connect(soon());
    const again = await Promise.all(topics.map((topic) => own(driver, topic)));
    for (const { take } of again) expect((await take(1)).map(({ id, deliveries }) => [id, deliveries])).toEqual([["2", 2]]);
  });

  test("a server that stands still does not keep them from closing, and they go on afterwards", async () => {
    const frozen = await startServer();
    const driver = await driverOn(frozen);
    const { topics, readers } = await ownMany(driver);
    const waits = readers.map(({ subscription }) => subscription.receive(10, 20_000, soon()).catch(() => []));
    await frozen.stop();
    const began = performance.now();
    await Promise.all(readers.map(({ subscription }) => subscription.close()));
    expect(ranFor(began)).toBeLessThan(5_000);
    await Promise.all(waits);
    await frozen.cont();
    await reconnected(driver);
    const owner = await own(driver, topics[0] as string);
    await store(driver, records(topics[0] as string, "1"));
    expect(ids(await owner.take(1))).toEqual(["1"]);
  });

  test("where reads may not be ended from outside they are woken all the same", async () => {
    await (await plain(server)).call("ACL", "SETUSER", "quiet", "on", ">quiet", "~*", "&*", "+@all", "-client|unblock");
    const driver = await driverOn(server, { username: "quiet", password: "quiet" });
    const { topics, readers } = await ownMany(driver);
    const waits = readers.map(({ take }) => take(1));
    for (const [n, topic] of topics.entries()) await store(driver, records(topic, `m-${n}`));
    expect((await Promise.all(waits)).map((got) => ids(got)[0])).toEqual(names(0, SHARDS));
  });
});

test("a member that gave up while it joined is forgotten, and the others are told when the connection is lost", async () => {
  const { driver, topic } = await topicOn();
  const giveUp = new AbortController();
  const events = { releasing: async () => {}, lost: () => {}, state: () => {}, dataLoss: () => {} };
  const from = { kind: "earliest" } as const;
  const joining = driver.subscribe({ topic, group: "g", from, credit: 10, exclusive: true, events }, giveUp.signal);
  await new Promise((resolve) => setImmediate(resolve));
  giveUp.abort();
  await expect(joining).rejects.toThrow("Aborted");
  const owner = await own(driver, topic);
  await (await plain(server)).call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
  await until(() => owner.lost.length > 0, "the loss to be told");
  await expect(owner.subscription.receive(1, 1_000, soon())).rejects.toMatchObject({ driverCode: "UNAVAILABLE" });
});

test("a member that gave up while it joined does not become the owner afterwards", async () => {
  const frozen = await startServer();
  const { driver, topic } = await topicOn(frozen);
  const other = fresh();
  await driver.admin.createTopic({ name: other }, soon());
  // The shared connections are there already.
  await own(driver, other);
  const giveUp = new AbortController();
  const events = { releasing: async () => {}, lost: () => {}, state: () => {}, dataLoss: () => {} };
  await frozen.stop();
  const from = { kind: "earliest" } as const;
  const joining = driver.subscribe({ topic, group: "g", from, credit: 10, exclusive: true, events }, giveUp.signal);
  await new Promise((resolve) => setImmediate(resolve));
  giveUp.abort();
  await expect(joining).rejects.toThrow("Aborted");
  await frozen.cont();
  const client = await plain(frozen);
  // It has made the group before it was gone.
  await until(async () => (await driver.admin.describeTopic(topic, soon()))?.groups?.includes("g") === true, "the group");
  await driver.ping(soon());
  await driver.ping(soon());
  expect(await client.call("HGET", `${topic}:meta`, "owner:g")).toBeNull();
});
