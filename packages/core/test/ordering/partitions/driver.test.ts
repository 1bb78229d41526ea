import type { Adapter, Coordination, Cursor, Driver, Place, PublishResult, SubscribeRequest, WireDelivery } from "brokerkit/driver";
import { describe, expect, test } from "vitest";
import { VirtualClock } from "../../../src/testing/virtual-clock.ts";
import { changed, earliest, latest, like, never, open, record } from "./rig.ts";

const places = (results: readonly PublishResult[]): (Place | undefined)[] =>
  results.map((result) => (result.ok ? result.place : undefined));
const shardsOf = (results: readonly PublishResult[]): string[] => places(results).map((place) => String(place).split(":")[0] ?? "");
const bodies = (deliveries: readonly WireDelivery[]): string[] => deliveries.map(({ body }) => Buffer.from(body ?? []).toString());
const quiet: SubscribeRequest["events"] = { releasing: async () => {}, lost: () => {}, state: () => {}, dataLoss: () => {} };

/** The calls of one driver that decide about partitions come so many turns of the event loop later. */
function delayed(adapter: Adapter, turns: number): Adapter {
  const wait = async (): Promise<void> => {
    for (let n = 0; n < turns; n++) await Promise.resolve();
  };
  return changed(adapter, (driver) => {
    const inner = driver.coordination as Coordination;
    return {
      coordination: {
        read: async (...args) => {
          const found = await inner.read(...args);
          await wait();
          return found;
        },
        compareAndSet: async (...args) => {
          await wait();
          return inner.compareAndSet(...args);
        },
      },
    };
  });
}

async function created(partitions?: number, driver?: Driver): Promise<Driver> {
  const one = driver ?? (await open(like()));
  await one.admin.createTopic({ name: "orders", partitions }, never);
  return one;
}

async function read(cursor: Cursor): Promise<string[]> {
  const found: string[] = [];
  for (let atEnd = false; !atEnd; ) {
    const batch = await cursor.receive(7, 0, never);
    found.push(...bodies(batch.deliveries));
    ({ atEnd } = batch);
  }
  await cursor.close();
  return found;
}

describe("a topic's record", () => {
  test("says what it is: with partitions members keep its keys, without it is the backend's own", async () => {
    const driver = await created(4);
    expect(driver.capabilities).toMatchObject({ keyOrder: "members", topics: { partitions: 256 } });
    expect(await driver.describe("orders", never)).toMatchObject({ keyOrder: "members", coordination: true, topics: { partitions: 4 } });
    expect(await driver.describe("plain", never)).toMatchObject({ keyOrder: "process", coordination: false, topics: { partitions: 1 } });
  });

  test("an adapter without registers is left as it is", async () => {
    const driver = await open(like({ coordination: false }));
    expect(driver.capabilities).toMatchObject({ keyOrder: "process", topics: { partitions: 1 } });
    expect(driver.coordination).toBeUndefined();
  });
});

