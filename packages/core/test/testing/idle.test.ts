import { expect, test } from "vitest";
import { testBroker } from "../../src/testing/index.ts";

test("idle does not wait for what waits for time, nor for what waits behind it", async () => {
  const broker = testBroker();
  const topic = broker.topic("orders");
  const seen: unknown[] = [];
  await topic.subscribe(
    { group: "g", retry: { attempts: 2, backoffMs: { initial: 1_000, factor: 1, max: 1_000 }, jitter: "none" } },
    (message) => {
      seen.push(message.payload);
      if (message.payload === 1 && message.attempt === 1) throw new Error("once");
    },
  );
  await topic.publishAll([
    { payload: 1, key: "k" },
    { payload: 2, key: "k" },
    { payload: 3, key: "other" },
  ]);
  await broker.idle();
  expect(seen).toEqual([1, 3]);
  await broker.advance(1_000);
  await broker.idle();
  expect(seen).toEqual([1, 3, 1, 2]);
});
