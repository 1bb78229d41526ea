import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { beforeAll, describe, expect, test } from "vitest";
import { admin, client, consume, eventually, fresh, message, messages, produce, proxied, soon, startServer, texts } from "./stage.ts";

let broker: RunningBroker;
beforeAll(async () => {
  broker = await startServer();
});

describe("with reconnect", () => {
  test("what was in flight is sent again, in order, and the consumer goes on", async () => {
    const proxy = await proxied(broker);
    const transport = client(proxy, { reconnect: true });
    const topic = fresh();
    const { producer, store, ends } = await produce(transport, topic);
    const reader = await consume(transport, topic, { credit: 10_000 });
    await store(messages(10, 1, "a"));
    const taken = await reader.take(10);
    proxy.pause("up");
    const sending = Array.from({ length: 20 }, (_, call) => producer.send(messages(10, 1, `b${call}-`), soon()));
    await new Promise(setImmediate);
    proxy.reset();
    proxy.resume();
    const results = (await Promise.all(sending)).flat();
    expect(results.every(({ ok }) => ok)).toBe(true);
    expect(await reader.consumer.ack(taken.map(({ id }) => id))).toEqual(taken.map(() => "lost"));
    // The ten that were not acknowledged come again.
    const all = texts(await reader.take(210));
    expect(all).toEqual(
      [...messages(10, 1, "a"), ...Array.from({ length: 20 }, (_, call) => messages(10, 1, `b${call}-`)).flat()].map(({ payload }) =>
        String(payload),
      ),
    );
    expect([...ends, ...reader.ends]).toEqual([]);
  });

  test("what was aborted while the broker was away is let go, and never sent", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const proxy = await proxied(broker);
    const topic = fresh();
    const downs: unknown[] = [];
    const transport = client(proxy, { reconnect: true, onDown: (error) => downs.push(error) });
    const { producer, store } = await produce(transport, topic);
    await store([message("first")]);
    proxy.refuse();
    proxy.reset();
    await eventually(() => downs.length === 1, "the loss of the connection");
    const abort = new AbortController();
    const payloads: WeakRef<Uint8Array>[] = [];
    const send = async (text: string, signal: AbortSignal) => {
      const large = message(text, "k", { payload: Buffer.alloc(100_000, text) });
      payloads.push(new WeakRef(large.payload));
      return producer.send([large], signal);
    };
    const patient = send("kept", soon());
    const aborted = Array.from({ length: 20 }, () => send("aborted", abort.signal));
    await new Promise(setImmediate);
    abort.abort();
    for (const [result] of await Promise.all(aborted)) expect(result).toMatchObject({ ok: false, sent: "no", error: { code: "Aborted" } });
    aborted.length = 0;
    await eventually(() => {
      collect();
      // The virtual machine may keep the last one a while.
      return payloads.slice(1, -1).every((payload) => payload.deref() === undefined);
    }, "what was aborted to be collected");
    await proxy.accept();
    expect(await patient).toMatchObject([{ ok: true }]);
    const { take } = await consume(client(broker), topic);
    expect(texts(await take(2)).map((text) => text.slice(0, 5))).toEqual(["first", "keptk"]);
  });

  test("of an entry that is sent again, what was aborted is left out", async () => {
    const proxy = await proxied(broker);
    const topic = fresh();
    const { producer, store, ends } = await produce(client(proxy, { reconnect: true }), topic);
    await store([message("first", "k")]);
    proxy.drop();
    const abort = new AbortController();
    // One turn, one lane, one entry.
    const aborted = producer.send([message("a0", "k"), message("a1", "k")], abort.signal);
    const patient = producer.send([message("b0", "k"), message("b1", "k")], soon());
    await new Promise(setImmediate);
    abort.abort();
    expect(await aborted).toMatchObject([{ sent: "maybe" }, { sent: "maybe" }]);
    await proxy.heal();
    expect(await patient).toMatchObject([
      { ok: true, id: { batchIndex: 0 } },
      { ok: true, id: { batchIndex: 1 } },
    ]);
    await store([message("last", "k")]);
    const { take } = await consume(client(broker), topic);
    const all = await take(4);
    expect(texts(all)).toEqual(["first", "b0", "b1", "last"]);
    expect((await patient).map((result) => result.ok && result.id)).toEqual(all.slice(1, 3).map(({ id }) => id));
    expect(ends).toEqual([]);
  });

  test("a moved topic is followed", async () => {
    const transport = client(broker, { reconnect: true });
    const topic = fresh();
    const { store, ends } = await produce(transport, topic);
    const reader = await consume(transport, topic);
    for (let round = 0; round < 3; round++) {
      await store([message(`m${round}`, "k")]);
      // The broker answers acknowledgements before it has stored them, so an unload in between brings some of them again.
      for (let text = ""; text !== `m${round}`; ) {
        const taken = await reader.take(1);
        text = texts(taken)[0] ?? "";
        expect(await reader.consumer.ack(taken.map(({ id }) => id))).toEqual(["confirmed"]);
      }
      await admin(broker, (rest) => rest.unload(topic, soon()));
    }
    expect([...ends, ...reader.ends]).toEqual([]);
  });

  test("a reader goes on behind what it has read", async () => {
    const proxy = await proxied(broker);
    const transport = client(proxy, { reconnect: true });
    const topic = fresh();
    const { store } = await produce(client(broker), topic);
    const reading = { type: "exclusive", durable: false, subscription: "reader" } as const;
    const reader = await consume(transport, topic, { ...reading, from: { kind: "latest" } });
    const idle = await consume(transport, topic, { ...reading, subscription: "idle", from: { kind: "latest" } });
    await store(messages(10, 1, "a"));
    expect(texts(await reader.take(4))).toEqual(["a0", "a1", "a2", "a3"]);
    proxy.refuse();
    proxy.reset();
    await store(messages(2, 1, "b"));
    await proxy.accept();
    const rest = ["a4", "a5", "a6", "a7", "a8", "a9", "b0", "b1"];
    expect(texts(await reader.take(8))).toEqual(rest);
    expect(texts(await idle.take(12))).toEqual(["a0", "a1", "a2", "a3", ...rest]);
  });

  test("a topic that is gone for good ends them", async () => {
    const transport = client(broker, { reconnect: true, createTopics: false });
    const topic = fresh();
    await admin(broker, (rest) => rest.createTopic(topic, 0, soon()));
    const { ends } = await produce(transport, topic);
    await admin(broker, (rest) => rest.deleteTopic(topic, soon()));
    await eventually(() => ends.length === 1, "the end of the producer");
    expect(ends[0]).toMatchObject({ code: "TopicNotFound" });
  });
});
