import type { RunningBroker } from "@brokerkit/conformance/brokers";
import type { WireDelivery, WireRecord } from "brokerkit/driver";
import { beforeAll, describe, expect, test } from "vitest";
import { type NatsCoreOptions, natsCore } from "../../src/index.ts";
import { at, fresh, ids, open, outcomes, plain, proxied, read, record, records, soon, startServer, store, until } from "../stage.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await startServer();
});

const opened = (where: Pick<RunningBroker, "host" | "port"> = server, options: NatsCoreOptions = {}) =>
  open(natsCore({ ...at(where), ...options }));

describe("messages", () => {
  test("come to every subscriber whole and in order", async () => {
    const { driver } = await opened();
    const topic = fresh();
    const readers = [await read(driver, topic, undefined), await read((await opened()).driver, topic, undefined)];
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
    const facts = (all: readonly Pick<WireRecord, "id" | "key" | "headers" | "body" | "publishedAt">[]) =>
      all.map(({ id, key, headers: own, body, publishedAt }) => ({ id, key, headers: own, body, publishedAt }));
    for (const { take, losses } of readers) {
      expect(facts((await take(3)) as never)).toEqual(facts(sent));
      expect(losses).toEqual([]);
    }
  });

  test("of a plain publisher are read with ids of their connection, and ours by a plain subscriber", async () => {
    const { driver } = await opened();
    const topic = fresh();
    const { take, subscription, losses } = await read(driver, topic, undefined);
    const client = await plain(server);
    const heard: string[] = [];
    client.subscribe(topic, { callback: (_, message) => void heard.push(message.string()) });
    for (const body of ["hello", ""]) client.publish(topic, body);
    await client.flush();
    const got = await take(2);
    expect(got.map(({ body, key, headers }) => [body?.toString(), key, headers])).toEqual(
      ["hello", ""].map((body) => [body, undefined, []]),
    );
    const [first] = ids(got) as [string];
    expect(ids(got)).toEqual([1, 2].map((n) => first.replace(/1$/, String(n))));
    expect(Math.abs(Date.now() - (got[0] as WireDelivery).publishedAt)).toBeLessThan(10_000);
    expect(await subscription.ack(got)).toEqual(["recorded", "recorded"]);
    await store(driver, records(topic, "ours"));
    await until(() => heard.length === 3, "the plain subscriber");
    expect(heard).toEqual(["hello", "", "ours"]);
    expect(losses).toEqual([]);
  });

  test("to nobody are published all the same; too large ones are refused one by one", async () => {
    const { driver, capabilities } = await opened();
    const topic = fresh();
    const { take, losses } = await read(driver, topic, undefined);
    const huge = record(topic, "2", { body: Buffer.alloc(capabilities.message.maxBytes + 10_000) });
    const results = await driver.publish([record(topic, "1"), huge, record(topic, "3"), record(fresh(), "4")], soon());
    expect(outcomes(driver, results)).toEqual(["ok", "TOO_LARGE no", "ok", "ok"]);
    expect(ids(await take(2))).toEqual(["1", "3"]);
    expect(losses).toEqual([]);
  });
});

