import { ranFor } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import type { PublishResult, WireRecord } from "brokerkit/driver";
import { beforeAll, describe, expect, test } from "vitest";
import { redis } from "../../src/index.ts";
import { fresh, ids, open, plain, read, record, records, soon, startServer, store, until } from "../stage.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await startServer();
});

const adapter = (options = {}) => redis({ host: server.host, port: server.port, leaseMs: 1_000, ...options });

async function topicOn(options = {}, spec = {}) {
  const opened = await open(adapter(options));
  const topic = fresh();
  await opened.driver.admin.createTopic({ name: topic, ...spec }, soon());
  return { ...opened, topic };
}

const codes = (driver: { classify(error: unknown): { code: string } }, results: readonly PublishResult[]): string[] =>
  results.map((result) => (result.ok ? "ok" : `${driver.classify(result.error).code} ${result.sent}`));

describe("what is stored comes back", () => {
  test("id, key, time, binary and repeated headers, and the body survive as they are", async () => {
    const { driver, topic } = await topicOn();
    const reader = await read(driver, topic, "g");
    const headers: WireRecord["headers"] = [
      ["key", Buffer.from("no key")],
      ["body", Buffer.from([0, 255, 10, 13])],
      ["twice", Buffer.from("1")],
      ["twice", Buffer.from("2")],
      ["ünïcode", Buffer.alloc(0)],
    ];
    const full = record(topic, "a b c", {
      key: Buffer.from([0, 1, 254]),
      headers,
      body: Buffer.from([0, 1, 2, 255]),
      publishedAt: 1_700_000_000_123,
    });
    const bare = record(topic, "bare", { body: Buffer.alloc(0), key: Buffer.alloc(0) });
    const tombstone = record(topic, "tombstone", { body: null, headers: [["h", Buffer.from("x")]] });
    const results = await store(driver, [full, bare, tombstone]);
    const got = await reader.take(3);
    expect(got.map(({ id, key, headers, body, publishedAt, place }) => ({ id, key, headers, body, publishedAt, place }))).toEqual(
      [full, bare, tombstone].map(({ id, key, headers, body, publishedAt }, n) => {
        const result = results[n];
        return { id, key, headers, body, publishedAt, place: result?.ok ? result.place : "none" };
      }),
    );
  });

  test("the largest number of headers survives, in a batch of such records too", async () => {
    const { driver, topic, capabilities } = await topicOn();
    const reader = await read(driver, topic, "g");
    const headers: WireRecord["headers"] = Array.from({ length: capabilities.message.maxHeaders }, (_, n) => [
      `h${n}`,
      Buffer.from(`${n}`),
    ]);
    await store(
      driver,
      ["1", "2", "3"].map((id) => record(topic, id, { headers, delayMs: id === "3" ? 10 : undefined })),
    );
    for (const delivery of await reader.take(3)) expect(delivery.headers).toEqual(headers);
  });

  test("bodies of many sizes and of the largest size survive", async () => {
    const { driver, topic, capabilities } = await topicOn();
    const reader = await read(driver, topic, "g");
    for (const size of [1, 65_535, 65_536, 1_000_003, capabilities.message.maxBytes - 10]) {
      await store(driver, [record(topic, `size-${size}`, { body: Buffer.alloc(size, size % 251) })]);
      const got = await reader.take(1);
      expect(got.map(({ body }) => [body?.length, body?.every((byte) => byte === size % 251)])).toEqual([[size, true]]);
      await reader.subscription.ack(got);
    }
  });

  test("a batch of the largest number of records is stored in order, each with its own place", async () => {
    const { driver, topic, capabilities } = await topicOn();
    const reader = await read(driver, topic, "g");
    const batch = Array.from({ length: capabilities.publish.maxRecords }, (_, n) =>
      record(topic, `m-${n}`, {
        key: n % 2 ? Buffer.from("k") : undefined,
        headers: n % 3 ? [["n", Buffer.from(String(n))]] : [],
        body: n % 5 ? Buffer.from(`b${n}`) : null,
      }),
    );
    const results = await store(driver, batch);
    const got = await reader.take(batch.length);
    expect(got.map(({ id, body, headers }) => [id, body?.toString(), headers.length])).toEqual(
      batch.map(({ id, body, headers }) => [id, body === null ? undefined : String(body), headers.length]),
    );
    expect(got.map(({ place }) => place)).toEqual(results.map((result) => result.ok && result.place));
    expect(new Set(got.map(({ place }) => place)).size).toBe(batch.length);
  });

  test("calls that are under way together are stored one after the other, in the order of the calls", async () => {
    const { driver, topic } = await topicOn();
    const reader = await read(driver, topic, "g");
    const calls = Array.from({ length: 40 }, (_, n) =>
      store(driver, records(topic, ...Array.from({ length: 50 }, (__, m) => `${n}-${m}`))),
    );
    await Promise.all(calls);
    const expected = Array.from({ length: 2_000 }, (_, n) => `${Math.floor(n / 50)}-${n % 50}`);
    expect(ids(await reader.take(2_000))).toEqual(expected);
  });
});

