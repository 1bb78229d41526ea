import { ranFor } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import type { WireDelivery } from "brokerkit/driver";
import { beforeAll, describe, expect, test } from "vitest";
import { type NatsOptions, nats } from "../../src/index.ts";
import { api, at, defer, fresh, ids, open, plain, proxied, read, record, records, soon, startServer, store, until } from "../stage.ts";

const LEASE_MS = 2_500;
let server: RunningBroker;
beforeAll(async () => {
  server = await startServer();
});

const adapter = (options: NatsOptions = {}, where: Pick<RunningBroker, "host" | "port"> = server) =>
  nats({ ...at(where), leaseMs: LEASE_MS, ...options });

async function topicOn(options: NatsOptions = {}, where: Pick<RunningBroker, "host" | "port"> = server) {
  const opened = await open(adapter(options, where));
  const topic = fresh();
  await opened.driver.admin.createTopic({ name: topic }, soon());
  return { ...opened, topic };
}

const handBack = (deliveries: readonly WireDelivery[], delayMs = 0) => deliveries.map((delivery) => ({ delivery, delayMs, failures: 0 }));

/** As retention does it. */
async function keepNewest(topic: string, keep: number): Promise<void> {
  const client = await plain(server);
  const { config } = (await api(client, `STREAM.INFO.${topic}`)) as { config: object };
  await api(client, `STREAM.UPDATE.${topic}`, { ...config, max_msgs: keep });
  await api(client, `STREAM.UPDATE.${topic}`, config);
}

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
    const taken = await next.take(2);
    expect(taken.map(({ id, deliveries }) => [id, deliveries])).toEqual([
      ["1", 2],
      ["2", 2],
    ]);
    expect(await zombie.subscription.ack(old)).toEqual(["lost", "lost"]);
    expect(await zombie.subscription.extend?.(old, LEASE_MS)).toEqual(["lost", "lost"]);
    expect(await zombie.subscription.nack?.(handBack(old))).toEqual(["lost", "lost"]);
    expect(await next.subscription.ack(taken)).toEqual(["confirmed", "confirmed"]);
    expect(await driver.admin.lag(topic, "g", soon())).toMatchObject({ count: 0 });
  });

  test("an extension far beyond the lease is kept without being asked for again", async () => {
    const { driver, topic } = await topicOn({ leaseMs: 400 });
    const { subscription, take } = await read(driver, topic, "g");
    await store(driver, records(topic, "1"));
    const got = await take(1);
    expect(await subscription.extend?.(got, 2_000)).toEqual(["confirmed"]);
    const other = await read((await open(adapter({ leaseMs: 400 }))).driver, topic, "g");
    expect(await other.subscription.receive(1, 1_500, soon())).toEqual([]);
    expect(await subscription.ack(got)).toEqual(["confirmed"]);
  });

  test("what waits in the driver keeps its lease", async () => {
    const { driver, topic } = await topicOn();
    const { subscription } = await read(driver, topic, "g");
    const other = await read((await open(adapter())).driver, topic, "g");
    // Both are there before anybody asks, so the call that wants one gets both.
    await store(driver, [record(topic, "1"), record(topic, "2", { target: { topic, group: "g" } })]);
    const first = await subscription.receive(1, 5_000, soon());
    expect(await subscription.extend?.(first, 4 * LEASE_MS)).toEqual(["confirmed"]);
    expect(await other.subscription.receive(5, 2 * LEASE_MS, soon())).toEqual([]);
    expect([...ids(first), ...ids(await subscription.receive(1, 100, soon()))].sort()).toEqual(["1", "2"]);
  });

  test("closing hands back at once and in order what was not settled", async () => {
    const { driver, topic } = await topicOn({ leaseMs: 30_000 });
    const first = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2", "3", "4"));
    const got = await first.take(4);
    await first.subscription.ack([got[1] as WireDelivery]);
    await first.subscription.close();
    const second = await read(driver, topic, "g");
    const began = performance.now();
    expect((await second.take(3)).map(({ id, deliveries }) => [id, deliveries])).toEqual([
      ["1", 2],
      ["3", 2],
      ["4", 2],
    ]);
    expect(ranFor(began)).toBeLessThan(5_000);
  });

  test("a nack comes back not before its time, counted, and a long delay outlives the server's numbers", async () => {
    const { driver, topic } = await topicOn();
    const { subscription, take } = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2"));
    const [one, two] = (await take(2)) as [WireDelivery, WireDelivery];
    const began = performance.now();
    expect(await subscription.nack?.([...handBack([one], 600), ...handBack([two], 365 * 86_400_000)])).toEqual(["confirmed", "confirmed"]);
    const again = await take(1);
    expect(again.map(({ id, deliveries }) => [id, deliveries])).toEqual([["1", 2]]);
    expect(performance.now() - began).toBeGreaterThan(590);
    await subscription.ack(again);
    expect(await subscription.receive(1, 1_500, soon())).toEqual([]);
    expect(await driver.admin.lag(topic, "g", soon())).toMatchObject({ count: 1, inFlight: 1 });
  });

  test("a group bound by maxUnacked hands out no more, all members together", async () => {
    const { driver, topic, capabilities } = await topicOn({ maxUnacked: 3 });
    expect(capabilities.hold).toMatchObject({ maxUnacked: 3, scope: "group" });
    const { subscription, take } = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2", "3", "4"));
    const got = await take(3);
    expect(await subscription.receive(5, 300, soon())).toEqual([]);
    await subscription.ack(got.slice(0, 1));
    expect(ids(await take(1))).toEqual(["4"]);
  });
});

