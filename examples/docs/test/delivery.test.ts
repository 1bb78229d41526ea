import { type Broker, BrokerError, type Feature } from "brokerkit";
import { testBroker, testMessage } from "brokerkit/testing";
import { expect, onTestFinished, test, vi } from "vitest";
import { orders } from "../contracts.ts";
import * as delivery from "../delivery.ts";
import { onMemory } from "./start.ts";

const at = "2026-01-01T00:00:00Z";
const order = (id: number, customer = "ada"): { id: number; customer: string; at: string } => ({ id, customer, at });

function stub(broker: Broker<Feature>, fail: (id: string) => BrokerError | undefined): void {
  const topic = broker.topic(orders);
  const publish = topic.publish.bind(topic);
  vi.spyOn(topic, "publish").mockImplementation(async (payload, o) => {
    const error = fail(o?.id ?? "");
    if (error !== undefined) throw error;
    return publish(payload, o);
  });
}

test("a publish in doubt is told apart from one that failed", async () => {
  const broker = await onMemory();
  await expect(delivery.publishKnowingly(broker, order(1))).resolves.toMatchObject({ id: "order-1" });
  stub(broker, (id) => new BrokerError("TIMEOUT", "late", { details: undefined, inDoubt: id === "order-2" }));
  await expect(delivery.publishKnowingly(broker, order(2))).resolves.toBe("unknown");
  await expect(delivery.publishKnowingly(broker, order(3))).rejects.toMatchObject({ code: "TIMEOUT", inDoubt: false });
});

test("publishAll says which records were not confirmed", async () => {
  const broker = await onMemory();
  expect(await delivery.publishMany(broker, [order(1), order(2)])).toEqual([]);
  stub(broker, (id) => (id === "order-4" ? new BrokerError("UNAVAILABLE", "down", { details: undefined }) : undefined));
  expect(await delivery.publishMany(broker, [order(3), order(4), order(5)])).toEqual([order(4)]);
});

test("the three verdicts, and a throw", async () => {
  const work = { charge: vi.fn(async () => {}), known: async (customer: string) => customer === "ada" };
  const handler = delivery.verdicts(work);
  const settled = async (id: number, customer: string): Promise<string | undefined> => {
    const message = testMessage(orders, order(id, customer));
    await handler(message);
    return message.settled;
  };
  expect(await settled(-1, "ada")).toBe("reject");
  expect(await settled(1, "bob")).toBe("nack");
  expect(await settled(1, "ada")).toBeUndefined(); // returned: whoever called it acknowledges
  expect(work.charge).toHaveBeenCalledTimes(1);
});

test("five runs, then a dead letter; a TypeError at once", async () => {
  const broker = testBroker();
  onTestFinished(() => broker.close({ deadlineMs: 0 }));
  const runs = new Map<number, number>();
  await delivery.retries(broker, async ({ payload }) => {
    runs.set(payload.id, (runs.get(payload.id) ?? 0) + 1);
    throw payload.id === 1 ? new Error("down") : new TypeError("bug");
  });
  await broker.topic(orders).publish(order(1, "a"));
  await broker.topic(orders).publish(order(2, "b"));
  await broker.idle();
  await broker.advance(60_000);
  await broker.idle();
  expect(runs).toEqual(
    new Map([
      [1, 5],
      [2, 1],
    ]),
  );
  const letters = [];
  for await (const letter of broker.topic(orders).group("billing").deadLetters.list()) letters.push([letter.reason, letter.attempts]);
  expect(letters.toSorted()).toEqual([
    ["attempts", 5],
    ["not-retryable", 1],
  ]);
});

test("requeue lets the next message of the key go first", async () => {
  const broker = await onMemory();
  const seen: number[] = [];
  await delivery.requeues(broker, async ({ payload, attempt }) => {
    seen.push(payload.id);
    if (payload.id === 1 && seen.filter((id) => id === 1).length === 1) throw new Error(`attempt ${attempt}`);
  });
  await broker.topic(orders).publishAll([{ payload: order(1) }, { payload: order(2) }]);
  await vi.waitFor(() => expect(seen).toHaveLength(3));
  expect(seen.indexOf(2)).toBeLessThan(seen.lastIndexOf(1));
});

test("batches are handled together", async () => {
  const broker = await onMemory();
  const rows: number[] = [];
  await delivery.batches(broker, { insert: async (some) => void rows.push(...some.map(({ id }) => id)) });
  await broker.topic(orders).publishAll([1, 2, 3].map((id) => ({ payload: order(id) })));
  await vi.waitFor(() => expect(rows.toSorted()).toEqual([1, 2, 3]));
});

test("leaving a stream hands back what is not settled", async () => {
  const broker = await onMemory();
  await broker.topic(orders).createGroup("billing");
  await broker.topic(orders).publishAll([1, 2, 3].map((id) => ({ payload: order(id) })));
  await delivery.pull(broker, ({ payload }) => payload.id === 2);
  await vi.waitFor(async () => expect((await delivery.lagOf(broker)).messages).toBe(1));
});

test("flush, lag and seek", async () => {
  const broker = await onMemory();
  const topic = broker.topic(orders);
  const seen: number[] = [];
  const subscription = await topic.subscribe({ group: "billing" }, async (message) => {
    seen.push(message.payload.id);
    await delivery.acknowledgeAndFlush(subscription, message);
  });
  await topic.publish(order(1));
  await vi.waitFor(() => expect(seen).toEqual([1]));
  await vi.waitFor(async () => expect(await delivery.lagOf(broker)).toMatchObject({ messages: 0, kind: "exact" }));
  await delivery.rewind(broker, new Date(0));
  await vi.waitFor(() => expect(seen).toEqual([1, 1]));
});

test("a subscription that skips losses goes on", async () => {
  const broker = await onMemory();
  const handler = vi.fn();
  const subscription = await delivery.skipLosses(broker, handler);
  await broker.topic(orders).publish(order(1));
  await vi.waitFor(() => expect(handler).toHaveBeenCalledTimes(1));
  expect(subscription.state.state).toBe("running");
});