describe("results", () => {
  test("one call to several topics answers each record at its index, a missing topic with NOT_FOUND", async () => {
    const { driver, topic } = await topicOn();
    const missing = fresh();
    const batch = [
      record(topic, "1"),
      record(missing, "2"),
      record(topic, "3"),
      record(topic, "4", { target: { topic, group: "nobody" } }),
    ];
    const results = await driver.publish(batch, soon());
    expect(codes(driver, results)).toEqual(["ok", "NOT_FOUND no", "ok", "NOT_FOUND no"]);
    expect(await (await plain(server)).call("EXISTS", missing)).toBe(0);
  });

  test("a key that is no stream is refused, and stays what it is", async () => {
    const { driver } = await topicOn();
    const name = fresh();
    const client = await plain(server);
    await client.call("SET", name, "mine");
    expect(codes(driver, await driver.publish([record(name, "1")], soon()))).toEqual(["INVALID_ARGUMENT no"]);
    expect(await client.call("GET", name)).toBe("mine");
  });

  test("an aborted signal sends nothing", async () => {
    const { driver, topic } = await topicOn();
    expect(codes(driver, await driver.publish([record(topic, "1")], AbortSignal.abort()))).toEqual(["UNAVAILABLE no"]);
    expect(await (await plain(server)).call("XLEN", topic)).toBe(0);
  });

  test("within the dedupe window an id is stored once and answered with the place it has", async () => {
    const { driver, topic, capabilities } = await topicOn({ dedupeMs: 60_000 });
    expect(capabilities.dedupe.windowMs).toBe(60_000);
    const [first] = await store(driver, [record(topic, "1")]);
    const again = await store(driver, [record(topic, "1"), record(topic, "2"), record(topic, "2")]);
    expect(again[0]).toEqual({ ...first, duplicate: true });
    expect(again.map((result) => result.ok && result.duplicate)).toEqual([true, undefined, true]);
    expect(await (await plain(server)).call("XLEN", topic)).toBe(2);
    expect(await (await plain(server)).call("TTL", `${topic}:dedupe:1`)).toBeGreaterThan(50);
  });

  test("without a window the same id is stored as often as it is published", async () => {
    const { driver, topic } = await topicOn();
    await store(driver, [record(topic, "1"), record(topic, "1")]);
    expect(await (await plain(server)).call("XLEN", topic)).toBe(2);
  });
});

describe("delay", () => {
  test("a delayed record comes not before its time, also to a member that waits already", async () => {
    const { driver, topic } = await topicOn();
    const group = await read(driver, topic, "g");
    const everybody = await read(driver, topic, undefined);
    const waiting = [group.take(1), everybody.take(1)];
    const began = performance.now();
    const [result] = await store(driver, [record(topic, "late", { delayMs: 300 })]);
    expect(result).toEqual({ ok: true, place: undefined });
    for (const got of await Promise.all(waiting)) expect(ids(got)).toEqual(["late"]);
    expect(performance.now() - began).toBeGreaterThanOrEqual(299);
    expect(ranFor(began)).toBeLessThan(3_000);
  });

  test("what falls due at one time keeps the order in which it was published", async () => {
    const { driver, topic } = await topicOn();
    const reader = await read(driver, topic, "g");
    const names = Array.from({ length: 30 }, (_, n) => `d-${n}`);
    await store(
      driver,
      names.map((id) => record(topic, id, { delayMs: 50, headers: [["h", Buffer.from(id)]] })),
    );
    const got = await reader.take(30);
    expect(ids(got)).toEqual(names);
    expect(got.map(({ headers }) => headers)).toEqual(names.map((id) => [["h", Buffer.from(id)]]));
  });

  test("without any reader it enters the stream when somebody publishes or reads again", async () => {
    const { driver, topic } = await topicOn();
    await store(driver, [record(topic, "late", { delayMs: 20 })]);
    const client = await plain(server);
    await until(
      async () =>
        Number(await client.call("ZRANGE", `${topic}:delayed`, "0", "0", "WITHSCORES").then((found) => (found as string[])[1])) <
        Date.now(),
      "the delay to pass",
    );
    expect(await client.call("XLEN", topic)).toBe(0);
    await store(driver, [record(topic, "now")]);
    const cursor = await driver.replay({ topic, from: { kind: "earliest" }, follow: false, events: { dataLoss: () => {} } }, soon());
    expect(ids((await cursor.receive(10, 0, soon())).deliveries)).toEqual(["late", "now"]);
    await cursor.close();
  });
});

describe("retention", () => {
  test("maxLength bounds the stream at the next publish, exactly", async () => {
    const { driver, topic } = await topicOn({}, { native: { redis: { maxLength: 10 }, another: {} } });
    await store(driver, records(topic, ...Array.from({ length: 25 }, (_, n) => `${n}`)));
    await store(driver, records(topic, "last"));
    expect(await (await plain(server)).call("XLEN", topic)).toBe(11);
  });

  test("retention ms removes what is older", async () => {
    const { driver, topic } = await topicOn({}, { retention: { ms: 100 } });
    await store(driver, records(topic, "1", "2"));
    const client = await plain(server);
    await until(async () => {
      await store(driver, records(topic, "x"));
      const [[, fields]] = (await client.call("XRANGE", topic, "-", "+", "COUNT", "1")) as [[string, string[]]];
      return fields[1]?.endsWith(" x") === true;
    }, "the first two to be gone");
  });

  test.each([
    [{ maxLength: 0 }, "maxLength"],
    [{ maxLength: "5" }, "maxLength"],
    [{ maxlength: 5 }, "maxlength"],
    ["often", "object"],
  ])("native options %j are refused", async (own, word) => {
    const { driver } = await topicOn();
    await expect(driver.admin.createTopic({ name: fresh(), native: { redis: own } }, soon())).rejects.toThrow(word);
  });
});