describe("the inbox", () => {
  test("is read by its group alone, with failures, not before its delay, and counts what was seen", async () => {
    const { driver, topic } = await topicOn();
    const one = await read(driver, topic, "g");
    const two = await read(driver, topic, "h");
    const began = performance.now();
    const target = { topic, group: "g" };
    await store(driver, [
      record(topic, "late", { target, failures: 2, delayMs: 700 }),
      record(topic, "now", { target, failures: 1, delayMs: 0 }),
    ]);
    const [first] = (await one.take(1)) as [WireDelivery];
    expect(first).toMatchObject({ id: "now", failures: 1, inbox: true, deliveries: 1, place: "retry:2" });
    expect(first.shard.id).toBe("retry");
    const [second] = (await one.take(1)) as [WireDelivery];
    expect(performance.now() - began).toBeGreaterThan(690);
    expect(second).toMatchObject({ id: "late", failures: 2, inbox: true, deliveries: 1 });
    expect(await driver.admin.lag(topic, "g", soon())).toMatchObject({ count: 2, inFlight: 2 });
    expect(await one.subscription.ack([first, second])).toEqual(["confirmed", "confirmed"]);
    expect(await driver.admin.lag(topic, "g", soon())).toEqual({ count: 0, inFlight: 0, oldestMs: 0 });
    expect(await two.subscription.receive(1, 200, soon())).toEqual([]);
  });
});

describe("groups", () => {
  test("that others have made are joined if members can share them, and said to be wrong if not", async () => {
    const { driver, topic } = await topicOn();
    await store(driver, records(topic, "1"));
    const manager = await (await plain(server)).jetstreamManager();
    await manager.consumers.add(topic, { durable_name: "theirs", ack_policy: "explicit" as never, ack_wait: 5e9 });
    const { subscription, take } = await read(driver, topic, "theirs");
    expect(subscription.created).toBe(false);
    const [got] = (await take(1)) as [WireDelivery];
    expect(got.leaseUntil - performance.now()).toBeGreaterThan(3_000);
    for (const [name, wrong] of [
      ["none", { ack_policy: "none" }],
      ["limited", { ack_policy: "explicit", max_deliver: 3 }],
      ["pushed", { ack_policy: "explicit", deliver_subject: "somewhere" }],
    ] as const) {
      await manager.consumers.add(topic, { durable_name: name, ...wrong } as never);
      const error = await read(driver, topic, name).catch((raw: unknown) => raw);
      expect(driver.classify(error).code).toBe("INVALID_ARGUMENT");
    }
  });

  test("begin where they say, and a start outlives the server's restart before anything was read", async () => {
    const own = await startServer();
    const { driver, topic } = await topicOn({}, own);
    await store(driver, records(topic, "before"));
    await driver.admin.createGroup(topic, "g", { kind: "latest" }, soon());
    await store(driver, records(topic, "after"));
    await own.kill();
    await own.restart();
    const again = await open(adapter({}, own));
    expect(ids(await (await read(again.driver, topic, "g")).take(1))).toEqual(["after"]);
  });

  test("that are deleted are lost to their members", async () => {
    const { driver, topic } = await topicOn();
    const { subscription, lost } = await read(driver, topic, "g");
    const receiving = subscription.receive(1, 20_000, soon(25_000)).catch((error: unknown) => driver.classify(error).code);
    await driver.admin.deleteGroup(topic, "g", soon());
    expect(await receiving).toBe("NOT_FOUND");
    expect(lost.map(({ id }) => id).sort()).toEqual(["0", "retry"]);
  });

  test("fifty members share without overlap", async () => {
    const { driver, topic } = await topicOn({ leaseMs: 30_000 });
    const members = await Promise.all(Array.from({ length: 50 }, () => read(driver, topic, "g")));
    const names = Array.from({ length: 500 }, (_, n) => `m-${n}`);
    await store(driver, records(topic, ...names));
    const got: (string | undefined)[] = [];
    const over = new AbortController();
    await Promise.all(
      members.map(async ({ subscription }) => {
        while (got.length < names.length) {
          const some = await subscription.receive(20, 10_000, over.signal);
          await subscription.ack(some);
          got.push(...ids(some));
        }
        over.abort();
      }),
    );
    expect([...got].sort()).toEqual([...names].sort());
  });
});

