import { systemClock as clock, ranFor } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { type FaultProxy, startProxy } from "@brokerkit/conformance/faults";
import type { PublishResult, WireDelivery, WireRecord } from "brokerkit/driver";
import { beforeAll, describe, expect, test } from "vitest";
import { type RedisPubSubOptions, redisPubSub } from "../../src/index.ts";
import { defer, fresh, ids, open, plain, read, record, records, soon, startServer, store, until } from "../stage.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await startServer();
});

type At = Pick<RunningBroker, "host" | "port">;
const at = (where: At = server, options: RedisPubSubOptions = {}) => open(redisPubSub({ host: where.host, port: where.port, ...options }));

async function proxied(): Promise<FaultProxy> {
  const proxy = await startProxy(server);
  defer(() => proxy.close());
  return proxy;
}

const codes = (driver: { classify(error: unknown): { code: string } }, results: readonly PublishResult[]): string[] =>
  results.map((result) => (result.ok ? "ok" : `${driver.classify(result.error).code} ${result.sent}`));

describe("messages", () => {
  test("come to every subscriber whole and in order: id, key, headers, time, body and tombstones", async () => {
    const { driver } = await at();
    const topic = fresh();
    const readers = [await read(driver, topic, undefined), await read((await at()).driver, topic, undefined)];
    const headers: WireRecord["headers"] = [
      ["a", Buffer.from([0, 255])],
      ["a", Buffer.from("again")],
      ["ü", Buffer.alloc(0)],
    ];
    const sent = [
      record(topic, "ïd 1", { key: Buffer.from([0, 1]), headers, body: Buffer.from([0, 159]), publishedAt: 1_700_000_000_001 }),
      record(topic, "2", { body: null }),
      record(topic, "3", { body: Buffer.alloc(0), key: Buffer.alloc(0) }),
    ];
    expect(await store(driver, sent)).toEqual([{ ok: true }, { ok: true }, { ok: true }]);
    for (const { take, losses } of readers) {
      const got = await take(3);
      expect(got.map(({ id, key, headers: all, body, publishedAt }) => ({ id, key, headers: all, body, publishedAt }))).toEqual(
        sent.map(({ id, key, headers: all, body, publishedAt }) => ({ id, key, headers: all, body, publishedAt })),
      );
      expect(losses).toEqual([]);
    }
  });

  test("thousands of many sizes and channels keep each channel's order", async () => {
    const { driver, capabilities } = await at();
    const topics = [fresh(), fresh(), fresh()];
    const readers = await Promise.all(topics.map((topic) => read(driver, topic, undefined)));
    const names = Array.from({ length: 3_000 }, (_, n) => `m-${n}`);
    const sent = names.map((id, n) =>
      record(topics[n % 3] as string, id, { body: Buffer.alloc(n % 50 === 0 ? 20_000 : n % 300, n % 256) }),
    );
    const calls: Promise<unknown>[] = [];
    for (let n = 0; n < sent.length; n += 500) calls.push(store(driver, sent.slice(n, n + 500)));
    await Promise.all(calls);
    for (const [n, { take, losses }] of readers.entries()) {
      const got = await take(1_000);
      expect(ids(got)).toEqual(names.filter((_, m) => m % 3 === n));
      expect(got.every(({ id, body }) => body?.length === sent[names.indexOf(id as string)]?.body?.length)).toBe(true);
      expect(losses).toEqual([]);
    }
    const huge = record(topics[0] as string, "huge", { body: Buffer.alloc(capabilities.message.maxBytes - 10, 7) });
    await store(driver, [huge]);
    expect((await readers[0]?.take(1))?.[0]?.body?.length).toBe(huge.body?.length);
  });

  test("of a foreign publisher are read as bare bodies, with ids of their connection", async () => {
    const { driver } = await at();
    const topic = fresh();
    const { take, losses, subscription } = await read(driver, topic, undefined);
    const client = await plain(server);
    const bodies = [
      "hello",
      "",
      Buffer.from([0x9e, 0x62, 0x6b, 0x01]),
      Buffer.concat([Buffer.from([0x9e, 0x62, 0x6b, 0x01]), Buffer.alloc(40, 255)]),
    ];
    for (const body of bodies) await client.call("PUBLISH", topic, body);
    const got = await take(4);
    expect(got.map(({ body, key, headers }) => [body?.toString(), key, headers])).toEqual(
      bodies.map((body) => [body.toString(), undefined, []]),
    );
    const [first] = ids(got) as [string];
    expect(ids(got)).toEqual([1, 2, 3, 4].map((n) => first.replace(/1$/, String(n))));
    expect(Math.abs(Date.now() - (got[0] as WireDelivery).publishedAt)).toBeLessThan(10_000);
    expect(await subscription.ack(got)).toEqual(Array(4).fill("recorded"));
    expect(losses).toEqual([]);
  });

  test("published plainly are bare bodies to everybody, and the record says what is gone", async () => {
    const { driver, capabilities } = await at(server, { plain: true });
    expect(capabilities.message).toMatchObject({ key: false, headers: false, tombstone: false });
    const topic = fresh();
    const heard: string[] = [];
    await (await plain(server)).listen(topic, (body) => void heard.push(body.toString()));
    const framed = await read((await at()).driver, topic, undefined);
    await store(driver, records(topic, "one", "two"));
    await until(() => heard.length === 2, "the plain client");
    expect(heard).toEqual(["one", "two"]);
    expect((await framed.take(2)).map(({ body }) => body?.toString())).toEqual(["one", "two"]);
    expect(await (await plain(server)).call("KEYS", `${topic}*`)).toEqual([]);
  });

  test("to nobody are published all the same", async () => {
    const { driver } = await at();
    expect(await store(driver, records(fresh(), "1"))).toEqual([{ ok: true }]);
  });
});