describe("administration", () => {
  test("creates every part once, completes what was begun, and never changes the number", async () => {
    const adapter = like();
    const driver = await open(adapter);
    expect(await driver.admin.createTopic({ name: "orders", partitions: 3 }, never)).toBe("created");
    expect(await driver.admin.createTopic({ name: "orders", partitions: 3 }, never)).toBe("existing");
    expect(await driver.admin.createTopic({ name: "orders", partitions: 5 }, never)).toBe("existing");
    expect(await driver.admin.createTopic({ name: "orders" }, never)).toBe("existing");
    expect(await driver.admin.describeTopic("orders", never)).toMatchObject({ partitions: 3, groups: [] });
    const native = await open(adapter);
    await native.admin.deleteTopic("orders.1.shard", never);
    expect(await native.admin.describeTopic("orders", never)).toBeUndefined();
    expect(await native.admin.createTopic({ name: "orders", partitions: 3 }, never)).toBe("created");
  });

  test("a topic that exists without partitions is not given any", async () => {
    const driver = await created();
    expect(await driver.admin.createTopic({ name: "orders", partitions: 3 }, never)).toBe("existing");
    expect(await driver.admin.describeTopic("orders", never)).toMatchObject({ partitions: undefined });
  });

  test("of two that create it with different numbers one wins, and both know", async () => {
    const adapter = like();
    const [a, b] = [await open(adapter), await open(adapter)];
    await Promise.all([created(2, a), created(6, b)]);
    const [left, right] = [await a.admin.describeTopic("orders", never), await b.admin.describeTopic("orders", never)];
    expect(left).toEqual(right);
    expect([2, 6]).toContain(left?.partitions);
  });

  test("of two that create it at the same moment with partitions and without, both end up with the same", async () => {
    // Each order of the two's calls, as far as delays of one of them can make it.
    for (let late = 0; late < 12; late++) {
      const adapter = like({ topics: { ...like().capabilities.topics, explicit: true } });
      const slow = await open(delayed(adapter, late));
      const quick = await open(adapter);
      for (const [a, b] of [
        [slow, quick],
        [quick, slow],
      ] as const) {
        await Promise.all([a.admin.createTopic({ name: "orders" }, never), b.admin.createTopic({ name: "orders", partitions: 3 }, never)]);
        const [left, right] = await Promise.all([a, b].map((driver) => driver.admin.describeTopic("orders", never)));
        expect(left, `${late}`).toBeDefined();
        expect(left).toEqual(right);
        const shards = await Promise.all([a, b].map(async (driver) => shardsOf(await driver.publish([record("orders", "k")], never))));
        expect(shards[0]).toEqual(shards[1]);
        await a.admin.deleteTopic("orders", never);
        for (const driver of [a, b]) await driver.connect(never);
      }
    }
  });

  test("who joins after it was made anew has its new number", async () => {
    const adapter = like();
    const driver = await created(2, await open(adapter));
    const other = await open(adapter);
    await other.describe("orders", never);
    await driver.admin.deleteTopic("orders", never);
    await driver.admin.createTopic({ name: "orders", partitions: 5 }, never);
    const request = { topic: "orders", group: "g", from: latest, credit: 10, events: quiet };
    const subscription = await other.subscribe(request, never);
    expect((await other.describe("orders", never)).topics.partitions).toBe(5);
    await subscription.close();
  });

  test("deleting it deletes its parts and frees the name", async () => {
    const adapter = like();
    const driver = await created(3, await open(adapter));
    const other = await open(adapter);
    await other.describe("orders", never);
    await driver.admin.deleteTopic("orders", never);
    expect(await driver.admin.describeTopic("orders.0.shard", never)).toBeUndefined();
    expect(await driver.admin.createTopic({ name: "orders" }, never)).toBe("created");
    await driver.admin.deleteTopic("orders", never);
    expect(await driver.admin.createTopic({ name: "orders", partitions: 2 }, never)).toBe("created");
  });

  test("groups, positions, seek and lag are those of all parts", async () => {
    const driver = await created(3);
    const { admin } = driver;
    expect(await admin.createGroup("orders", "g", latest, never)).toBe("created");
    expect(await admin.createGroup("orders", "g", latest, never)).toBe("existing");
    expect((await admin.describeTopic("orders", never))?.groups).toEqual(["g"]);
    await driver.publish(
      Array.from({ length: 30 }, (_, n) => record("orders", `k${n}`)),
      never,
    );
    expect(await admin.lag("orders", "g", never)).toMatchObject({ count: 30, inFlight: 0 });
    const end = await admin.position("orders", undefined, never);
    expect([...end.keys()].sort()).toEqual(["0-0", "1-0", "2-0"]);
    await admin.seek("orders", "g", { kind: "position", cut: end }, never);
    expect(await admin.lag("orders", "g", never)).toMatchObject({ count: 0 });
    expect(await admin.position("orders", "g", never)).toEqual(end);
    await admin.deleteGroup("orders", "g", never);
    await expect(admin.lag("orders", "g", never)).rejects.toMatchObject({ driverCode: "NOT_FOUND" });
  });

  test("a group that some part lacks is no group yet, and creating it completes it", async () => {
    const adapter = like();
    const driver = await created(3, await open(adapter));
    await driver.admin.createGroup("orders", "g", latest, never);
    await driver.admin.deleteGroup("orders.2.shard", "g", never);
    expect((await driver.admin.describeTopic("orders", never))?.groups).toEqual([]);
    expect(await driver.admin.createGroup("orders", "g", latest, never)).toBe("created");
  });
});

