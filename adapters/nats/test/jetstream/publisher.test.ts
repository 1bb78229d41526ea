import { ranFor, systemClock } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import type { WireRecord } from "brokerkit/driver";
import { beforeAll, describe, expect, test } from "vitest";
import { type NatsOptions, nats } from "../../src/index.ts";
import { api, at, fresh, ids, open, outcomes, plain, proxied, read, record, records, soon, startServer, store, until } from "../stage.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await startServer();
});

async function topicOn(options: NatsOptions = {}, where: Pick<RunningBroker, "host" | "port"> = server, native?: object) {
  const opened = await open(nats({ ...at(where), ...options }));
  const topic = fresh();
  await opened.driver.admin.createTopic({ name: topic, native }, soon());
  return { ...opened, topic };
}

describe("records", () => {
  test("come back whole, in order, with places that follow each other", async () => {
    const { driver, topic } = await topicOn();
    const { take } = await read(driver, topic, "g");
    const headers: WireRecord["headers"] = [
      ["a", Buffer.from([0, 255])],
      ["a", Buffer.from("again")],
      ["ü", Buffer.alloc(0)],
    ];
    const sent = [
      record(topic, "ïd 1", { key: Buffer.from([0, 1]), headers, body: Buffer.from([0, 159]), publishedAt: 1_700_000_000_001 }),
      record(topic, "2", { body: null }),
      record(topic, "3", { body: Buffer.alloc(0), key: Buffer.alloc(0), dedupeId: "another" }),
    ];
    expect(await store(driver, sent)).toEqual([1, 2, 3].map((n) => ({ ok: true, place: `0:${n}` })));
    const got = await take(3);
    const facts = (all: readonly Pick<WireRecord, "id" | "key" | "headers" | "body" | "publishedAt">[]) =>
      all.map(({ id, key, headers: own, body, publishedAt }) => ({ id, key, headers: own, body, publishedAt }));
    expect(facts(got as never)).toEqual(facts(sent));
    expect(got.map(({ place, deliveries, inbox }) => [place, deliveries, inbox])).toEqual([1, 2, 3].map((n) => [`0:${n}`, 1, false]));
  });

  test("of the largest call are all stored, each answered at its index", async () => {
    const { driver, topic, capabilities } = await topicOn();
    const names = Array.from({ length: capabilities.publish.maxRecords }, (_, n) => `m-${n}`);
    const calls = await Promise.all(["a", "b", "c", "d"].map((call) => store(driver, records(topic, ...names.map((name) => call + name)))));
    const places = calls.flat().map((result) => (result.ok ? result.place : ""));
    expect(new Set(places).size).toBe(4 * names.length);
    const manager = await (await plain(server)).jetstreamManager();
    expect((await manager.streams.info(topic)).state.messages).toBe(4 * names.length);
    const message = await manager.streams.getMessage(topic, { seq: Number(String(places[1_500]).slice(2)) });
    expect(message.string()).toBe("bm-500");
  });

  test("too large with their headers are refused one by one, before the wire", async () => {
    const { driver, topic, capabilities } = await topicOn();
    const huge = Buffer.alloc(capabilities.message.maxBytes);
    const many = Array.from({ length: 500 }, (_, n) => [`header-${n}`, Buffer.alloc(20, 255)] as const);
    const results = await driver.publish(
      [record(topic, "1"), record(topic, "2", { body: huge, headers: many }), record(topic, "3")],
      soon(),
    );
    expect(outcomes(driver, results)).toEqual(["ok", "TOO_LARGE no", "ok"]);
    expect(outcomes(driver, await driver.publish([record(topic, "4", { body: huge })], soon()))).toEqual(["ok"]);
  });

  test("of one dedupe id are stored once within the window, and as often as they come without one", async () => {
    const { driver, topic } = await topicOn();
    await store(driver, records(topic, "1"));
    expect(await store(driver, [record(topic, "other", { dedupeId: "1" })])).toEqual([{ ok: true, place: "0:1", duplicate: true }]);
    const without = await topicOn({ dedupeMs: 0 });
    expect(without.capabilities.dedupe.windowMs).toBe(0);
    for (const place of ["0:1", "0:2"]) expect(await store(without.driver, records(without.topic, "1"))).toEqual([{ ok: true, place }]);
  });

  test("of several topics in one call are answered one by one, and a missing topic is NOT_FOUND", async () => {
    const { driver, topic } = await topicOn();
    const missing = fresh();
    const results = await driver.publish([record(topic, "1"), record(missing, "2"), record(topic, "3")], soon());
    expect(outcomes(driver, results)).toEqual(["ok", "NOT_FOUND no", "ok"]);
    const inbox = await driver.publish([record(topic, "4", { target: { topic, group: "nobody" } })], soon());
    expect(outcomes(driver, inbox)).toEqual(["NOT_FOUND no"]);
  });

  test("whose subject another stream keeps are stored there, and the answer says so", async () => {
    const { driver } = await topicOn();
    const topic = fresh();
    await (await (await plain(server)).jetstreamManager()).streams.add({ name: `theirs-${topic}`, subjects: [`${topic}.>`] });
    const results = await driver.publish([record(`${topic}.a`, "1")], soon());
    expect(outcomes(driver, results)).toEqual(["NOT_FOUND maybe"]);
    expect(String(results[0]?.ok === false && results[0].error)).toContain(`theirs-${topic}`);
  });
});

