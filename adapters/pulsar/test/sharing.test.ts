import type { RunningBroker } from "@brokerkit/conformance/brokers";
import type { WireDelivery } from "brokerkit/driver";
import { beforeAll, describe, expect, test } from "vitest";
import { pulsar } from "../src/index.ts";
import type { PulsarOptions } from "../src/options.ts";
import { at, failure, ids, open, proxied, type Reader, read, record, records, soon, store, topicOn, until, usualServer } from "./stage.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await usualServer();
});

const names = (count: number, prefix = ""): string[] => Array.from({ length: count }, (_, n) => `${prefix}${n}`);
const sorted = (deliveries: readonly WireDelivery[]): string[] =>
  ids(deliveries)
    .map(String)
    .sort((a, b) => Number(a) - Number(b));

/** A member by a connection of its own, which can be taken away. */
async function joining(topic: string, options: PulsarOptions, credit = 1_000) {
  const proxy = await proxied(server);
  const { driver } = await open(pulsar({ ...options, ...at(server, proxy) }));
  return { ...(await read(driver, topic, "g", { credit })), driver, proxy };
}

/** Which of two members gets what comes; the other gets nothing. */
async function served(members: readonly Reader[]): Promise<{ readonly at: number; readonly first: readonly WireDelivery[] }> {
  let found: { at: number; first: readonly WireDelivery[] } | undefined;
  await until(async () => {
    const some = await Promise.all(members.map(({ subscription }) => subscription.receive(10, 100, soon())));
    const at = some.findIndex((part) => part.length > 0);
    if (at >= 0) found = { at, first: some[at] ?? [] };
    expect(some.filter((part) => part.length > 0).length).toBeLessThan(2);
    return found !== undefined;
  }, "one member to be served");
  return found ?? { at: -1, first: [] };
}

describe("failover", () => {
  const options = { subscriptionType: "failover" } as const;

  test("gives one member everything, in the order of the topic across keys", async () => {
    const { driver, topic } = await topicOn({ ...at(server), ...options }, { partitions: 1 });
    const members = [await joining(topic, options), await joining(topic, options)];
    const sent = names(200).map((n) => record(topic, n, { key: Buffer.from(`k${Number(n) % 7}`) }));
    for (let n = 0; n < 200; n += 50) await store(driver, sent.slice(n, n + 50));
    const { at: one, first } = await served(members);
    const rest = await members[one]?.take(200 - first.length);
    expect(ids([...first, ...(rest ?? [])])).toEqual(names(200));
    expect(await members[1 - one]?.subscription.receive(10, 300, soon())).toEqual([]);
  });

  test("shares partitions between members, each with one", async () => {
    const { driver, topic } = await topicOn({ ...at(server), ...options }, { partitions: 4 });
    const members = [await joining(topic, options), await joining(topic, options)];
    // Who joins takes partitions over, and what their member had comes again there.
    const owners = new Map<string, Set<number>>();
    let round = 0;
    await until(async () => {
      owners.clear();
      await store(
        driver,
        names(40, `${round++}-`).map((n) => record(topic, n, { key: Buffer.from(n) })),
      );
      for (const [n, { subscription }] of members.entries()) {
        const some = await subscription.receive(1_000, 200, soon());
        for (const { shard } of some) owners.set(shard.id, (owners.get(shard.id) ?? new Set()).add(n));
        await subscription.ack(some);
      }
      return (
        owners.size === 4 &&
        [...owners.values()].every((all) => all.size === 1) &&
        new Set([...owners.values()].flatMap((all) => [...all])).size === 2
      );
    }, "four partitions with two members");
  });

  test.each(["closes", "is killed"])("hands over in order, what is unsettled first, when the member that is served %s", async (how) => {
    const { driver, topic } = await topicOn({ ...at(server), ...options, batching: "none" }, { partitions: 1 });
    const members = [await joining(topic, options), await joining(topic, options)];
    await store(driver, records(topic, ...names(20)));
    const { at: one, first } = await served(members);
    const [old, next] = [members[one], members[1 - one]] as [(typeof members)[0], (typeof members)[0]];
    const got = [...first, ...(await old.take(20 - first.length))];
    expect(new Set(await old.subscription.ack(got.slice(0, 5)))).toEqual(new Set(["confirmed"]));
    if (how === "closes") await old.subscription.close();
    else {
      const waiting = failure(old.driver, old.subscription.receive(1, 10_000, soon()));
      old.proxy.refuse();
      old.proxy.reset();
      expect((await waiting).code).toBe("UNAVAILABLE");
      expect(old.lost).toEqual([got[0]?.shard]);
    }
    expect(new Set(await old.subscription.ack(got.slice(5)))).toEqual(new Set(["lost"]));
    await store(driver, records(topic, "20", "21"));
    expect(ids(await next.take(17))).toEqual(names(22).slice(5));
  });

  test("a member that is still there loses what it had when another one is served in its place", async () => {
    const { driver, topic } = await topicOn({ ...at(server), ...options }, { partitions: 2 });
    const first = await joining(topic, options);
    await store(
      driver,
      names(40).map((n) => record(topic, n, { key: Buffer.from(n) })),
    );
    const got = await first.take(40);
    const second = await joining(topic, options);
    await until(() => first.lost.length > 0, "a partition to be taken over");
    const [gone] = first.lost;
    const [theirs, ours] = [got.filter(({ shard }) => shard === gone), got.filter(({ shard }) => shard !== gone)];
    expect(theirs.length * ours.length).toBeGreaterThan(0);
    expect(new Set(await first.subscription.ack(got))).toEqual(new Set(["lost", "confirmed"]));
    expect(sorted(await second.take(theirs.length))).toEqual(sorted(theirs));
    expect(await second.subscription.receive(10, 300, soon())).toEqual([]);
  });
});

