import { beforeAll, describe, expect, test } from "vitest";
import { type RabbitMqOptions, rabbitmq } from "../src/index.ts";
import { queueOf } from "../src/mapping.ts";
import {
  at,
  codeOf,
  ids,
  open,
  plain,
  proxied,
  read,
  record,
  records,
  type Server,
  soon,
  startServer,
  store,
  topicOn,
  until,
} from "./stage.ts";

let server: Server;
beforeAll(async () => {
  server = await startServer();
});

/** Without a log, so that queues are all there is. */
async function opened(more: RabbitMqOptions = {}, where: { host: string; port: number } = server.broker) {
  const made = await open(rabbitmq({ ...at(where), log: false, ...more }));
  return { ...made, topic: await topicOn(made.driver) };
}

const numbered = (count: number): string[] => Array.from({ length: count }, (_, n) => `m${n}`);

describe("settling", () => {
  test("in any order settles those and no others", async () => {
    const { driver, topic } = await opened();
    const first = await read(driver, topic, "g");
    await store(driver, records(topic, ...numbered(50)));
    const got = await first.take(50);
    // Gaps, single ones behind them, heads that catch up, and one call in falling order.
    const calls = [[3], [1, 0], [7, 5, 6], [2], [20, 22, 24], [21], [30, 29, 28, 4, 8], [23]];
    for (const call of calls) {
      const results = await first.subscription.ack(call.map((n) => got[n] as never));
      expect(results).toEqual(call.map(() => "written"));
    }
    await first.subscription.flush();
    await first.subscription.close();
    const settled = new Set(calls.flat().map((n) => `m${n}`));
    const second = await read(driver, topic, "g");
    const rest = await second.take(50 - settled.size);
    expect(ids(rest)).toEqual(numbered(50).filter((id) => !settled.has(id)));
    expect(new Set(rest.map(({ deliveries }) => deliveries))).toEqual(new Set([2]));
    await second.subscription.ack(rest);
    await second.subscription.close();
    const channel = await (await plain(server.broker)).createChannel();
    expect((await channel.checkQueue(queueOf(topic, "g"))).messageCount).toBe(0);
  });

  test("twice is lost, and the channel lives", async () => {
    const { driver, topic } = await opened();
    const { subscription, take } = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2"));
    const got = await take(2);
    expect(await subscription.ack([got[0] as never, got[0] as never])).toEqual(["written", "lost"]);
    expect(await subscription.ack(got)).toEqual(["lost", "written"]);
    await subscription.flush();
    await store(driver, records(topic, "3"));
    expect(ids(await take(1))).toEqual(["3"]);
  });

  test("what came over a link that broke changes nothing, though the numbers are in use again", async () => {
    const proxy = await proxied(server.broker);
    const { driver, topic, downs } = await opened({}, proxy);
    const first = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2", "3"));
    const before = await first.take(3);
    proxy.reset();
    await until(() => first.lost.length > 0 && downs.length > 0, "the loss to be told");
    expect(first.lost).toEqual([before[0]?.shard]);
    expect(await codeOf(driver, first.subscription.receive(1, 1_000, soon()))).toBe("UNAVAILABLE");
    await driver.connect(soon());
    const second = await read(driver, topic, "g");
    const again = await second.take(3);
    expect(ids(again)).toEqual(["1", "2", "3"]);
    expect(await first.subscription.ack(before)).toEqual(["lost", "lost", "lost"]);
    expect(await second.subscription.ack(before)).toEqual(["lost", "lost", "lost"]);
    await second.subscription.flush();
    await second.subscription.close();
    expect(ids(await (await read(driver, topic, "g")).take(3))).toEqual(["1", "2", "3"]);
  });
});

test.each(["quorum", "classic"] as const)(
  "flushing a %s queue is no part of its lag, and leaves nothing behind where nobody reads",
  {
    timeout: 60_000,
  },
  async (queueType) => {
    const { driver, topic } = await opened({ queueType });
    // It holds all that it may: what flushing puts into the queue stays there.
    const { subscription, take } = await read(driver, topic, "g", { credit: 2 });
    await store(driver, records(topic, "1", "2", "3"));
    const got = await take(2);
    await subscription.ack(got.slice(0, 1));
    await take(1);
    await subscription.flush();
    const channel = await (await plain(server.broker)).createChannel();
    const queue = queueOf(topic, "g");
    await until(async () => (await channel.checkQueue(queue)).messageCount === 1, "what flushing puts there");
    expect((await driver.admin.lag(topic, "g", soon())).count).toBe(2);
    await subscription.close();
    await until(async () => (await channel.checkQueue(queue)).messageCount === 3, "what was held to be given back");
    for (const id of ["2", "3"]) {
      const next = await channel.get(queue, { noAck: true });
      expect(next === false ? "nothing" : next.properties.messageId).toBe(id);
    }
    await until(async () => (await channel.checkQueue(queue)).messageCount === 0, "the end of what flushing left", 20_000);
    expect((await channel.checkQueue("brokerkit~undelivered")).messageCount).toBe(0);
  },
);

