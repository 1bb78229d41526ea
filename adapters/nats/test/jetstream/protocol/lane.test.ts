import { ranFor } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import type { WireDelivery } from "brokerkit/driver";
import { beforeAll, describe, expect, test } from "vitest";
import { type NatsOptions, nats } from "../../../src/index.ts";
import { api, at, fresh, ids, open, plain, proxied, type Reader, read, records, soon, startServer, store, until } from "../../stage.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await startServer();
});

const opened = (options: NatsOptions = {}) => open(nats({ ...at(server), ...options }));
const names = (from: number, to: number): string[] => Array.from({ length: to - from + 1 }, (_, n) => String(from + n));
const seen = (deliveries: readonly WireDelivery[]) => deliveries.map(({ id, deliveries: times }) => `${id}×${times}`);

/** A topic with a group that former owners have read of, who then are silent; leases of 30 s unless told otherwise. */
async function topicOf(options: NatsOptions = {}) {
  const { driver } = await opened(options);
  const topic = fresh();
  await driver.admin.createTopic({ name: topic }, soon());
  await driver.admin.createGroup(topic, "g", { kind: "earliest" }, soon());
  const reader = async (exclusive: boolean): Promise<Reader> => read((await opened(options)).driver, topic, "g", { exclusive });
  return { driver, topic, owner: () => reader(true), member: () => reader(false) };
}

/** Delivered and neither settled nor given back: the lease alone would bring it again. */
const pick = (deliveries: readonly WireDelivery[], ...wanted: string[]) => deliveries.filter(({ id }) => wanted.includes(id as string));

describe("an exclusive reader", () => {
  test("has everything first that several before it left pending, in order, and then what is newer", async () => {
    const { driver, topic, owner, member } = await topicOf();
    const [one, two] = [await member(), await member()];
    await store(driver, records(topic, ...names(1, 12)));
    const first = await one.take(3);
    const second = await two.take(3);
    const third = await one.take(3);
    await one.subscription.ack(pick([...first, ...third], "2", "8"));
    await two.subscription.ack(pick(second, "5"));
    const next = await owner();
    const began = performance.now();
    const again = ["1×2", "3×2", "4×2", "6×2", "7×2", "9×2"];
    expect(seen(await next.take(9))).toEqual([...again, "10×1", "11×1", "12×1"]);
    expect(ranFor(began)).toBeLessThan(5_000);
  });

  test("has what was given back with a delay in its place, and the inbox too", async () => {
    const { driver, topic, owner } = await topicOf();
    const former = await owner();
    await store(driver, [
      ...records(topic, "1", "2", "3"),
      ...records(topic, "again").map((own) => ({ ...own, target: { topic, group: "g" } })),
    ]);
    const got = await former.take(4);
    await former.subscription.nack?.(pick(got, "1").map((delivery) => ({ delivery, delayMs: 3_600_000, failures: 0 })));
    await store(driver, records(topic, "4"));
    const next = await owner();
    const taken = await next.take(5);
    expect(ids(taken.filter(({ inbox }) => !inbox))).toEqual(["1", "2", "3", "4"]);
    expect(ids(taken.filter(({ inbox }) => inbox))).toEqual(["again"]);
  });

  test("takes ten thousand over", async () => {
    const { driver, topic, owner } = await topicOf();
    const former = await owner();
    for (let at = 0; at < 10; at++) await store(driver, records(topic, ...names(at * 1_000 + 1, (at + 1) * 1_000)));
    const got = await former.take(10_000);
    await former.subscription.ack(got.filter((_, n) => n % 2 === 1));
    await store(driver, records(topic, "new"));
    const next = await owner();
    const began = performance.now();
    expect(ids(await next.take(5_001))).toEqual([...ids(got.filter((_, n) => n % 2 === 0)), "new"]);
    expect(ranFor(began)).toBeLessThan(10_000);
  });

  test("hands out nothing behind what somebody else got meanwhile", async () => {
    const { driver, topic, owner, member } = await topicOf();
    const zombie = await member();
    const next = await owner();
    await store(driver, records(topic, "1", "2", "3"));
    expect(ids(await next.take(1))).toEqual(["1"]);
    // One that stood still wakes up and asks.
    const stolen = await zombie.take(2);
    await store(driver, records(topic, "4", "5"));
    expect(seen(await next.take(4))).toEqual(["2×2", "3×2", "4×1", "5×1"]);
    expect(ids(stolen)).toEqual(["2", "3"]);
  });

  test("has nothing twice that a former owner gives back late", async () => {
    const { driver, topic, owner } = await topicOf();
    const zombie = await owner();
    await store(driver, records(topic, "1", "2", "3"));
    const old = await zombie.take(3);
    const next = await owner();
    const taken = await next.take(3);
    expect(seen(taken)).toEqual(["1×2", "2×2", "3×2"]);
    await zombie.subscription.nack?.(old.map((delivery) => ({ delivery, delayMs: 0, failures: 0 })));
    expect(await next.subscription.receive(3, 300, soon())).toEqual([]);
    expect(await next.subscription.ack(taken)).toEqual(["confirmed", "confirmed", "confirmed"]);
    await store(driver, records(topic, "4"));
    expect(ids(await next.take(1))).toEqual(["4"]);
    expect(await driver.admin.lag(topic, "g", soon())).toMatchObject({ count: 1 });
  });

  test("has nothing twice that a former owner gives back while its own ack is on the way", async () => {
    const { driver, topic, owner } = await topicOf();
    const zombie = await owner();
    await store(driver, records(topic, "1", "2", "3"));
    const old = await zombie.take(3);
    const proxy = await proxied(server);
    const next = await read((await open(nats(at(proxy)))).driver, topic, "g", { exclusive: true });
    const taken = await next.take(3);
    const client = await plain(server);
    const consumer = async (): Promise<Record<string, unknown>> => api(client, `CONSUMER.INFO.${topic}.g`);
    const coming = next.subscription.receive(3, 10_000, soon());
    await until(async () => (await consumer())["num_waiting"] === 1, "its request");
    proxy.pause("up");
    const acking = next.subscription.ack(taken);
    await zombie.subscription.nack?.(old.map((delivery) => ({ delivery, delayMs: 0, failures: 0 })));
    await until(async () => JSON.stringify((await consumer())["delivered"]).includes('"consumer_seq":9'), "them to be handed out again");
    proxy.resume();
    expect(await acking).toEqual(["confirmed", "confirmed", "confirmed"]);
    await store(driver, records(topic, "4"));
    expect(seen(await coming)).toEqual(["4×1"]);
    expect(await driver.admin.lag(topic, "g", soon())).toMatchObject({ count: 1 });
  });

  test("begins anew when a lease has ended: all comes again in order, before anything newer", async () => {
    const { driver, topic, owner } = await topicOf({ leaseMs: 400 });
    const own = await owner();
    await store(driver, records(topic, "1", "2", "3"));
    const [first] = (await own.take(1)) as [WireDelivery];
    const second = await own.take(1);
    // Nobody keeps the first alive.
    while (performance.now() < first.leaseUntil) await own.subscription.extend?.(second, 400);
    expect(seen(await own.take(3))).toEqual(["1×2", "2×2", "3×1"]);
    expect(own.lost.map(({ id }) => id)).toEqual(["0"]);
    expect(await own.subscription.ack([first, ...second])).toEqual(["lost", "lost"]);
  });

  test("does not wait for what retention has removed", async () => {
    const { driver, topic, owner } = await topicOf();
    const former = await owner();
    await store(driver, records(topic, ...names(1, 900)));
    await former.take(900);
    const client = await plain(server);
    const { config } = (await api(client, `STREAM.INFO.${topic}`)) as { config: object };
    await api(client, `STREAM.UPDATE.${topic}`, { ...config, max_msgs: 2 });
    await api(client, `STREAM.UPDATE.${topic}`, config);
    await store(driver, records(topic, "new"));
    const next = await owner();
    const began = performance.now();
    expect(seen(await next.take(3))).toEqual(["899×2", "900×2", "new×1"]);
    expect(ranFor(began)).toBeLessThan(5_000);
  });

  test("follows a group that is moved", async () => {
    const { driver, topic, owner } = await topicOf();
    const own = await owner();
    await store(driver, records(topic, "1", "2", "3"));
    await own.take(2);
    await driver.admin.seek(topic, "g", { kind: "earliest" }, soon());
    expect(ids(await own.take(3))).toEqual(["1", "2", "3"]);
  });
});