describe("refusals", () => {
  test("a full stream refuses with QUOTA_EXCEEDED and takes again when there is room", async () => {
    const { driver, topic } = await topicOn({}, server, { nats: { maxMessages: 2, discard: "new" } });
    const results = await driver.publish(records(topic, "1", "2", "3"), soon());
    expect(outcomes(driver, results)).toEqual(["ok", "ok", "QUOTA_EXCEEDED no"]);
    await api(await plain(server), `STREAM.PURGE.${topic}`);
    await store(driver, records(topic, "3"));
  });

  test("a subject that the user may not publish to is FORBIDDEN at once, others go through", async () => {
    const own = await startServer({ user: "ann", password: "x", publish: '"$JS.>", "_INBOX.>", "open.>"' });
    const { driver } = await open(nats({ ...at(own), username: "ann", password: "x" }));
    for (const name of ["open.a", "closed"]) await driver.admin.createTopic({ name }, soon());
    const began = performance.now();
    const results = await driver.publish([record("open.a", "1"), record("closed", "2"), record("open.a", "3")], soon());
    expect(outcomes(driver, results)).toEqual(["ok", "FORBIDDEN no", "ok"]);
    expect(ranFor(began)).toBeLessThan(2_000);
  });

  test("without the right to listen for replies nothing connects, and the reason is said", async () => {
    const own = await startServer({ user: "ann", password: "x", subscribe: '"_INBOX_ann.>"' });
    const adapter = (inboxPrefix: string) => nats({ ...at(own), username: "ann", password: "x", inboxPrefix });
    const driver = adapter("_INBOX").open({ clock: systemClock, down: () => {} });
    const error = await driver.connect(soon()).catch((raw: unknown) => raw);
    expect([driver.classify(error).code, String(error)]).toEqual(["FORBIDDEN", expect.stringContaining("_INBOX.")]);
    await driver.close();
    const { driver: allowed } = await open(adapter("_INBOX_ann"));
    await allowed.admin.createTopic({ name: "a" }, soon());
    await store(allowed, records("a", "1"));
  });
});

describe("a broken link", () => {
  test("after the write is in doubt; while it is down everything fails at once as not sent; then it goes on", async () => {
    const proxy = await proxied(server);
    const { driver, topic, downs } = await topicOn({}, proxy);
    await store(driver, records(topic, "1"));
    proxy.drop("down");
    const lost = driver.publish(records(topic, "2"), soon());
    const manager = await (await plain(server)).jetstreamManager();
    await until(async () => (await manager.streams.info(topic)).state.messages === 2, "the write to arrive");
    proxy.refuse();
    proxy.reset();
    expect(outcomes(driver, await lost)).toEqual(["UNAVAILABLE maybe"]);
    await until(() => downs.length > 0, "the driver to notice");
    expect(outcomes(driver, await driver.publish(records(topic, "3"), soon()))).toEqual(["UNAVAILABLE no"]);
    await proxy.accept();
    await proxy.heal();
    await driver.connect(soon());
    expect(await store(driver, records(topic, "2", "3"))).toEqual([
      { ok: true, place: "0:2", duplicate: true },
      { ok: true, place: "0:3" },
    ]);
  });

  test("an abort settles within a second, in doubt; what is published next comes behind it or instead of it", async () => {
    const proxy = await proxied(server);
    const { driver, topic } = await topicOn({}, proxy);
    proxy.pause("up");
    const controller = new AbortController();
    const pending = driver.publish(records(topic, "late-1", "late-2"), controller.signal);
    await new Promise((resolve) => setImmediate(resolve));
    const began = performance.now();
    controller.abort();
    expect(outcomes(driver, await pending)).toEqual(["UNAVAILABLE maybe", "UNAVAILABLE maybe"]);
    expect(ranFor(began)).toBeLessThan(1_000);
    proxy.resume();
    await driver.connect(soon());
    await store(driver, records(topic, "next"));
    const { take } = await read(driver, topic, "g", { from: { kind: "earliest" } });
    const count = (await driver.admin.position(topic, undefined, soon())).get("0");
    const got = ids(await take(Number(count?.slice(2))));
    expect(got.at(-1)).toBe("next");
  });

  test("an aborted signal sends nothing", async () => {
    const { driver, topic } = await topicOn();
    expect(outcomes(driver, await driver.publish(records(topic, "1"), AbortSignal.abort()))).toEqual(["UNAVAILABLE no"]);
    expect((await driver.admin.position(topic, undefined, soon())).size).toBe(0);
  });
});
