import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { beforeAll, describe, expect, test } from "vitest";
import { client, consume, eventually, fresh, message, messages, partitioned, produce, soon, startServer, texts } from "./stage.ts";

let broker: RunningBroker;
beforeAll(async () => {
  broker = await startServer();
});

describe("a consumer", () => {
  test("records acknowledgements of a batch until it is complete, then the broker confirms", async () => {
    const transport = client(broker);
    const topic = fresh();
    const { store } = await produce(transport, topic);
    await store(messages(3, 1));
    const { consumer, take } = await consume(transport, topic);
    const [a, b, c] = (await take(3)).map(({ id }) => id) as [never, never, never];
    expect(await consumer.ack([a, b])).toEqual(["recorded", "recorded"]);
    expect(await consumer.ack([a])).toEqual(["lost"]);
    expect(await consumer.ack([c])).toEqual(["confirmed"]);
    await consumer.close();
    await store([message("next")]);
    const again = await consume(transport, topic);
    expect(texts(await again.take(1))).toEqual(["next"]);
  });

  test("with acknowledgement by batch index the broker keeps each one", async () => {
    const transport = client(broker, { batchIndexAck: true });
    const topic = fresh();
    const { store } = await produce(transport, topic);
    await store(messages(70, 1));
    const first = await consume(transport, topic);
    const taken = await first.take(70);
    const kept = new Set([0, 31, 32, 63, 64, 69]);
    const acked = taken.filter((_, n) => !kept.has(n)).map(({ id }) => id);
    expect(new Set(await first.consumer.ack(acked))).toEqual(new Set(["confirmed"]));
    await first.consumer.close();
    const second = await consume(transport, topic);
    expect(texts(await second.take(6))).toEqual([...kept].map((n) => `m${n}`));
  });

  test("gives a message of a batch back at once, once, counted, before what is newer", async () => {
    const transport = client(broker);
    const topic = fresh();
    const { store } = await produce(transport, topic);
    await store(messages(5, 1));
    const { consumer, take } = await consume(transport, topic);
    const [a, b, c] = await take(3);
    if (a === undefined || b === undefined || c === undefined) throw new Error("three messages");
    consumer.redeliver([b.id, a.id]);
    expect(await consumer.ack([a.id])).toEqual(["lost"]);
    const rest = await take(4);
    expect(texts(rest)).toEqual(["m0", "m1", "m3", "m4"]);
    expect(rest.map(({ redeliveries }) => redeliveries)).toEqual([1, 1, 0, 0]);
    expect(await consumer.ack([c.id, ...rest.map(({ id }) => id)])).toEqual(["recorded", "recorded", "recorded", "recorded", "confirmed"]);
  });

  test("lets the broker deliver a lone message again, and counts with it", async () => {
    const transport = client(broker);
    const topic = fresh();
    const { store } = await produce(transport, topic);
    await store([message("alone", "k")]);
    const { consumer, take } = await consume(transport, topic);
    for (const redeliveries of [0, 1, 2]) {
      const [one] = await take(1);
      expect(one).toMatchObject({ redeliveries });
      if (one !== undefined) consumer.redeliver([one.id]);
    }
  });

  test("gives what it has to another consumer when it closes", async () => {
    const transport = client(broker);
    const topic = fresh();
    const { store } = await produce(transport, topic);
    await store(messages(4, 1));
    const first = await consume(transport, topic);
    const taken = await first.take(2);
    await first.consumer.close();
    const second = await consume(transport, topic);
    expect(texts(await second.take(4))).toEqual(["m0", "m1", "m2", "m3"]);
    expect(await first.consumer.ack(taken.map(({ id }) => id))).toEqual(["lost", "lost"]);
    await expect(first.consumer.receive(1, 10, soon())).rejects.toMatchObject({ code: "Closed" });
  });

  test("says what was acknowledged before it says that it closes", async () => {
    const transport = client(broker);
    const topic = fresh();
    const { store } = await produce(transport, topic);
    await store(messages(4, 1));
    const first = await consume(transport, topic);
    const taken = await first.take(4);
    const acking = first.consumer.ack(taken.map(({ id }) => id));
    const closing = first.consumer.close();
    expect((await acking).at(-1)).toBe("confirmed");
    await closing;
    await store([message("next")]);
    const second = await consume(transport, topic);
    expect(texts(await second.take(1))).toEqual(["next"]);
  });

  test("takes no more than its credit, by an entry, until it is read", async () => {
    const transport = client(broker);
    const topic = fresh();
    const { store } = await produce(transport, topic);
    for (let n = 0; n < 20; n++) await store(messages(50, 1));
    const { consumer, take } = await consume(transport, topic, { credit: 100 });
    await take(1);
    const other = await consume(transport, topic, { type: "exclusive", durable: false, subscription: "reader", credit: 10_000 });
    await other.take(1_000);
    const held = await consumer.receive(10_000, 0, soon());
    expect(held.length).toBeGreaterThan(40);
    // The first entries are asked for before it is known how large they are.
    expect(held.length).toBeLessThan(8 * 50 + 100);
    expect(await take(1_000 - held.length - 1)).toHaveLength(1_000 - held.length - 1);
  });

  test("stops asking while it is paused", async () => {
    const transport = client(broker);
    const topic = fresh();
    const { consumer, take } = await consume(transport, topic, { credit: 10 });
    consumer.pause();
    const { store } = await produce(transport, topic);
    for (let n = 0; n < 30; n++) await store([message(`m${n}`)]);
    const early = await take(8);
    expect(await consumer.receive(100, 100, soon())).toEqual([]);
    consumer.resume();
    expect(texts([...early, ...(await take(22))])).toEqual(Array.from({ length: 30 }, (_, n) => `m${n}`));
  });

  test("does not wait longer than asked, and not at all once aborted", async () => {
    const { consumer } = await consume(client(broker), fresh());
    expect(await consumer.receive(1, 20, soon())).toEqual([]);
    const abort = new AbortController();
    const waiting = consumer.receive(1, 60_000, abort.signal);
    abort.abort();
    expect(await waiting).toEqual([]);
  });

  test("brings a message whole: key, properties, times, no body", async () => {
    const transport = client(broker);
    const topic = fresh();
    const { store } = await produce(transport, topic);
    const key = Buffer.from([0xff, 0x00, 0x80]);
    const properties = [
      ["a", "1"],
      ["a", "2"],
      ["ü", "é"],
    ] as const;
    await store([{ payload: Buffer.alloc(0), nullValue: true, key, properties, eventTime: 1_700_000_000_123 }, message("plain")]);
    const { take } = await consume(transport, topic);
    const [tombstone, plain] = await take(2);
    expect(tombstone).toMatchObject({ nullValue: true, properties, eventTime: 1_700_000_000_123, redeliveries: 0 });
    expect(tombstone?.key).toEqual(key);
    expect(plain).toMatchObject({ nullValue: false, key: undefined, properties: [], eventTime: undefined });
    expect(Math.abs((plain?.publishTime ?? 0) - Date.now())).toBeLessThan(60_000);
  });

  test("reads what is compressed", async () => {
    for (const compression of ["zlib", "zstd"] as const) {
      const transport = client(broker, { compression });
      const topic = fresh();
      const { store } = await produce(transport, topic);
      await store(messages(300, 1));
      const { take } = await consume(transport, topic);
      expect(texts(await take(300))).toEqual(messages(300).map(({ payload }) => String(payload)));
    }
  });

  test("tells who is served on a failover subscription, and loses what it had when it is not", async () => {
    const topic = fresh();
    const first = await consume(client(broker), topic, { type: "failover", name: "b" });
    const { store } = await produce(client(broker), topic);
    await store(messages(2, 1));
    const taken = await first.take(2);
    expect(first.turns).toEqual([[0, true]]);
    const second = await consume(client(broker), topic, { type: "failover", name: "a" });
    await first.consumer.close();
    await eventually(() => second.turns.some(([, active]) => active), "the turn of the second");
    expect(texts(await second.take(2))).toEqual(["m0", "m1"]);
    expect(await first.consumer.ack(taken.map(({ id }) => id))).toEqual(["lost", "lost"]);
  });
});

