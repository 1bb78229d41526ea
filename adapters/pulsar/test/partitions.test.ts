import { systemClock } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import type { Driver } from "brokerkit/driver";
import { beforeAll, describe, expect, test } from "vitest";
import { administrator } from "../recipe.ts";
import { type PulsarOptions, pulsar } from "../src/index.ts";
import { at, defer, fresh, read, record, soon, store, until, usualServer } from "./stage.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await usualServer();
});

/** How often a topic is asked for its partitions; these tests have no minute, and say when it is over. */
const USUAL_MS = 60_000;
const waiting = new Set<() => void>();
const clock = {
  ...systemClock,
  timer(ms: number, run: () => void) {
    if (ms !== USUAL_MS) return systemClock.timer(ms, run);
    waiting.add(run);
    return { cancel: () => void waiting.delete(run) };
  },
};

function look(): void {
  const due = [...waiting];
  waiting.clear();
  for (const run of due) run();
}

async function opened(options: PulsarOptions = {}): Promise<Driver> {
  const driver = pulsar({ ...at(server), ...options }).open({ clock, down: () => {} });
  defer(() => driver.close());
  await driver.connect(soon());
  return driver;
}

async function grow(topic: string, partitions: number): Promise<void> {
  const rest = administrator({ ...server, options: {} });
  await rest.growTopic(`persistent://public/default/${topic}`, partitions, soon());
  rest.close();
}

describe("a topic that gets more partitions", () => {
  test.each(["key_shared", "failover"] as const)("is published to and read whole without a restart, by a %s member too", async (type) => {
    const driver = await opened({ subscriptionType: type });
    const topic = fresh();
    await driver.admin.createTopic({ name: topic, partitions: 1 }, soon());
    const [member, reader] = [await read(driver, topic, "g"), await read(driver, topic, undefined)];
    const came = { member: [] as string[], reader: [] as string[] };
    const shards = { member: new Set<string>(), reader: new Set<string>() };
    const receive = async (): Promise<void> => {
      for (const [who, { subscription }] of [
        ["member", member],
        ["reader", reader],
      ] as const) {
        const some = await subscription.receive(1_000, 50, soon());
        for (const { id, shard } of some) {
          came[who].push(String(id));
          shards[who].add(shard.id);
        }
        expect((await subscription.ack(some)).filter((result) => result !== "confirmed")).toEqual([]);
      }
    };
    let sent = 0;
    const used = new Set<string | undefined>();
    const publish = async (): Promise<void> => {
      const batch = Array.from({ length: 30 }, (_, n) => record(topic, String(sent + n), { key: Buffer.from(`k${n}`) }));
      sent += batch.length;
      for (const result of await store(driver, batch)) if (result.ok) used.add(result.place?.split(":")[0]);
    };
    await publish();
    await receive();
    expect([...used]).toEqual(["0"]);
    await grow(topic, 3);
    await until(async () => {
      look();
      await publish();
      await receive();
      return used.size === 3 && shards.member.size === 3 && shards.reader.size === 3;
    }, "three partitions to be written and read");
    await until(async () => {
      await receive();
      return came.member.length >= sent && came.reader.length >= sent;
    }, "everything");
    const all = Array.from({ length: sent }, (_, n) => String(n)).sort();
    expect([came.member.sort(), came.reader.sort()]).toEqual([all, all]);
    expect([member.lost, reader.losses]).toEqual([[], []]);
    expect((await driver.admin.lag(topic, "g", soon())).count).toBe(0);
    expect((await driver.describe(topic, soon())).topics.partitions).toBe(3);
  });

  test("has one member for each key, whether its publisher was there before or came later", async () => {
    const [old, other] = [await opened(), await opened()];
    const topic = fresh();
    await old.admin.createTopic({ name: topic, partitions: 1 }, soon());
    const members = [await read(old, topic, "g"), await read(other, topic, "g")];
    const keyed = (who: string) => Array.from({ length: 60 }, (_, n) => record(topic, `${who}-${n}`, { key: Buffer.from(`k${n}`) }));
    await store(old, keyed("before"));
    await grow(topic, 2);
    const used = new Set<string | undefined>();
    let sent = 60;
    await until(async () => {
      look();
      for (const result of await store(old, keyed("while"))) if (result.ok) used.add(result.place?.split(":")[0]);
      sent += 60;
      return used.size === 2;
    }, "two partitions to be written");
    await store(old, keyed("old"));
    await store(await opened(), keyed("new"));
    const owners = new Map<string, Set<number>>();
    let came = 0;
    await until(async () => {
      for (const [member, { subscription }] of members.entries()) {
        const some = await subscription.receive(1_000, 50, soon());
        came += some.length;
        await subscription.ack(some);
        for (const { id, key } of some)
          if (/^(old|new)/.test(String(id))) owners.set(String(key), (owners.get(String(key)) ?? new Set()).add(member));
      }
      return came === sent + 120;
    }, "everything");
    expect(owners.size).toBe(60);
    expect([...owners].filter(([, all]) => all.size > 1)).toEqual([]);
  });
});