describe("publishing", () => {
  test("puts a key into one part always, and spreads what has none", async () => {
    const driver = await created(4);
    const keyed = await driver.publish(
      Array.from({ length: 40 }, (_, n) => record("orders", `k${n % 10}`)),
      never,
    );
    const shards = shardsOf(keyed);
    for (let n = 10; n < 40; n++) expect(shards[n]).toBe(shards[n - 10]);
    expect(new Set(shards).size).toBeGreaterThan(2);
    const free = await driver.publish(
      Array.from({ length: 40 }, () => record("orders", undefined, "x")),
      never,
    );
    expect(new Set(shardsOf(free)).size).toBe(4);
  });

  test("keys stay where they are from version to version", async () => {
    const driver = await created(16);
    const shards = shardsOf(
      await driver.publish(
        ["ada", "bob", "", "käse", "customer-12345"].map((key) => record("orders", key)),
        never,
      ),
    );
    expect(shards).toEqual(["13-0", "14-0", "9-0", "13-0", "10-0"]);
  });

  test("repeats what has no key where it was, so that the backend knows it again", async () => {
    const driver = await created(8);
    const one = record("orders", undefined, "x");
    const [first] = await driver.publish([one], never);
    const [again] = await driver.publish([one], never);
    expect(first?.ok).toBe(true);
    expect(again).toMatchObject({ ok: true, duplicate: true });
  });

  test("of one batch for topics with partitions, without, and an inbox gives each its result in its place", async () => {
    const driver = await created(4);
    await driver.admin.createTopic({ name: "plain" }, never);
    await driver.admin.createGroup("orders", "g", latest, never);
    const results = await driver.publish(
      [
        record("plain", "a"),
        record("orders", "a"),
        record("orders", "a", "in", { target: { topic: "orders", group: "g" } }),
        record("plain", "b"),
      ],
      never,
    );
    const [plain, parted, inbox] = shardsOf(results);
    expect(results.every((result) => result.ok)).toBe(true);
    expect(plain).toBe("0");
    expect(parted).toMatch(/^[0-3]-0$/);
    expect(inbox).toBe(`${parted?.split("-")[0]}-inbox`);
  });

  test("to a topic without partitions is the backend's own call, after one look at the register", async () => {
    let reads = 0;
    const batches: unknown[] = [];
    const adapter = changed(like(), (driver) => ({
      coordination: {
        read: (...args) => {
          reads++;
          return (driver.coordination as NonNullable<Driver["coordination"]>).read(...args);
        },
        compareAndSet: () => Promise.reject(new Error("nothing to write")),
      },
      publish: (batch, signal) => {
        batches.push(batch);
        return driver.publish(batch, signal);
      },
    }));
    const driver = await open(adapter);
    for (let n = 0; n < 3; n++) {
      const batch = [record("plain", "a"), record("plain", "b")];
      await driver.publish(batch, never);
      if (n > 0) expect(batches.at(-1)).toBe(batch);
    }
    expect(reads).toBe(1);
  });

  test("to ever new topics does not remember them all", async () => {
    const reads = new Map<string, number>();
    const adapter = changed(like(), (driver) => ({
      coordination: {
        read: (name, signal) => {
          reads.set(name, (reads.get(name) ?? 0) + 1);
          return (driver.coordination as Coordination).read(name, signal);
        },
        compareAndSet: () => Promise.reject(new Error("nothing to write")),
      },
      publish: async (batch) => batch.map(() => ({ ok: true, place: undefined })),
    }));
    const driver = await open(adapter);
    for (let n = 0; n <= 10_000; n++) await driver.publish([record(`answer-${n}`, "a")], never);
    await driver.publish([record("answer-10000", "a"), record("answer-0", "a")], never);
    expect([reads.get("partitions/answer-10000"), reads.get("partitions/answer-0")]).toEqual([1, 2]);
  });

  test("by somebody who looked before the topic was made goes to its parts all the same", async () => {
    const adapter = like({ topics: { ...like().capabilities.topics, explicit: true } });
    const early = await open(adapter);
    expect(await early.publish([record("orders", "a")], never)).toMatchObject([{ ok: false, sent: "no" }]);
    await created(4, await open(adapter));
    expect(shardsOf(await early.publish([record("orders", "a")], never))[0]).toMatch(/^[0-3]-0$/);
  });

  test("by somebody who knows the number of a topic that was made anew with another goes on with the new one", async () => {
    const adapter = like();
    const clock = new VirtualClock();
    const driver = await created(2, await open(adapter));
    const other = await open(adapter, clock);
    const batch = () => Array.from({ length: 40 }, (_, n) => record("orders", `k${n}`));
    await other.publish(batch(), never);
    await driver.admin.deleteTopic("orders", never);
    await driver.admin.createTopic({ name: "orders", partitions: 5 }, never);
    await clock.advance(10_000);
    await other.publish(batch(), never);
    await clock.advance(1);
    expect(shardsOf(await other.publish(batch(), never))).toEqual(shardsOf(await driver.publish(batch(), never)));
  });

  test("where the register can't be read is not begun, and never rejects", async () => {
    const adapter = changed(like(), () => ({
      coordination: { read: () => Promise.reject(new Error("no register")), compareAndSet: () => Promise.reject(new Error("no register")) },
    }));
    const driver = await open(adapter);
    const [result] = await driver.publish([record("orders", "a")], never);
    expect(result).toMatchObject({ ok: false, sent: "no", error: { message: "no register" } });
  });
});