describe("a seek", () => {
  test("moves members of other processes too, takes back what is outstanding, and never leaves the group without a consumer", async () => {
    const { driver, topic } = await topicOn({ leaseMs: 30_000 });
    const { subscription, take, lost } = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2", "3"));
    const old = await take(3);
    await subscription.ack(old.slice(0, 2));
    const elsewhere = await open(adapter());
    await elsewhere.driver.admin.seek(topic, "g", { kind: "earliest" }, soon());
    const again = await take(3);
    expect(again.map(({ id, deliveries }) => [id, deliveries])).toEqual(["1", "2", "3"].map((id) => [id, 1]));
    expect(lost.map(({ id }) => id).sort()).toEqual(["0", "retry"]);
    expect(await subscription.ack(old)).toEqual(["lost", "lost", "lost"]);
    expect(await subscription.ack(again)).toEqual(["confirmed", "confirmed", "confirmed"]);
    expect((await driver.admin.describeTopic(topic, soon()))?.groups).toEqual(["g"]);
    const consumers = await api(await plain(server), `CONSUMER.NAMES.${topic}`, { offset: 0 });
    expect(consumers["consumers"]).toEqual(["g~1"]);
  });

  test("leaves the inbox alone: what was out of it comes again, and what comes later is read", async () => {
    const { driver, topic } = await topicOn({ leaseMs: 30_000 });
    const { subscription, take } = await read(driver, topic, "g");
    const target = { topic, group: "g" };
    await store(driver, [record(topic, "one", { target })]);
    await take(1);
    await driver.admin.seek(topic, "g", { kind: "latest" }, soon());
    const again = await take(1);
    expect(again.map(({ id, deliveries, inbox }) => [id, deliveries, inbox])).toEqual([["one", 2, true]]);
    await store(driver, [record(topic, "two", { target }), record(topic, "three")]);
    const more = await take(2);
    expect(ids(more).sort()).toEqual(["three", "two"]);
    expect(await subscription.ack([...again, ...more])).toEqual(["confirmed", "confirmed", "confirmed"]);
    expect(await driver.admin.lag(topic, "g", soon())).toMatchObject({ count: 0 });
  });

  test("that was cut short between its two steps is finished by whoever comes next", async () => {
    const { driver, topic } = await topicOn();
    await driver.admin.createGroup(topic, "g", { kind: "latest" }, soon());
    await store(driver, records(topic, "1"));
    const manager = await (await plain(server)).jetstreamManager();
    await manager.consumers.add(topic, { durable_name: "g~1", ack_policy: "explicit" as never, deliver_policy: "all" as never });
    const { take, subscription } = await read(driver, topic, "g");
    expect(ids(await take(1))).toEqual(["1"]);
    expect(subscription.created).toBe(false);
    expect((await api(await plain(server), `CONSUMER.NAMES.${topic}`, { offset: 0 }))["consumers"]).toEqual(["g~1"]);
  });
});

describe("what retention removed", () => {
  test("before it was read is counted, before anything later comes", async () => {
    const { driver, topic } = await topicOn();
    const { take, subscription, losses } = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2", "3", "4", "5", "6"));
    await subscription.ack(await subscription.receive(1, 1_000, soon()));
    await keepNewest(topic, 2);
    expect(ids(await take(2))).toEqual(["5", "6"]);
    expect(losses).toEqual([{ shard: "0", from: "0:2", to: "0:4", missing: 3 }]);
  });

  test("while nobody was there is counted by the next member, also behind a start that nobody has read from", async () => {
    const { driver, topic } = await topicOn();
    await store(driver, records(topic, "1", "2", "3"));
    await driver.admin.createGroup(topic, "g", { kind: "position", cut: new Map([["0", "0:1" as never]]) }, soon());
    await keepNewest(topic, 1);
    const { take, losses } = await read(driver, topic, "g");
    expect(ids(await take(1))).toEqual(["3"]);
    expect(losses).toEqual([{ shard: "0", from: "0:2", to: "0:2", missing: 1 }]);
  });

  test("after it was read is no loss, with redeliveries between", async () => {
    const { driver, topic } = await topicOn();
    const { take, subscription, losses } = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2", "3"));
    await subscription.nack?.(handBack(await take(3)));
    const again = await take(3);
    expect(ids(again)).toEqual(["1", "2", "3"]);
    await subscription.ack(again);
    await keepNewest(topic, 1);
    await store(driver, records(topic, "4"));
    expect(ids(await take(1))).toEqual(["4"]);
    expect(losses).toEqual([]);
  });
});