describe("a reader", () => {
  const reader = { type: "exclusive", durable: false, subscription: "reader" } as const;

  test("starts behind a message in the middle of a batch, in every partition", async () => {
    const transport = client(broker);
    const topic = await partitioned(broker, 2);
    const { store } = await produce(transport, topic);
    const results = await store(messages(100, 10));
    const ids = results.map((result) => {
      if (!result.ok) throw result.error;
      return result.id;
    });
    const some = [ids.find(({ partition }) => partition === 0), ids.findLast(({ partition }) => partition === 1)];
    const after = some.filter((id) => id !== undefined);
    const { take } = await consume(transport, topic, { ...reader, from: { kind: "after", ids: after } });
    const zero = ids.filter(({ partition }) => partition === 0);
    const rest = await take(zero.length - 1);
    expect(rest.every(({ id }) => id.partition === 0)).toBe(true);
    expect(rest.some(({ id }) => id.entry === after[0]?.entry && id.batchIndex === after[0]?.batchIndex)).toBe(false);
  });

  test("starts at a time, to the millisecond", async () => {
    const transport = client(broker);
    const topic = fresh();
    const { store } = await produce(transport, topic);
    await store([message("early")]);
    const first = await consume(transport, topic, { ...reader, subscription: "first" });
    const published = (await first.take(1))[0]?.publishTime ?? 0;
    await eventually(() => Date.now() > published, "the next millisecond");
    await store([message("late")]);
    const { take } = await consume(transport, topic, { ...reader, from: { kind: "time", ms: published + 1 } });
    expect(texts(await take(1))).toEqual(["late"]);
    const all = await consume(transport, topic, { ...reader, subscription: "all", from: { kind: "time", ms: published } });
    expect(texts(await all.take(2))).toEqual(["early", "late"]);
  });

  test("starts at the end, and knows where that is", async () => {
    const transport = client(broker);
    const topic = await partitioned(broker, 2);
    const { store } = await produce(transport, topic);
    const { consumer, take } = await consume(transport, topic, { ...reader, from: { kind: "latest" } });
    expect(await consumer.lastMessageIds(soon())).toEqual([]);
    const results = await store([message("a", "k1"), message("b", "k1"), message("c", "k1")]);
    const last = results.at(-1);
    expect(await consumer.lastMessageIds(soon())).toEqual([last?.ok === true ? last.id : undefined]);
    expect(texts(await take(3))).toEqual(["a", "b", "c"]);
    if (last?.ok === true) expect(await consumer.ack([last.id])).toEqual(["confirmed"]);
  });
});

describe("seek", () => {
  test("moves a subscription, and says that the consumer is closed", async () => {
    const transport = client(broker);
    const topic = fresh();
    const { store } = await produce(transport, topic);
    const results = [...(await store([message("a")])), ...(await store([message("b")])), ...(await store([message("c")]))];
    const first = await consume(transport, topic, { type: "shared" });
    await first.consumer.ack((await first.take(3)).map(({ id }) => id));
    const after = results[0]?.ok === true ? [results[0].id] : [];
    await first.consumer.seek({ kind: "after", ids: after }, soon());
    await eventually(() => first.ends.length === 1, "the end of the consumer");
    expect(first.ends[0]).toMatchObject({ code: "Detached" });
    const second = await consume(transport, topic, { type: "shared" });
    expect(texts(await second.take(2))).toEqual(["b", "c"]);
    await second.consumer.seek({ kind: "earliest" }, soon());
    const third = await consume(transport, topic, { type: "shared" });
    expect(texts(await third.take(3))).toEqual(["a", "b", "c"]);
    await third.consumer.unsubscribe(soon());
    const fourth = await consume(transport, topic, { type: "shared", from: { kind: "latest" } });
    expect(await fourth.consumer.receive(1, 100, soon())).toEqual([]);
  });
});