describe("what is lost is counted", () => {
  /** A subscriber behind a proxy, and a publisher beside it. */
  async function apart() {
    const proxy = await proxied();
    const listening = await at(proxy);
    const publishing = await at();
    const topic = fresh();
    return { proxy, listening, publisher: publishing.driver, topic, reader: await read(listening.driver, topic, undefined) };
  }

  test("at once when the link is back, also the last ones, with nothing published later", async () => {
    const { proxy, listening, publisher, topic, reader } = await apart();
    await store(publisher, records(topic, "1", "2", "3"));
    expect(ids(await reader.take(3))).toEqual(["1", "2", "3"]);
    proxy.refuse();
    proxy.reset();
    await until(() => reader.states.includes("down"), "the link to be down");
    expect(listening.downs.length).toBeGreaterThan(0);
    for (let n = 0; n < 5; n++) await store(publisher, records(topic, `lost-${n}`, `lost-too-${n}`));
    await proxy.accept();
    await listening.driver.connect(soon());
    expect(reader.states).toEqual(["down", "up"]);
    expect(reader.losses.map(({ shard, missing }) => [shard, missing])).toEqual([["0", 10]]);
    await store(publisher, records(topic, "4"));
    expect(ids(await reader.take(1))).toEqual(["4"]);
    expect(reader.losses).toHaveLength(1);
  });

  test("of publishers that came and went while the link was down", async () => {
    const { proxy, listening, topic, reader } = await apart();
    proxy.refuse();
    proxy.cut();
    await until(() => reader.states.includes("down"), "the link to be down");
    for (let n = 0; n < 3; n++) {
      const { driver } = await at();
      await store(driver, records(topic, `a-${n}`, `b-${n}`));
      await driver.close();
    }
    await proxy.accept();
    await listening.driver.connect(soon());
    expect(reader.losses.map(({ missing }) => missing)).toEqual([6]);
  });

  test("exactly, through many cuts under load", async () => {
    const { proxy, listening, publisher, topic, reader } = await apart();
    let [sent, stopping, seen] = [0, false, 0];
    const publishing = (async () => {
      for (; !stopping; sent += 7) await store(publisher, records(topic, ...Array.from({ length: 7 }, (_, n) => `${sent + n}`)));
    })();
    const listeningOn = (async () => {
      while (!stopping) seen += (await reader.subscription.receive(1_000, 20, soon())).length;
    })();
    for (let cut = 0; cut < 5; cut++) {
      const goal = seen + 100;
      await until(() => seen >= goal, "messages");
      proxy.reset();
      await until(() => reader.states.length > 2 * cut, "the cut to be noticed");
      const while_ = sent;
      await until(() => sent > while_ + 50, "messages that nobody hears");
      await listening.driver.connect(soon());
    }
    stopping = true;
    await Promise.all([publishing, listeningOn]);
    await store(publisher, records(topic, "last"));
    for (let last = false; !last; ) {
      const got = await reader.subscription.receive(1_000, 1_000, soon());
      last = ids(got).includes("last");
      seen += got.length;
    }
    expect(seen + reader.losses.reduce((sum, { missing }) => sum + (missing ?? Number.NaN), 0)).toBe(sent + 1);
    expect(reader.losses.length).toBe(5);
  });

  test("as unknown where the server forgot its counter, or foreigners publish without one", async () => {
    const { proxy, listening, publisher, topic, reader } = await apart();
    await store(publisher, records(topic, "1"));
    await reader.take(1);
    const client = await plain(server);
    const again = async () => {
      const before = reader.states.length;
      proxy.reset();
      await until(() => reader.states.length > before, "the link to be down");
    };
    await again();
    await client.call("DEL", `${topic}:count`);
    await listening.driver.connect(soon());
    expect(reader.losses.map(({ missing }) => missing)).toEqual([undefined]);
    await store(publisher, records(topic, "2"));
    expect(ids(await reader.take(1))).toEqual(["2"]);
    await client.call("PUBLISH", topic, "foreign");
    await reader.take(1);
    await again();
    await listening.driver.connect(soon());
    expect(reader.losses.map(({ missing }) => missing).slice(1)).toEqual([undefined]);
  });

  test("as unknown by a plain subscriber, which needs no right to any key", async () => {
    const client = await plain(server);
    const topic = fresh();
    await client.call("ACL", "SETUSER", "ear", "on", ">ear", "resetkeys", "resetchannels", `&${topic}`, "+@all");
    const proxy = await proxied();
    const { driver } = await at(proxy, { plain: true, username: "ear", password: "ear" });
    const { take, losses, states } = await read(driver, topic, undefined);
    const publisher = (await at()).driver;
    await store(publisher, records(topic, "1"));
    expect(ids(await take(1))).toEqual(["1"]);
    proxy.reset();
    await until(() => states.includes("down"), "the link to be down");
    await store(publisher, records(topic, "lost"));
    await driver.connect(soon());
    await store(publisher, records(topic, "2"));
    expect(ids(await take(1))).toEqual(["2"]);
    expect(losses.map(({ missing }) => missing)).toEqual([undefined]);
  });

  test("when a slow subscriber's buffer is full: the oldest go, and memory stays", async () => {
    const { driver } = await at(server, { bufferBytes: 1_048_576 });
    const topic = fresh();
    const { subscription, losses } = await read(driver, topic, undefined);
    const publisher = (await at()).driver;
    for (let n = 0; n < 100; n++)
      await store(
        publisher,
        Array.from({ length: 50 }, (_, m) => record(topic, `${n * 50 + m}`, { body: Buffer.alloc(1_000) })),
      );
    const got: WireDelivery[] = [];
    await until(async () => {
      got.push(...(await subscription.receive(1_000, 10, soon())));
      return got.at(-1)?.id === "4999";
    }, "the newest");
    expect(got.length).toBeLessThan(1_100);
    expect(got.length + losses.reduce((sum, { missing }) => sum + (missing ?? Number.NaN), 0)).toBe(5_000);
    expect(ids(got)).toEqual(Array.from({ length: got.length }, (_, n) => `${5_000 - got.length + n}`));
  });

  test("when the server cuts a subscriber off whose process stands still", async () => {
    const proxy = await proxied();
    const small = await at(proxy);
    const topic = fresh();
    const reader = await read(small.driver, topic, undefined);
    const client = await plain(server);
    await client.call("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1");
    defer(() => client.call("CONFIG", "SET", "client-output-buffer-limit", "pubsub 32mb 8mb 60"));
    const publisher = (await at()).driver;
    proxy.pause("down");
    for (let n = 0; n < 60; n++) await store(publisher, [record(topic, `${n}`, { body: Buffer.alloc(500_000) })]);
    proxy.resume();
    await until(() => reader.states.includes("down"), "the cut to be noticed");
    await small.driver.connect(soon());
    await store(publisher, records(topic, "last"));
    const got: WireDelivery[] = [];
    while (got.at(-1)?.id !== "last") got.push(...(await reader.subscription.receive(1_000, 1_000, soon())));
    expect(got.length + reader.losses.reduce((sum, { missing }) => sum + (missing ?? Number.NaN), 0)).toBe(61);
    expect(reader.losses.length).toBeGreaterThan(0);
  });
});

