import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { beforeAll, expect, test } from "vitest";
import { client, consume, fresh, messages, produce, proxied, soon, startServer, texts } from "./stage.ts";

let broker: RunningBroker;
beforeAll(async () => {
  broker = await startServer({ brokerDeduplicationEnabled: "true" });
});

test("what was stored and lost its receipts is sent again, and stored once", async () => {
  const proxy = await proxied(broker);
  const topic = fresh();
  const { producer, store } = await produce(client(proxy, { reconnect: true }), topic, "of this test");
  await store(messages(3, 1, "a"));
  const reader = await consume(client(broker), topic, { type: "exclusive", durable: false, subscription: "reader" });
  await reader.take(3);
  // Receipts disappear.
  proxy.drop("down");
  const sending = producer.send(messages(50, 7, "b"), soon(30_000));
  await reader.take(50);
  await proxy.heal();
  const results = await sending;
  expect(results.every((result) => result.ok && result.duplicate === true)).toBe(true);
  await store(messages(1, 1, "last"));
  expect(texts(await reader.take(1))).toEqual(["last0"]);
});

test("a producer that begins again under its name goes on behind what it stored", async () => {
  const topic = fresh();
  for (const round of ["a", "b"]) {
    const { producer, store } = await produce(client(broker), topic, "the same");
    const results = await store(messages(10, 3, round));
    expect(results.every((result) => result.ok && result.duplicate === undefined)).toBe(true);
    await producer.close();
  }
});
