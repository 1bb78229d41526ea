import { afterEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { ADAPTERS } from "../../src/adapters.generated.ts";
import { defineTopic, type TopicDefinition } from "../../src/definition.ts";
import { type TestBroker, type TestBrokerOptions, testBroker } from "../../src/testing/test-broker.ts";

const Order = z.object({ id: z.number(), at: z.coerce.date() });
const orders: TopicDefinition<typeof Order> = defineTopic("orders", { schema: Order, key: (order) => `k${order.id % 2}` });

const open: TestBroker[] = [];
afterEach(async () => {
  for (const broker of open.splice(0)) {
    const closed = broker.close();
    await broker.advance(30_000);
    await closed;
  }
});
function broker(o?: TestBrokerOptions): TestBroker {
  const made = testBroker(o);
  open.push(made);
  return made;
}

describe("a test broker", () => {
  test("is made at once and connects when it is used", async () => {
    const t = broker();
    expect(t.health().ready).toBe(false);
    await t.topic(orders).publish({ id: 1, at: 0 });
    expect(t.features).toMatchObject({ groups: true, replay: true, delay: true });
  });

  test("is idle when everything published has been handled", async () => {
    const t = broker();
    const handled: number[] = [];
    await t.topic(orders).subscribe({ group: "billing", concurrency: 4 }, async (message) => {
      await new Promise((resolve) => setTimeout(resolve, 2));
      handled.push(message.payload.id);
      if (message.payload.id < 3) await t.topic(orders).publish({ id: message.payload.id + 10, at: 0 });
    });
    for (let id = 0; id < 6; id++) void t.topic(orders).publish({ id, at: 0 });
    await t.idle();
    expect(handled.sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 10, 11, 12]);
  });

  test("is idle at once where there is nothing to do", async () => {
    const t = broker();
    await t.idle();
    await t.topic(orders).subscribe({ group: "billing" }, () => {});
    await t.idle();
  });

  test("retries only as time passes, and gives up after the last attempt", async () => {
    const t = broker();
    const attempts: number[] = [];
    await t
      .topic(orders)
      .subscribe(
        { group: "billing", retry: { attempts: 3, jitter: "none", backoffMs: { initial: 1_000, factor: 10, max: 60_000 } } },
        (message) => {
          attempts.push(message.attempt);
          throw new Error("no");
        },
      );
    await t.topic(orders).publish({ id: 1, at: 0 });
    await t.idle();
    expect(attempts).toEqual([1]);
    await t.advance(999);
    expect(attempts).toEqual([1]);
    await t.advance(1);
    await t.idle();
    expect(attempts).toEqual([1, 2]);
    await t.advance(10_000);
    await t.idle();
    expect(attempts).toEqual([1, 2, 3]);
    await t.advance(3_600_000);
    await t.idle();
    expect(attempts).toEqual([1, 2, 3]);
    const letters = [];
    for await (const letter of t.topic(orders).group("billing").deadLetters.list()) letters.push(letter);
    expect(letters).toMatchObject([{ reason: expect.any(String), attempts: 3, error: { message: "no" } }]);
  });

  test("delivers a delayed message at its time", async () => {
    const t = broker();
    let handled = 0;
    await t.topic(orders).subscribe({ group: "billing" }, () => void handled++);
    await t.topic(orders).publish({ id: 1, at: 0 }, { delayMs: 60_000 });
    await t.idle();
    await t.advance(59_999);
    await t.idle();
    expect(handled).toBe(0);
    await t.advance(1);
    await t.idle();
    expect(handled).toBe(1);
  });

  test("remembers what was published, as a handler would get it", async () => {
    const t = broker({ prefix: "stage." });
    await t.topic(orders).publish({ id: 1, at: "2026-01-02" }, { id: "first", headers: { a: "1" } });
    await t.topic(orders).publish({ id: 2, at: 0 });
    await t.topic("other").publish({ x: 1 });
    const [first, second, ...more] = t.published(orders);
    expect(first).toMatchObject({
      topic: "orders",
      id: "first",
      key: "k1",
      payload: { id: 1, at: new Date("2026-01-02") },
      replayed: false,
      tombstone: false,
    });
    expect({ ...first?.headers }).toMatchObject({ a: "1" });
    expect([second?.payload.id, more]).toEqual([2, []]);
    expect(t.published(defineTopic("nothing", { schema: Order }))).toEqual([]);
  });

  test("time stands still: what is published now has the clock's time", async () => {
    const t = broker();
    await t.advance(5_000);
    await t.topic(orders).publish({ id: 1, at: 0 });
    expect(t.published(orders)[0]?.publishedAt).toEqual(new Date("2026-01-01T00:00:05.000Z"));
  });

  test("two of them share nothing", async () => {
    const [a, b] = [broker(), broker()];
    let handled = 0;
    await a.topic(orders).subscribe({ group: "g" }, () => void handled++);
    await b.topic(orders).publish({ id: 1, at: 0 });
    await Promise.all([a.idle(), b.idle()]);
    expect([handled, a.published(orders).length, b.published(orders).length]).toEqual([0, 0, 1]);
  });

  test.each(Object.keys(ADAPTERS))("like %s has its features, delivers, comes to rest, and refuses what that one refuses", async (like) => {
    const t = broker({ like });
    await t.connect();
    const { delivery } = t.capabilities;
    const has = (name: string): boolean => ADAPTERS[like]?.features.includes(name) === true;
    expect(Object.entries(t.features).filter(([name, there]) => there !== has(name))).toEqual([]);
    const handled: number[] = [];
    const handler = (message: { payload: { id: number } }): void => void handled.push(message.payload.id);
    if (delivery.group === "none") {
      await expect(t.topic(orders).subscribe({ group: "g" }, handler)).rejects.toMatchObject({ code: "UNSUPPORTED" });
      await t.topic(orders).subscribe({ broadcast: true }, handler);
    } else if (t.capabilities.supply.deadLetter === "none") {
      await expect(t.topic(orders).subscribe({ group: "g" }, handler)).rejects.toThrow(/Subscribe with deadLetter: "drop", or connect/);
      await t.topic(orders).subscribe({ group: "g", deadLetter: "drop" }, handler);
    } else {
      await t.topic(orders).subscribe({ group: "g" }, handler);
    }
    await t.topic(orders).publishAll([{ payload: { id: 1, at: 0 } }, { payload: { id: 3, at: 0 } }]);
    await t.idle();
    expect(handled).toEqual([1, 3]);
  });

  test("refuses unknown options, and an unknown name of another adapter when it is used", async () => {
    expect(() => testBroker({ lik: "x" } as TestBrokerOptions)).toThrow(expect.objectContaining({ details: { argument: "lik" } }));
    expect(() => testBroker({ like: "" })).toThrow(expect.objectContaining({ details: { argument: "like" } }));
    await expect(broker({ like: "nobody" }).topic(orders).publish({ id: 1, at: 0 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await broker({ like: "memory" }).topic(orders).publish({ id: 1, at: 0 });
  });
});

describe("an order of the whole topic", () => {
  test("and several partitions exclude each other in a definition", () => {
    expect(() => defineTopic("orders", { schema: Order, order: "topic", partitions: 3 })).toThrow(/order: "topic" needs one shard/);
    expect(defineTopic("orders", { schema: Order, order: "topic", partitions: 1 }).partitions).toBe(1);
  });

  test("is refused on a topic that has several shards, and kept where the topic is made for it", async () => {
    const t = broker();
    const spread = t.topic(defineTopic("spread", { schema: Order, partitions: 3 }));
    await expect(spread.subscribe({ group: "g", order: "topic" }, () => {})).rejects.toMatchObject({ code: "UNSUPPORTED" });
    await expect(t.topic(defineTopic("spread", { schema: Order, order: "topic" })).publish({ id: 1, at: 0 })).rejects.toThrow(/3 shards/);
    const single = t.topic(defineTopic("single", { schema: Order, order: "topic" }));
    await single.publish({ id: 1, at: 0 });
    expect(await single.describe()).toMatchObject({ partitions: 1 });
  });
});
