import type { RunningBroker } from "@brokerkit/conformance/brokers";
import type { WireDelivery } from "brokerkit/driver";
import { beforeAll, describe, expect, test } from "vitest";
import { adminOf } from "../recipe.ts";
import { pulsar } from "../src/index.ts";
import { inboxOf } from "../src/mapping.ts";
import { frontOf } from "./admin-front.ts";
import { at, failure, ids, open, proxied, read, record, records, soon, store, topicOn, until, usualServer } from "./stage.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await usualServer();
});

const names = (count: number): string[] => Array.from({ length: count }, (_, n) => String(n));
const sorted = (deliveries: readonly WireDelivery[]): string[] =>
  ids(deliveries)
    .map(String)
    .sort((a, b) => Number(a) - Number(b));

describe("settling", () => {
  test("counts once, for one message of a batch as well", async () => {
    const { driver, topic } = await topicOn(at(server));
    const { subscription, take } = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2", "3"));
    const [one, two, three] = (await take(3)) as [WireDelivery, WireDelivery, WireDelivery];
    expect(await subscription.ack([three, one])).toEqual(["confirmed", "confirmed"]);
    expect(await subscription.ack([one, two, three])).toEqual(["lost", "confirmed", "lost"]);
    await until(async () => (await driver.admin.lag(topic, "g", soon())).count === 0, "nothing to be left");
  });

  test("what a member leaves unsettled goes to the next one, and nothing else does", async () => {
    const { driver, topic } = await topicOn(at(server));
    const leaving = await read(driver, topic, "g");
    await store(driver, records(topic, ...names(10)));
    const got = await leaving.take(10);
    await leaving.subscription.ack(got.filter((_, n) => n % 2 === 0));
    await leaving.subscription.close();
    expect(await leaving.subscription.ack(got)).toEqual(Array(10).fill("lost"));
    const next = await read((await open(pulsar(at(server)))).driver, topic, "g");
    expect(next.subscription.created).toBe(false);
    expect(sorted(await next.take(5))).toEqual(["1", "3", "5", "7", "9"]);
    expect(await next.subscription.receive(10, 300, soon())).toEqual([]);
  });
});

describe("key order", () => {
  test("a key with an unsettled delivery is not handed to a member that joins", async () => {
    const { driver, topic } = await topicOn(at(server));
    const old = await read(driver, topic, "g");
    const keyed = (round: string) => names(40).map((n) => record(topic, `${round}-${n}`, { key: Buffer.from(`k${n}`) }));
    await store(driver, keyed("a"));
    const held = await old.take(40);
    const young = await read((await open(pulsar(at(server)))).driver, topic, "g");
    await store(driver, keyed("b"));
    expect(await young.subscription.receive(100, 500, soon())).toEqual([]);
    await old.subscription.ack(held);
    const share = await young.take(1);
    expect(String(share[0]?.id)).toMatch(/^b-/);
  });

  test("one member has the same keys in every partition", async () => {
    const { driver, topic } = await topicOn(at(server), { partitions: 3 });
    const members = [await read(driver, topic, "g"), await read((await open(pulsar(at(server)))).driver, topic, "g")];
    const sent = names(60).map((n) => record(topic, n, { key: Buffer.from(`k${n}`) }));
    await store(driver, sent);
    const again = sent.map((one) => ({ ...one, id: `${one.id}r`, target: { topic, group: "g" } }));
    await store(driver, again);
    const owners = new Map<string, Set<number>>();
    let count = 0;
    await until(async () => {
      for (const [member, { subscription }] of members.entries()) {
        for (const { key } of await subscription.receive(100, 50, soon())) {
          count += 1;
          const name = Buffer.from(key ?? []).toString();
          owners.set(name, (owners.get(name) ?? new Set()).add(member));
        }
      }
      return count === 120;
    }, "all messages of the topic and of the inbox");
    expect([...owners.values()].filter((members) => members.size > 1)).toEqual([]);
    expect(new Set([...owners.values()].map((members) => [...members][0])).size).toBe(2);
  });
});