describe("a broken link", () => {
  test("loses the shards, rejects what waits, and the next member of this process has everything at once", async () => {
    const proxy = await proxied(server);
    const { driver, topic, downs } = await topicOn({ leaseMs: 30_000 }, proxy);
    const { subscription, take, lost } = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2", "3"));
    const got = await take(3);
    await subscription.ack(got.slice(0, 1));
    const receiving = subscription.receive(1, 20_000, soon(25_000)).catch((error: unknown) => driver.classify(error).code);
    proxy.reset();
    expect(await receiving).toBe("UNAVAILABLE");
    expect(lost.map(({ id }) => id).sort()).toEqual(["0", "retry"]);
    expect(await subscription.ack(got.slice(1))).toEqual(["lost", "lost"]);
    await until(() => downs.length > 0, "core to be told");
    await driver.connect(soon());
    const began = performance.now();
    expect(ids(await (await read(driver, topic, "g")).take(2))).toEqual(["2", "3"]);
    expect(ranFor(began)).toBeLessThan(5_000);
  });

  test("a receive that is aborted over a half-open link ends within a second all the same", async () => {
    const proxy = await proxied(server);
    const { driver, topic } = await topicOn({}, proxy);
    const { subscription } = await read(driver, topic, "g");
    const controller = new AbortController();
    const receiving = subscription.receive(10, 20_000, controller.signal);
    await new Promise((resolve) => setImmediate(resolve));
    proxy.drop();
    const began = performance.now();
    controller.abort();
    expect(await receiving).toEqual([]);
    expect(ranFor(began)).toBeLessThan(1_000);
  });

  test("a server that stands still is noticed within seconds", async () => {
    const own = await startServer();
    const { driver, topic, downs } = await topicOn({}, own);
    await read(driver, topic, "g");
    await own.stop();
    defer(() => own.cont());
    const began = performance.now();
    await until(() => downs.length > 0, "the driver to notice", 20_000);
    expect(ranFor(began)).toBeLessThan(15_000);
  });
});

test("an aborted receive ends within a second with what was assigned meanwhile", async () => {
  const { driver, topic } = await topicOn();
  const { subscription } = await read(driver, topic, "g");
  const controller = new AbortController();
  const receiving = subscription.receive(10, 20_000, controller.signal);
  await new Promise((resolve) => setImmediate(resolve));
  const began = performance.now();
  controller.abort();
  const got = await receiving;
  expect(ranFor(began)).toBeLessThan(1_000);
  await store(driver, records(topic, "1"));
  expect([...got, ...(await subscription.receive(10, 5_000, soon()))].map(({ id }) => id)).toEqual(["1"]);
});

test("a broadcast reader sees everything, settles nothing, leaves no consumer behind, and starts where it says", async () => {
  const { driver, topic } = await topicOn();
  const early = await read(driver, topic, undefined);
  expect([...(early.subscription.start ?? [])]).toEqual([["0", "0:0"]]);
  await store(driver, records(topic, "1", "2"));
  const late = await read(driver, topic, undefined);
  await store(driver, records(topic, "3"));
  const got = await early.take(3);
  expect(ids(got)).toEqual(["1", "2", "3"]);
  expect(ids(await late.take(1))).toEqual(["3"]);
  expect(await early.subscription.ack(got)).toEqual(["confirmed", "confirmed", "confirmed"]);
  const resumed = await read(driver, topic, undefined, { from: { kind: "position", cut: early.subscription.start as never } });
  expect(ids(await resumed.take(3))).toEqual(["1", "2", "3"]);
  for (const { subscription } of [early, late, resumed]) await subscription.close();
  expect((await api(await plain(server), `CONSUMER.NAMES.${topic}`, { offset: 0 }))["consumers"]).toEqual([]);
});