describe("groups", () => {
  const names = Array.from({ length: 300 }, (_, n) => `m-${n}`);

  test("are queue groups of the server: members share, each group gets all, and a plain queue subscriber is a member too", async () => {
    const { driver } = await opened();
    const topic = fresh();
    const members = [await read(driver, topic, "g"), await read((await opened()).driver, topic, "g")];
    const other = await read(driver, topic, "h");
    const theirs: string[] = [];
    const client = await plain(server);
    client.subscribe(topic, { queue: "g", callback: (_, message) => void theirs.push(message.string()) });
    await client.flush();
    await store(driver, records(topic, ...names));
    expect(ids(await other.take(300))).toEqual(names);
    await until(() => theirs.length > 0, "the plain member to get some");
    const ours: (string | undefined)[] = [];
    await until(async () => {
      for (const { subscription } of members) ours.push(...ids(await subscription.receive(300, 10, soon())));
      return ours.length + theirs.length >= 300;
    }, "all to be shared out");
    expect([...ours, ...theirs].sort()).toEqual([...names].sort());
    for (const { losses } of [...members, other]) expect(losses).toEqual([]);
  });

  test("lose nothing that a member which leaves had taken: it stops listening, and hands out the rest", async () => {
    const { driver } = await opened();
    const topic = fresh();
    const leaving = await read(driver, topic, "g");
    const staying = await read((await opened()).driver, topic, "g");
    await store(driver, records(topic, ...names.slice(0, 200)));
    const [stored] = await Promise.all([store(driver, records(topic, ...names.slice(200))), leaving.subscription.pause?.()]);
    expect(stored).toHaveLength(100);
    const got: (string | undefined)[] = [];
    for (let some: readonly WireDelivery[] = []; ; got.push(...ids(some))) {
      some = await leaving.subscription.receive(50, 0, soon());
      if (some.length === 0) break;
    }
    await leaving.subscription.close();
    await until(async () => {
      got.push(...ids(await staying.subscription.receive(300, 10, soon())));
      return got.length >= 300;
    }, "all to be there");
    expect([...got].sort()).toEqual([...names].sort());
  });

  test("keep nothing while none of their members is there", async () => {
    const { driver } = await opened();
    const topic = fresh();
    const first = await read(driver, topic, "g");
    await first.subscription.close();
    await store(driver, records(topic, "nobody"));
    const second = await read(driver, topic, "g", { from: { kind: "latest" } });
    // Somebody elsewhere may have been there all the time, so this is no loss.
    expect(second.subscription.created).toBe(false);
    await store(driver, records(topic, "somebody"));
    expect(ids(await second.take(1))).toEqual(["somebody"]);
    expect(await second.subscription.ack(await second.take(0))).toEqual([]);
  });

  test("that lost their link say that something may be missing, and nobody knows how much", async () => {
    const proxy = await proxied(server);
    const { driver, downs } = await opened(proxy);
    const topic = fresh();
    const { states, losses, take } = await read(driver, topic, "g");
    proxy.reset();
    await until(() => downs.length > 0 && states.includes("down"), "the link to be down");
    await driver.connect(soon());
    await until(() => states.includes("up"), "the link to be up");
    expect(losses).toEqual([{ shard: "0", from: undefined, to: undefined, missing: undefined }]);
    await store(driver, records(topic, "1"));
    expect(ids(await take(1))).toEqual(["1"]);
  });
});

describe("what is lost", () => {
  /** A subscriber behind a proxy, and a publisher beside it. */
  async function apart() {
    const proxy = await proxied(server);
    const listening = await opened(proxy);
    const { driver: publisher } = await opened();
    const topic = fresh();
    const reader = await read(listening.driver, topic, undefined);
    return { proxy, listening, publisher, topic, reader };
  }

  async function missed({ proxy, listening, publisher, topic, reader }: Awaited<ReturnType<typeof apart>>, ...names: string[]) {
    proxy.refuse();
    proxy.reset();
    await until(() => reader.states.includes("down"), "the link to be down");
    if (names.length > 0) await store(publisher, records(topic, ...names));
    await proxy.accept();
    await listening.driver.connect(soon());
    await until(() => reader.states.includes("up"), "the link to be up");
  }

  test("while the link was down is counted by the next message of the same publisher", async () => {
    const scene = await apart();
    await store(scene.publisher, records(scene.topic, "1", "2"));
    expect(ids(await scene.reader.take(2))).toEqual(["1", "2"]);
    await missed(scene, "a", "b", "c");
    await store(scene.publisher, records(scene.topic, "3"));
    expect(ids(await scene.reader.take(1))).toEqual(["3"]);
    expect(scene.reader.losses).toEqual([{ shard: "0", from: undefined, to: undefined, missing: 3 }]);
    expect(scene.reader.states).toEqual(["down", "up"]);
  });

  test("is nothing where nothing was published meanwhile", async () => {
    const scene = await apart();
    await store(scene.publisher, records(scene.topic, "1"));
    await scene.reader.take(1);
    await missed(scene);
    await store(scene.publisher, records(scene.topic, "2"));
    await scene.reader.take(1);
    expect(scene.reader.losses).toEqual([]);
  });

  test("is unknown where publishers are silent, or another one speaks", async () => {
    const silent = await apart();
    await store(silent.publisher, records(silent.topic, "1"));
    await silent.reader.take(1);
    await missed(silent, "a");
    await until(() => silent.reader.losses.length > 0, "the loss to be told");
    const other = await apart();
    await store(other.publisher, records(other.topic, "1"));
    await other.reader.take(1);
    await missed(other, "a");
    await store((await opened()).driver, records(other.topic, "2"));
    await other.reader.take(1);
    for (const { reader } of [silent, other])
      expect(reader.losses).toEqual([{ shard: "0", from: undefined, to: undefined, missing: undefined }]);
  });

  test("when a slow subscriber's buffer is full is counted: the oldest go", async () => {
    const { driver } = await opened(server, { bufferBytes: 65_536 });
    const topic = fresh();
    const { subscription, losses } = await read(driver, topic, undefined);
    const names = Array.from({ length: 200 }, (_, n) => `m-${n}`);
    await store(
      (await opened()).driver,
      names.map((id) => record(topic, id, { body: Buffer.alloc(2_000) })),
    );
    // Another subscription of this driver is confirmed on the connection that listens, behind all of them.
    await read(driver, fresh(), undefined);
    const lost = losses.reduce((sum, { missing = 0 }) => sum + missing, 0);
    expect(lost).toBeGreaterThan(150);
    expect(ids(await subscription.receive(500, 100, soon()))).toEqual(names.slice(lost));
  });
});