describe("delayed messages", () => {
  test("come not before their time, however early a broker hands them out, and each when it is due", async () => {
    const { driver, topic } = await topicOn(at(server));
    const { take } = await read(driver, topic, "g");
    const began = Date.now();
    const delays = [900, 300, 600, 150];
    await store(
      driver,
      delays.map((delayMs) => record(topic, String(delayMs), { delayMs })),
    );
    await store(driver, [record(topic, "inbox", { delayMs: 450, target: { topic, group: "g" } })]);
    const came = new Map<string, number>();
    while (came.size < 5) for (const { id } of await take(1)) came.set(String(id), Date.now() - began);
    for (const [id, after] of came) expect(after).toBeGreaterThanOrEqual(id === "inbox" ? 450 : Number(id));
  });
});

describe("losing ownership", () => {
  test("a cut connection loses every shard, then receive fails, and a new member has it all", async () => {
    const proxy = await proxied(server);
    const { driver, topic } = await topicOn(at(server, proxy), { partitions: 2 });
    const { subscription, take, lost } = await read(driver, topic, "g");
    await store(driver, [
      ...records(topic, ...names(8)).map((one, n) => ({ ...one, key: Buffer.from(`k${n}`) })),
      record(topic, "8", { target: { topic, group: "g" } }),
    ]);
    const got = await take(9);
    const waiting = failure(driver, subscription.receive(1, 10_000, soon()));
    proxy.cut();
    expect((await waiting).code).toBe("UNAVAILABLE");
    expect(new Set(lost)).toEqual(new Set(got.map(({ shard }) => shard)));
    const results = await subscription.ack(got);
    expect(new Set(results)).toEqual(new Set(["lost"]));
    await driver.connect(soon());
    expect(sorted(await (await read(driver, topic, "g")).take(9))).toEqual(names(9));
  });

  test("a seek ends the members' ownership; who joins then begins at the new place", async () => {
    const { driver, topic } = await topicOn(at(server));
    const { subscription, take, lost } = await read(driver, topic, "g");
    await store(driver, records(topic, ...names(6)));
    const got = await take(6);
    await subscription.ack(got);
    const cut = new Map([["0", got[2]?.place as NonNullable<WireDelivery["place"]>]]);
    await driver.admin.seek(topic, "g", { kind: "position", cut }, soon());
    expect((await failure(driver, subscription.receive(1, 5_000, soon()))).code).toBe("UNAVAILABLE");
    expect(lost.map(({ id }) => id)).toEqual(["0"]);
    expect(ids(await (await read(driver, topic, "g")).take(3))).toEqual(["3", "4", "5"]);
  });

  test("with failover another member takes over when the one that is served leaves", async () => {
    const options = { ...at(server), subscriptionType: "failover" } as const;
    const { driver, topic, capabilities } = await topicOn(options);
    expect(capabilities.keyOrder).toBe("members");
    const members = [await read(driver, topic, "g"), await read((await open(pulsar(options))).driver, topic, "g")];
    await store(driver, records(topic, ...names(4)));
    let served = -1;
    await until(async () => {
      served = (await Promise.all(members.map(({ subscription }) => subscription.receive(10, 100, soon())))).findIndex(
        (some) => some.length > 0,
      );
      return served >= 0;
    }, "one member to be served");
    await members[served]?.subscription.close();
    expect(sorted((await members[1 - served]?.take(4)) ?? [])).toEqual(names(4));
  });
});