describe("shared", () => {
  const options = { subscriptionType: "shared" } as const;
  const opened = () => topicOn({ ...at(server), ...options, batching: "none" });

  test("gives each message to one member, whoever has room for it, whatever the keys", async () => {
    const { driver, topic } = await opened();
    const [slow, fast] = [await joining(topic, options, 20), await joining(topic, options, 20)];
    await store(
      driver,
      names(100).map((n) => record(topic, n, { key: Buffer.from("one key") })),
    );
    // Who takes nothing has what its credit lets it have; the rest is for the other one.
    const most = await fast.take(70);
    const rest = new Map<Reader, WireDelivery[]>([
      [fast, []],
      [slow, []],
    ]);
    await until(async () => {
      for (const [member, came] of rest) came.push(...(await member.subscription.receive(100, 100, soon())));
      return most.length + [...rest.values()].flat().length >= 100;
    }, "all messages");
    expect(sorted([...most, ...[...rest.values()].flat()])).toEqual(names(100));
    expect(rest.get(slow)?.length).toBeGreaterThan(0);
  });

  test("keeps acknowledgements in any order: only what has none comes again", async () => {
    const { driver, topic } = await opened();
    const member = await joining(topic, options);
    await store(driver, records(topic, ...names(10)));
    const got = await member.take(10);
    const odd = got.filter(({ id }) => Number(id) % 2 === 1).reverse();
    expect(new Set(await member.subscription.ack(odd))).toEqual(new Set(["confirmed"]));
    await member.subscription.close();
    expect(sorted(await (await joining(topic, options)).take(5))).toEqual(["0", "2", "4", "6", "8"]);
  });

  test.each(["closes", "is killed"])("hands over what is unsettled, and nothing else, when a member %s", async (how) => {
    const { driver, topic } = await opened();
    const leaving = await joining(topic, options);
    await store(driver, records(topic, ...names(20)));
    const got = await leaving.take(20);
    const staying = await joining(topic, options);
    await leaving.subscription.ack(got.slice(0, 8));
    if (how === "closes") await leaving.subscription.close();
    else {
      leaving.proxy.refuse();
      leaving.proxy.reset();
    }
    expect(sorted(await staying.take(12))).toEqual(sorted(got.slice(8)));
    expect(new Set(await leaving.subscription.ack(got.slice(8)))).toEqual(new Set(["lost"]));
    expect(await staying.subscription.receive(10, 300, soon())).toEqual([]);
  });
});
