import { describe, expect, test } from "vitest";
import { z } from "zod";
import { defineTopic, type TopicDefinition } from "../../src/definition.ts";
import { testMessage } from "../../src/testing/test-message.ts";

const Order = z.object({ id: z.number(), customer: z.string(), at: z.coerce.date() });
const orders: TopicDefinition<typeof Order> = defineTopic("orders", { schema: Order, key: (order) => order.customer });
const order = { id: 1, customer: "ada", at: "2026-01-01" };

describe("a test message", () => {
  test("has what a delivery has, the payload through codec and schema", () => {
    const message = testMessage(orders, order);
    expect(message.payload).toEqual({ id: 1, customer: "ada", at: new Date("2026-01-01") });
    expect(message).toMatchObject({
      topic: "orders",
      key: "ada",
      attempt: 1,
      redelivered: false,
      replayed: false,
      tombstone: false,
      place: undefined,
    });
    expect(Buffer.from(message.keyBytes ?? []).toString()).toBe("ada");
    expect(message.id).not.toBe(testMessage(orders, order).id);
    expect([message.signal.aborted, message.settled]).toEqual([false, undefined]);
  });

  test("takes what is given", () => {
    const message = testMessage(orders, order, { id: "x", key: "k", attempt: 3, headers: { a: "1" } });
    expect(message).toMatchObject({ id: "x", key: "k", attempt: 3, redelivered: true });
    expect({ ...message.headers }).toEqual({ a: "1" });
  });

  test.each([
    ["ack", (m: ReturnType<typeof testMessage>) => m.ack()],
    ["nack", (m: ReturnType<typeof testMessage>) => m.nack({ delayMs: 5 })],
    ["reject", (m: ReturnType<typeof testMessage>) => m.reject("why")],
  ] as const)("says that it was settled by %s, and refuses a second verdict", async (kind, settle) => {
    const message = testMessage(orders, order);
    await message.extend(1_000);
    await settle(message);
    expect(message.settled).toBe(kind);
    for (const again of [() => message.ack(), () => message.nack(), () => message.reject("x"), () => message.extend(1)]) {
      await expect(again()).rejects.toMatchObject({ code: "ALREADY_SETTLED" });
    }
    expect(message.settled).toBe(kind);
  });

  test("a refused second verdict that nobody awaits does not end the process", async () => {
    const message = testMessage(orders, order);
    void message.ack();
    void message.ack();
    await new Promise((resolve) => setImmediate(resolve));
    expect(message.settled).toBe("ack");
  });

  test("a tombstone is decoded and validated by nobody", () => {
    const message = testMessage(orders as TopicDefinition, null, { key: "k" });
    expect(message).toMatchObject({ payload: null, tombstone: true, key: "k" });
  });

  test("what the schema refuses is INVALID_PAYLOAD with its issues", () => {
    const wrong = { id: "x" } as unknown as typeof order & { id: number };
    expect(() => testMessage(orders, wrong)).toThrow(
      expect.objectContaining({ code: "INVALID_PAYLOAD", details: { issues: expect.any(Array) } }),
    );
  });

  test("an asynchronous schema is refused", () => {
    const topic = defineTopic("t", {
      schema: { "~standard": { version: 1, vendor: "x", validate: async (value: unknown) => ({ value }) } },
    });
    expect(() => testMessage(topic, 1)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", details: { argument: "schema" } }));
  });

  test("unknown options and wrong ones are refused", () => {
    expect(() => testMessage(orders, order, { attempts: 1 } as never)).toThrow(
      expect.objectContaining({ details: { argument: "attempts" } }),
    );
    expect(() => testMessage(orders, order, { attempt: 0 })).toThrow(expect.objectContaining({ details: { argument: "attempt" } }));
    expect(() => testMessage(orders, order, { headers: { "brokerkit-id": "x" } })).toThrow(
      expect.objectContaining({ details: { argument: "headers" } }),
    );
  });
});