test("what was acknowledged and flushed is written: flushing waits for the disk, and a kill right then brings nothing back", {
  timeout: 120_000,
}, async () => {
  const own = await startServer();
  const { driver, topic } = await opened({}, own.broker);
  const readers = [await read(driver, topic, "together"), await read(driver, topic, "single")] as const;
  await store(driver, records(topic, ...numbered(200)));
  const [together, all] = await Promise.all([readers[0].take(200), readers[1].take(200)]);
  // More commands than a server's channel has under way, none of which covers another.
  const single = all.filter((_, n) => n % 2 === 1);
  // The one process that writes to disk for all quorum queues.
  await own.control("eval", "sys:suspend(ra_log_wal).");
  await readers[0].subscription.ack(together);
  for (const delivery of single) await readers[1].subscription.ack([delivery]);
  const flushed: string[] = [];
  const flush = async ({ subscription }: (typeof readers)[number], name: string): Promise<void> => {
    await subscription.flush();
    flushed.push(name);
  };
  // The second of one reader has nothing new to see to, and waits all the same.
  const flushing = Promise.all([flush(readers[0], "together"), flush(readers[1], "single"), flush(readers[1], "again")]);
  for (let times = 0; times < 10; times++) await driver.ping(soon());
  expect(flushed).toEqual([]);
  await own.control("eval", "sys:resume(ra_log_wal).");
  await flushing;
  await own.broker.kill();
  expect(flushed).toHaveLength(3);
  await own.broker.restart();
  const after = await opened({}, own.broker);
  for (const [group, left] of [
    ["together", []],
    ["single", numbered(200).filter((_, n) => n % 2 === 0)],
  ] as const) {
    const rest = await read(after.driver, topic, group);
    await store(after.driver, [record(topic, "end", { target: { topic, group } })]);
    expect(ids(await rest.take(left.length + 1)).sort()).toEqual([...left, "end"].sort());
  }
});

describe("a member", () => {
  test("that leaves gives back at once what it holds, handed out or not", async () => {
    const { driver, topic } = await opened({ prefetch: 10 });
    const first = await read(driver, topic, "g");
    await store(driver, records(topic, ...numbered(30)));
    expect(await first.take(3)).toHaveLength(3);
    const second = await read(driver, topic, "g");
    await second.take(10);
    await first.subscription.close();
    expect(await first.subscription.receive(1, 10_000, soon())).toEqual([]);
    await second.subscription.close();
    const third = await read(driver, topic, "g", { credit: 100 });
    const fourth = await read(driver, topic, "g", { credit: 100 });
    const all = [...(await third.take(10)), ...(await fourth.take(10))];
    await Promise.all([third.subscription.ack(all.slice(0, 10)), fourth.subscription.ack(all.slice(10))]);
    all.push(...(await Promise.race([third.take(10), fourth.take(10)])));
    expect(new Set(ids(all)).size).toBe(30);
    expect([third.lost, fourth.lost]).toEqual([[], []]);
  });

  test("holds no more than its credit", async () => {
    const { driver, topic } = await opened();
    const { subscription, take } = await read(driver, topic, "g", { credit: 4 });
    await store(driver, records(topic, ...numbered(10)));
    const got = await take(4);
    expect(await subscription.receive(10, 200, soon())).toEqual([]);
    await subscription.ack(got.slice(0, 2));
    expect(ids(await take(2))).toEqual(["m4", "m5"]);
  });

  test("waits no longer than it is told, and stops waiting when it is told", async () => {
    const { driver, topic } = await opened();
    const { subscription } = await read(driver, topic, "g");
    expect(await subscription.receive(1, 30, soon())).toEqual([]);
    const stop = new AbortController();
    const waiting = subscription.receive(1, 30_000, stop.signal);
    stop.abort();
    expect(await waiting).toEqual([]);
    const closing = subscription.receive(1, 30_000, soon());
    await subscription.close();
    expect(await closing).toEqual([]);
  });

  test("whose queue is deleted is told so, once, and that the group is gone", async () => {
    const { driver, topic } = await opened();
    const other = await read(driver, topic, "h");
    // Channels that nobody consumes on have no prefetch.
    const consuming = async (): Promise<number> =>
      (await server.control("-q", "list_channels", "prefetch_count")).match(/^[1-9]/gm)?.length ?? 0;
    const before = await consuming();
    const { subscription, take, lost } = await read(driver, topic, "g");
    await store(driver, records(topic, "1"));
    const got = await take(1);
    const waiting = codeOf(driver, subscription.receive(1, 10_000, soon()));
    await (await (await plain(server.broker)).createChannel()).deleteQueue(queueOf(topic, "g"));
    expect(await waiting).toBe("NOT_FOUND");
    expect(lost).toEqual([got[0]?.shard]);
    expect(await subscription.ack(got)).toEqual(["lost"]);
    expect(ids(await other.take(1))).toEqual(["1"]);
    await until(async () => (await consuming()) === before, "the end of its channel");
    expect((await read(driver, topic, "g")).subscription.created).toBe(true);
  });
});