describe("links and limits", () => {
  test("while the server is away publishing fails at once, and subscriptions go on when it is back", async () => {
    const mortal = await startServer();
    const { driver, downs } = await at(mortal);
    const topic = fresh();
    const reader = await read(driver, topic, undefined);
    await store(driver, records(topic, "1"));
    await reader.take(1);
    await mortal.kill();
    await until(() => reader.states.includes("down") && downs.length > 1, "both links to be down");
    expect(codes(driver, await driver.publish(records(topic, "no"), soon()))).toEqual(["UNAVAILABLE no"]);
    expect(await driver.connect(soon()).catch((error: unknown) => driver.classify(error))).toEqual({
      code: "UNAVAILABLE",
      retryable: true,
    });
    await mortal.restart();
    await driver.connect(soon());
    await store(driver, records(topic, "2"));
    expect(ids(await reader.take(1))).toEqual(["2"]);
    expect(reader.states).toEqual(["down", "up"]);
    expect(reader.losses).toEqual([]);
  });

  test("subscriptions end with the reason when the server lets nobody in any more", async () => {
    const own = await startServer();
    const { driver } = await at(own);
    const { subscription, states } = await read(driver, fresh(), undefined);
    const receiving = subscription.receive(1, 20_000, soon()).catch((error: unknown) => driver.classify(error).code);
    const client = await plain(own);
    await client.call("CONFIG", "SET", "requirepass", "changed");
    await client.call("CLIENT", "KILL", "TYPE", "pubsub").catch(() => {});
    await until(() => states.includes("down"), "the link to be down");
    expect(await driver.connect(soon()).catch((error: unknown) => driver.classify(error).code)).toBe("UNAUTHENTICATED");
    expect(await receiving).toBe("UNAUTHENTICATED");
  });

  test("an aborted publish is in doubt, answers at once, and its connection is not used again", async () => {
    const frozen = await startServer();
    const { driver, downs } = await at(frozen);
    const topic = fresh();
    await store(driver, records(topic, "1"));
    await frozen.stop();
    const began = performance.now();
    expect(codes(driver, await driver.publish(records(topic, "2"), soon(50)))).toEqual(["UNAVAILABLE maybe"]);
    expect(ranFor(began)).toBeLessThan(1_000);
    expect(downs).toHaveLength(1);
    await frozen.cont();
    await driver.connect(soon());
    await store(driver, records(topic, "3"));
  });

  test("an account without the right to the channel or its counter is told FORBIDDEN", async () => {
    await (await plain(server)).call(
      "ACL",
      "SETUSER",
      "chan",
      "on",
      ">chan",
      "resetkeys",
      "resetchannels",
      "&allowed",
      "~allowed:count",
      "+@all",
    );
    const { driver } = await at(server, { username: "chan", password: "chan" });
    const { take } = await read(driver, "allowed", undefined);
    await store(driver, records("allowed", "1"));
    expect(ids(await take(1))).toEqual(["1"]);
    expect(codes(driver, await driver.publish(records(fresh(), "1"), soon()))).toEqual(["FORBIDDEN no"]);
    expect(await read(driver, fresh(), undefined).catch((error: unknown) => driver.classify(error).code)).toBe("FORBIDDEN");
  });

  test("one connection listens for all subscriptions; the last to leave a channel ends it", async () => {
    const { driver } = await at();
    const topic = fresh();
    const readers = [];
    for (let n = 0; n < 50; n++) readers.push(await read(driver, n % 2 ? topic : fresh(), undefined));
    const client = await plain(server);
    const subscribers = async () => ((await client.call("PUBSUB", "NUMSUB", topic)) as [string, number])[1];
    expect(await subscribers()).toBe(1);
    await store(driver, records(topic, "1"));
    for (const [n, { take }] of readers.entries()) if (n % 2) expect(ids(await take(1))).toEqual(["1"]);
    for (const { subscription } of readers) await subscription.close();
    await until(async () => (await subscribers()) === 0, "nobody to listen");
    const again = await read(driver, topic, undefined);
    await store(driver, records(topic, "2"));
    expect(ids(await again.take(1))).toEqual(["2"]);
    expect(again.losses).toEqual([]);
  });

  test("leaving a channel and listening to it again at once misses nothing", async () => {
    const { driver } = await at();
    const topic = fresh();
    for (let n = 0; n < 10; n++) {
      const { subscription, take, losses } = await read(driver, topic, undefined);
      await store(driver, records(topic, `m-${n}`));
      expect(ids(await take(1))).toEqual([`m-${n}`]);
      expect(losses).toEqual([]);
      await subscription.close();
    }
  });

  test("groups, replay and administration are UNSUPPORTED; closing ends what waits", async () => {
    const { driver } = await at();
    const refused = [
      read(driver, "t", "g"),
      driver.replay({ topic: "t", from: { kind: "earliest" }, follow: false, events: { dataLoss: () => {} } }, soon()),
      driver.admin.lag("t", "g", soon()),
      driver.admin.seek("t", "g", { kind: "latest" }, soon()),
      driver.admin.createGroup("t", "g", { kind: "latest" }, soon()),
    ];
    for (const one of await Promise.allSettled(refused))
      expect(one.status === "rejected" && driver.classify(one.reason).code).toBe("UNSUPPORTED");
    const { subscription } = await read(driver, fresh(), undefined);
    const receiving = subscription.receive(1, 20_000, soon()).catch((error: unknown) => driver.classify(error).code);
    await Promise.all([driver.close(), driver.close()]);
    expect(await receiving).toBe("CLOSED");
  });

  test("nothing listening is UNAVAILABLE in time", async () => {
    const proxy = await proxied();
    proxy.refuse();
    const driver = redisPubSub({ host: proxy.host, port: proxy.port }).open({ clock, down: () => {} });
    expect(await driver.connect(soon()).catch((error: unknown) => driver.classify(error))).toEqual({
      code: "UNAVAILABLE",
      retryable: true,
    });
    await driver.close();
  });
});