test("through ten owners, each of which leaves some behind, beside one that has no right to take any, first deliveries are in order and all", async () => {
  const { driver, topic, owner, member } = await topicOf();
  const total = 3_000;
  for (let at = 1; at <= total; at += 500) await store(driver, records(topic, ...names(at, at + 499)));
  const thief = await member();
  const first = new Set<number>();
  const done = new Set<number>();
  for (let turn = 0; done.size < total; turn++) {
    const own = await owner();
    for (let calls = 0; done.size < total && (calls < 12 || turn >= 9); calls++) {
      const size = 1 + ((turn * 7 + calls * 13) % 40);
      const stolen = turn < 9 && calls % 3 === 1 ? thief.subscription.receive(size, 1, soon()) : [];
      const some = await own.subscription.receive(size, 200, soon());
      for (const { id } of some) first.add(Number(id));
      const settled = turn >= 9 ? some : some.filter((_, n) => (n + turn + calls) % 3 !== 0);
      const results = await own.subscription.ack(settled);
      for (const [n, { id }] of settled.entries()) if (results[n] === "confirmed") done.add(Number(id));
      await stolen;
    }
  }
  expect([...first]).toEqual(names(1, total).map(Number));
}, 60_000);

describe("closing", () => {
  test("an idle reader is a matter of milliseconds", async () => {
    const { owner, driver, topic } = await topicOf();
    const broadcast = await read(driver, topic, undefined);
    for (const { subscription } of [await owner(), broadcast]) {
      const receiving = subscription.receive(10, 20_000, soon(25_000));
      await driver.ping(soon());
      const began = performance.now();
      await subscription.close();
      expect(ranFor(began)).toBeLessThan(150);
      expect(await receiving.catch((error: unknown) => driver.classify(error).code)).toSatisfy(
        (end: unknown) => end === "CLOSED" || Array.isArray(end),
      );
    }
  });

  test("loses nothing that comes at the same moment, and nobody waits for a lease", async () => {
    const { driver, topic } = await topicOf();
    for (let round = 0; round < 30; round++) {
      const member = await read(driver, topic, "g");
      void member.subscription.receive(10, 20_000, soon(25_000)).catch(() => {});
      await driver.ping(soon());
      const [stored] = await Promise.all([store(driver, records(topic, `m-${round}`)), member.subscription.close()]);
      expect(stored).toHaveLength(1);
      const next = await read(driver, topic, "g");
      const taken = await next.take(1, 5_000);
      expect(ids(taken)).toEqual([`m-${round}`]);
      await next.subscription.ack(taken);
      await next.subscription.close();
    }
  });
});
