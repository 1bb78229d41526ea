import { ranFor } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { beforeAll, describe, expect, test } from "vitest";
import type { PulsarError } from "../../src/protocol/index.ts";
import { LANES } from "../../src/protocol/index.ts";
import {
  admin,
  client,
  consume,
  eventually,
  fresh,
  message,
  messages,
  partitioned,
  produce,
  proxied,
  soon,
  startServer,
  texts,
} from "./stage.ts";

let broker: RunningBroker;
beforeAll(async () => {
  broker = await startServer();
});

describe("a producer", () => {
  test("keeps the order of every key, over many entries, calls and partitions", async () => {
    const transport = client(broker);
    const topic = await partitioned(broker, 3);
    const { store } = await produce(transport, topic);
    const calls = Array.from({ length: 20 }, (_, call) => messages(200, 17, `${call}-`));
    await Promise.all(calls.map(store));
    const { take } = await consume(transport, topic, { credit: 10_000 });
    const seen = new Map<string, string[]>();
    for (const { key, payload } of await take(4_000)) {
      const name = String(key);
      seen.set(name, [...(seen.get(name) ?? []), String(payload)]);
    }
    for (let key = 0; key < 17; key++) {
      const sent = calls.flatMap((call) => call.filter((one) => String(one.key) === `k${key}`).map(({ payload }) => String(payload)));
      expect(seen.get(`k${key}`)).toEqual(sent);
    }
  });

  test("puts messages of many keys into few entries, and tells each its place", async () => {
    const { store } = await produce(client(broker), fresh());
    const results = await store(messages(5_000, 1_000));
    const places = results.map((result) => (result.ok ? `${result.id.entry}:${result.id.batchIndex}` : "none"));
    expect(new Set(places).size).toBe(5_000);
    expect(new Set(results.map((result) => (result.ok ? result.id.entry : -1))).size).toBeLessThanOrEqual(LANES * 2);
  });

  test("keeps the order of a whole call where the topic has one partition", async () => {
    const transport = client(broker);
    const topic = await partitioned(broker, 1);
    const { store } = await produce(transport, topic);
    const mixed = messages(500, 7).map((one, n) => (n % 5 === 0 ? { ...one, key: undefined } : one));
    await store(mixed);
    const { take } = await consume(transport, topic, { type: "exclusive" });
    expect(texts(await take(500))).toEqual(mixed.map(({ payload }) => String(payload)));
  });

  test("holds more than its window of entries, and confirms them all in order", async () => {
    const { store } = await produce(client(broker, { batching: { by: "none" } }), fresh());
    const results = await store(messages(1_500, 1));
    const entries = results.map((result) => (result.ok ? result.id.entry : -1));
    expect(entries).toEqual(Array.from({ length: 1_500 }, (_, n) => n));
    expect(results[0]).toMatchObject({ id: { batchIndex: -1, partition: 0 } });
  });

  test("gives a message with a delay an entry of its own", async () => {
    const { store } = await produce(client(broker), fresh());
    const at = Date.now() + 60_000;
    const results = await store([message("a", "k"), message("late", "k", { deliverAt: at }), message("b", "k"), message("c", "k")]);
    expect(results.map((result) => (result.ok ? [result.id.entry, result.id.batchIndex] : []))).toEqual([
      [0, -1],
      [1, -1],
      [2, 0],
      [2, 1],
    ]);
  });

  test("refuses a message that is too large, and with it what follows of its key, but nothing else", async () => {
    const { producer } = await produce(client(broker), fresh());
    const large = message("", "k", { payload: Buffer.alloc(5_300_000) });
    const results = await producer.send([message("before", "k"), large, message("behind", "k"), message("other", "x")], soon());
    expect(results.map(({ ok }) => ok)).toEqual([true, false, false, true]);
    expect(results[1]).toMatchObject({ sent: "no", error: { code: "MessageTooLarge" } });
    expect(results[2]).toMatchObject({ sent: "no" });
  });

  test("entries are never larger than the broker takes, whatever batches may hold", async () => {
    const { producer } = await produce(client(broker, { batching: { maxBytes: 20_000_000 } }), fresh());
    const large = Array.from({ length: 6 }, () => message("", "k", { payload: Buffer.alloc(1_500_000) }));
    const results = await producer.send(large, soon());
    expect(results.map(({ ok }) => ok)).toEqual([true, true, true, true, true, true]);
  });

  test("settles an aborted call within a second, and nothing of it is stored later", async () => {
    const proxy = await proxied(broker);
    const topic = fresh();
    const downs: unknown[] = [];
    const { producer, ends } = await produce(client(proxy, { onDown: (error) => downs.push(error) }), topic);
    proxy.pause("up");
    const abort = new AbortController();
    const sending = producer.send(
      messages(40_000, 50).map((one) => ({ ...one, payload: Buffer.concat([one.payload, Buffer.alloc(1_000)]) })),
      abort.signal,
    );
    // A turn of the event loop, in which the first entries are written.
    await new Promise(setImmediate);
    const asked = performance.now();
    abort.abort();
    const results = await sending;
    expect(ranFor(asked)).toBeLessThan(1_500);
    const outcomes = new Set(results.map((result) => (result.ok ? "ok" : result.sent)));
    expect([...outcomes].sort()).toEqual(["maybe", "no"]);
    await eventually(() => ends.length === 1 && downs.length === 1, "the end of the producer");
    proxy.resume();
    const unsure = new Set(results.flatMap((result, n) => (!result.ok && result.sent === "maybe" ? [`m${n}`] : [])));
    await (await produce(client(broker), topic)).store([message("last")]);
    const { take } = await consume(client(broker), topic, { type: "exclusive" });
    for (let name = ""; name !== "last"; ) {
      name = texts(await take(1))[0]?.replace(/\0+$/, "") ?? "";
      if (name !== "last") expect(unsure).toContain(name);
    }
  });

  test("an aborted call ends a connection that has been silent at once, and the next one goes over another", async () => {
    const proxy = await proxied(broker);
    const topic = fresh();
    const transport = client(proxy);
    const { producer, store, ends } = await produce(transport, topic);
    await store([message("a")]);
    proxy.drop();
    const results = await producer.send([message("b")], AbortSignal.timeout(1_000));
    expect(results).toMatchObject([{ ok: false, sent: "maybe", error: { code: "Aborted" } }]);
    expect(ends).toHaveLength(1);
    await proxy.heal();
    await (await produce(transport, topic)).store([message("c")]);
  });

  test("an aborted call whose receipts come in time is a stored one", async () => {
    const { producer, ends } = await produce(client(broker), fresh());
    const abort = new AbortController();
    const sending = producer.send(messages(10), abort.signal);
    await Promise.resolve();
    setImmediate(() => abort.abort());
    expect((await sending).every(({ ok }) => ok)).toBe(true);
    expect(ends).toEqual([]);
  });

  test("a name that is taken is refused", async () => {
    const transport = client(broker);
    const topic = fresh();
    await produce(transport, topic, "one");
    await expect(produce(transport, topic, "one")).rejects.toMatchObject({ code: "ProducerBusy" });
  });

  test("fails what it still holds when the topic is terminated, and closes", async () => {
    const transport = client(broker);
    const topic = fresh();
    const { producer, store, ends } = await produce(transport, topic);
    await store([message("a")]);
    await admin(broker, (rest) => rest.terminate(topic, soon()));
    const results = await producer.send(messages(3), soon());
    expect(results.map(({ ok }) => ok)).toEqual([false, false, false]);
    await eventually(() => ends.length === 1, "the end of the producer");
    expect(["TopicTerminatedError", "Detached"]).toContain((ends[0] as PulsarError).code);
  });

  test("a topic that does not exist is not made where that is not wanted", async () => {
    await expect(produce(client(broker, { createTopics: false }), fresh())).rejects.toMatchObject({ code: "TopicNotFound" });
  });
});