describe("a group", () => {
  test("whose inbox is gone gets another one when a member joins", async () => {
    const { driver, topic } = await topicOn(at(server));
    await driver.admin.createGroup(topic, "g", { kind: "latest" }, soon());
    await driver.admin.deleteTopic(inboxOf(topic, "g"), soon());
    const { take } = await read(driver, topic, "g");
    await store(driver, [record(topic, "1", { target: { topic, group: "g" } })]);
    expect((await take(1)).map(({ id, inbox }) => [id, inbox])).toEqual([["1", true]]);
  });

  test("begins at a place, a time or either end, in the middle of a batch too", async () => {
    const { driver, topic } = await topicOn(at(server));
    const results = await store(driver, records(topic, ...names(4)));
    const between = Date.now() + 2;
    await until(() => Date.now() > between, "the clock to go on");
    await store(driver, records(topic, "4", "5"));
    const [, second] = results;
    const cut = new Map([["0", (second?.ok === true ? second.place : undefined) as NonNullable<WireDelivery["place"]>]]);
    const starts = [{ kind: "earliest" }, { kind: "position", cut }, { kind: "time", ms: between }] as const;
    for (const [n, from] of starts.entries()) {
      const { subscription, take } = await read(driver, topic, `g${n}`, { from });
      expect(subscription.created).toBe(true);
      const expected = names(6).slice([0, 2, 4][n]);
      expect(sorted(await take(expected.length))).toEqual(expected);
    }
  });

  test("that two make at once, at a place or a time, begins there for both", async () => {
    const { driver, topic } = await topicOn(at(server));
    const results = await store(driver, records(topic, ...names(4)));
    const between = Date.now() + 2;
    await until(() => Date.now() > between, "the clock to go on");
    await store(driver, records(topic, "4", "5"));
    const place = results[1]?.ok === true ? results[1].place : undefined;
    const cut = new Map([["0", place as NonNullable<WireDelivery["place"]>]]);
    const starts = [
      { kind: "position", cut },
      { kind: "time", ms: between },
    ] as const;
    for (const [n, from] of starts.entries()) {
      const [begun, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      const before = async (path: string): Promise<void> => {
        if (!path.includes(`/subscription/g${n}`)) return;
        begun.resolve();
        await released.promise;
      };
      const slow = await open(pulsar({ ...at(server), adminUrl: await frontOf(adminOf(server), { before }) }));
      const joining = read(slow.driver, topic, `g${n}`, { from });
      await begun.promise;
      const { subscription, take, lost } = await read(driver, topic, `g${n}`, { from });
      const expected = names(6).slice([2, 4][n]);
      const got = await take(expected.length);
      expect(sorted(got)).toEqual(expected);
      expect(new Set(await subscription.ack(got))).toEqual(new Set(["confirmed"]));
      released.resolve();
      expect(await (await joining).subscription.receive(10, 300, soon())).toEqual([]);
      expect(lost).toEqual([]);
    }
  });

  test("on a topic that is not there is NOT_FOUND, and makes none", async () => {
    const { driver, topic } = await topicOn(at(server));
    expect((await failure(driver, read(driver, `${topic}-not`, "g"))).code).toBe("NOT_FOUND");
    expect((await failure(driver, read(driver, `${topic}-not`, undefined))).code).toBe("NOT_FOUND");
    expect(await driver.admin.describeTopic(`${topic}-not`, soon())).toBe(undefined);
  });
});

describe("broadcast", () => {
  test("sees everything from its start on, and says where that is, on partitions without messages too", async () => {
    const { driver, topic } = await topicOn(at(server), { partitions: 3 });
    await store(driver, [record(topic, "before", { key: Buffer.from("a") })]);
    const first = await read(driver, topic, undefined);
    const { start } = first.subscription;
    expect([...(start ?? [])].map(([shard]) => shard).sort()).toEqual(["0", "1", "2"]);
    await store(
      driver,
      names(9).map((n) => record(topic, n, { key: Buffer.from(`k${n}`) })),
    );
    expect(sorted(await first.take(9))).toEqual(names(9));
    const resumed = await read(driver, topic, undefined, { from: { kind: "position", cut: start ?? new Map() } });
    expect(sorted(await resumed.take(9))).toEqual(names(9));
    expect(resumed.losses).toEqual([]);
    expect((await driver.admin.describeTopic(topic, soon()))?.groups).toEqual([]);
  });
});