describe("a group that is there already", () => {
  test("with other arguments is refused in words, and nothing else is harmed", async () => {
    const { driver, topic } = await opened();
    const other = await read(driver, topic, "other");
    const channel = await (await plain(server.broker)).createChannel();
    await channel.assertQueue(queueOf(topic, "g"), { durable: true, arguments: { "x-queue-type": "classic" } });
    const refused = await read(driver, topic, "g").catch((error: unknown) => error);
    expect(driver.classify(refused).code).toBe("INVALID_ARGUMENT");
    expect(String(refused)).toMatch(/queue ".*\.g" already, made with other arguments .*inequivalent arg/);
    await store(driver, records(topic, "1"));
    expect(ids(await other.take(1))).toEqual(["1"]);
    expect(other.lost).toEqual([]);
  });

  test("and made for shared reading is refused to whoever wants it exclusively", async () => {
    const { driver, topic } = await opened();
    await driver.admin.createGroup(topic, "g", { kind: "latest" }, soon());
    const refused = await read(driver, topic, "g", { exclusive: true }).catch((error: unknown) => error);
    expect(driver.classify(refused).code).toBe("INVALID_ARGUMENT");
    expect(String(refused)).toContain("x-single-active-consumer");
  });

  test.each(["quorum", "classic"] as const)(
    "of %s queues, read exclusively, has one reader, and the next gets first what it left",
    async (queueType) => {
      const { driver, topic } = await opened({ queueType });
      const part = `${topic}.0.shard`;
      await driver.admin.createTopic({ name: part }, soon());
      await driver.admin.createGroup(part, "g", { kind: "latest" }, soon(), true);
      const first = await read(driver, part, "g", { exclusive: true });
      await store(driver, records(part, ...numbered(5)));
      const got = await first.take(5);
      const second = await read(driver, part, "g", { exclusive: true });
      await store(driver, records(part, "m5"));
      expect(await second.subscription.receive(10, 200, soon())).toEqual([]);
      await first.subscription.ack([got[1] as never]);
      await first.subscription.close();
      expect(ids(await second.take(5))).toEqual(["m0", "m2", "m3", "m4", "m5"]);
      expect(await first.subscription.ack([got[0] as never])).toEqual(["lost"]);
    },
  );
});

describe("what a server gives up", () => {
  test("is kept for an operator when it was delivered too often, and gone when its time to live has ended", async () => {
    const { driver, topic } = await opened();
    await driver.admin.createGroup(topic, "g", { kind: "latest" }, soon());
    await server.control("set_policy", "--apply-to", "queues", topic, `^${topic}[.]g$`, '{"delivery-limit":1}');
    await store(driver, [record(topic, "expires", { ttlMs: 50 })]);
    const queues = await (await plain(server.broker)).createChannel();
    await until(async () => (await queues.checkQueue(queueOf(topic, "g"))).messageCount === 0, "the end of its time");
    await store(driver, [record(topic, "poison", { target: { topic, group: "g" }, delayMs: 20 })]);
    for (let times = 0; times < 2; times++) {
      const reader = await read(driver, topic, "g");
      expect(ids(await reader.take(1))).toEqual(["poison"]);
      await reader.subscription.close();
    }
    await until(async () => (await queues.checkQueue("brokerkit~undelivered")).messageCount > 0, "the message to be kept");
    const kept = await queues.get("brokerkit~undelivered");
    expect(kept === false ? "nothing" : [kept.properties.messageId, kept.fields.messageCount]).toEqual(["poison", 0]);
  });
});

describe("a broadcast reader without a log", () => {
  test("sees everything from now on, and says that it can't know what it missed after a broken link", async () => {
    const proxy = await proxied(server.broker);
    const { driver, topic, downs } = await opened({}, proxy);
    const seen: unknown[] = [];
    const events = { releasing: async () => {}, lost: () => {}, state: () => {}, dataLoss: (...loss: unknown[]) => void seen.push(loss) };
    await store(driver, records(topic, "before"));
    const first = await read(driver, topic, undefined, { events });
    await store(driver, records(topic, "1", "2"));
    expect(ids(await first.take(2))).toEqual(["1", "2"]);
    expect(seen).toEqual([]);
    proxy.reset();
    await until(() => downs.length > 0, "the driver to notice");
    await driver.connect(soon());
    const second = await read(driver, topic, undefined, { events });
    expect(seen).toEqual([["0", undefined, undefined, undefined]]);
    await store(driver, records(topic, "3"));
    expect(ids(await second.take(1))).toEqual(["3"]);
    await second.subscription.close();
    await read(driver, topic, undefined, { events });
    expect(seen).toHaveLength(1);
  });
});