describe("reading all partitions", () => {
  test("a replay ends at the end, in the order of each key, and begins at a cut", async () => {
    const driver = await created(4);
    await driver.publish(
      Array.from({ length: 50 }, (_, n) => record("orders", `k${n % 5}`, `k${n % 5}-${n}`)),
      never,
    );
    const cut = await driver.admin.position("orders", undefined, never);
    await driver.publish(
      Array.from({ length: 10 }, (_, n) => record("orders", `k${n % 5}`, `k${n % 5}-new${n}`)),
      never,
    );
    const request = { topic: "orders", follow: false, events: quiet };
    const all = await read(await driver.replay({ ...request, from: earliest }, never));
    expect(all).toHaveLength(60);
    for (const key of ["k0", "k3"]) {
      const mine = all.filter((body) => body.startsWith(`${key}-`));
      expect(mine).toHaveLength(12);
      expect(mine.slice(0, 10).map((body) => Number(body.slice(3)))).toEqual(Array.from({ length: 10 }, (_, n) => n * 5 + Number(key[1])));
    }
    expect(await read(await driver.replay({ ...request, from: { kind: "position", cut } }, never))).toHaveLength(10);
    expect(await read(await driver.replay({ ...request, from: earliest, to: { kind: "position", cut } }, never))).toHaveLength(50);
  });

  test("a replay of nothing ends at once, and one that follows hands out what comes", async () => {
    const driver = await created(4);
    const request = { topic: "orders", from: earliest, events: quiet };
    expect(await read(await driver.replay({ ...request, follow: false }, never))).toEqual([]);
    const follows = await driver.replay({ ...request, follow: true }, never);
    let news = follows.receive(10, 1_000, never);
    await driver.publish([record("orders", "a", "one")], never);
    let got = bodies((await news).deliveries);
    while (got.length === 0) {
      news = follows.receive(10, 1_000, never);
      got = bodies((await news).deliveries);
    }
    expect(got).toEqual(["one"]);
    await follows.close();
  });

  test("a broadcast reader gets everything from its start on, which it tells", async () => {
    const driver = await created(4);
    await driver.publish([record("orders", "a", "before")], never);
    const events = { ...quiet };
    const subscription = await driver.subscribe({ topic: "orders", group: undefined, from: latest, credit: 10, events }, never);
    expect([...(subscription.start ?? [])]).toHaveLength(1);
    await driver.publish(
      Array.from({ length: 20 }, (_, n) => record("orders", `k${n}`)),
      never,
    );
    const got: string[] = [];
    while (got.length < 20) got.push(...bodies(await subscription.receive(20, 1_000, never)));
    expect(got.sort()).toEqual(Array.from({ length: 20 }, (_, n) => `k${n}`).sort());
    await subscription.close();
  });

  test("a broadcast reader of which one part breaks closes all of them", async () => {
    const closed: string[] = [];
    const adapter = changed(like(), (driver) => ({
      subscribe: async (request, signal) => {
        const inner = await driver.subscribe(request, signal);
        return {
          created: true,
          receive: (...args) => (request.topic === "orders.1.shard" ? Promise.reject(new Error("cut")) : inner.receive(...args)),
          ack: (deliveries) => inner.ack(deliveries),
          flush: () => inner.flush(),
          close: () => {
            closed.push(request.topic);
            return inner.close();
          },
        };
      },
    }));
    const driver = await created(3, await open(adapter));
    const subscription = await driver.subscribe({ topic: "orders", group: undefined, from: latest, credit: 10, events: quiet }, never);
    await expect(subscription.receive(1, 1_000, never)).rejects.toThrow("cut");
    await subscription.close();
    expect(closed.sort()).toEqual(["orders.0.shard", "orders.1.shard", "orders.2.shard"]);
  });
});