describe("rights and errors", () => {
  test("what the server forbids is FORBIDDEN: publishing at once, other subjects go through, and listening", async () => {
    const own = await startServer({ user: "ann", password: "x", publish: '"open", "_INBOX.>"', subscribe: '"open", "_INBOX.>"' });
    const { driver } = await opened(own, { username: "ann", password: "x" });
    const { take, losses } = await read(driver, "open", undefined);
    const results = await driver.publish([record("open", "1"), record("closed", "2"), record("open", "3")], soon());
    expect(outcomes(driver, results)).toEqual(["ok", "FORBIDDEN no", "ok"]);
    expect(ids(await take(2))).toEqual(["1", "3"]);
    expect(losses).toEqual([]);
    const error = await read(driver, "closed", undefined).catch((raw: unknown) => raw);
    expect(driver.classify(error).code).toBe("FORBIDDEN");
  });

  test("while the server is away publishing fails at once, and subscriptions go on when it is back", async () => {
    const own = await startServer();
    const { driver, downs } = await opened(own);
    const topic = fresh();
    const { take, states } = await read(driver, topic, undefined);
    await own.kill();
    await until(() => downs.length === 2 && states.includes("down"), "both connections to be noticed");
    expect(outcomes(driver, await driver.publish(records(topic, "1"), soon()))).toEqual(["UNAVAILABLE no"]);
    await expect(driver.connect(soon())).rejects.toThrow();
    await own.restart();
    await driver.connect(soon());
    await store(driver, records(topic, "2"));
    expect(ids(await take(1))).toEqual(["2"]);
  });

  test("an aborted publish answers at once, in doubt, and its connection is not used again", async () => {
    const proxy = await proxied(server);
    const { driver } = await opened(proxy);
    const topic = fresh();
    proxy.drop("down");
    const controller = new AbortController();
    const pending = driver.publish(records(topic, "1"), controller.signal);
    await new Promise((resolve) => setImmediate(resolve));
    controller.abort();
    expect(outcomes(driver, await pending)).toEqual(["UNAVAILABLE maybe"]);
    await proxy.heal();
    await driver.connect(soon());
    await store(driver, records(topic, "2"));
  });

  test("replay and administration are UNSUPPORTED; closing ends what waits, twice", async () => {
    const { driver } = await opened();
    const topic = fresh();
    const request = { topic, from: { kind: "earliest" }, follow: false, events: { dataLoss: () => {} } } as const;
    for (const asked of [
      driver.replay(request, soon()),
      driver.admin.lag(topic, "g", soon()),
      driver.admin.position(topic, undefined, soon()),
      driver.admin.createGroup(topic, "g", { kind: "latest" }, soon()),
    ])
      expect(driver.classify(await asked.catch((raw: unknown) => raw)).code).toBe("UNSUPPORTED");
    const { subscription } = await read(driver, topic, undefined);
    const receiving = subscription.receive(1, 20_000, soon(25_000)).catch((error: unknown) => driver.classify(error).code);
    await Promise.all([driver.close(), driver.close()]);
    expect(await receiving).toBe("CLOSED");
  });
});

test("leaving a subject and listening to it again at once misses nothing", async () => {
  const { driver } = await opened();
  const topic = fresh();
  for (let n = 0; n < 20; n++) {
    const { subscription, take } = await read(driver, topic, undefined);
    await store(driver, records(topic, `${n}`));
    expect(ids(await take(1))).toEqual([`${n}`]);
    await subscription.close();
  }
});
