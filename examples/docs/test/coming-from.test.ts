import { testMessage } from "brokerkit/testing";
import { expect, onTestFinished, test, vi } from "vitest";
import { Billing, insteadOfAmqplib, insteadOfKafkajs } from "../coming-from.ts";
import { orders } from "../contracts.ts";
import { onMemory } from "./start.ts";

const order = { id: 7, customer: "ada", at: new Date("2026-01-01") };

test.each([insteadOfKafkajs, insteadOfAmqplib])("%o publishes and handles", async (program) => {
  const charge = vi.fn(async () => {});
  const broker = await program("memory:", order, charge);
  onTestFinished(() => broker.close());
  await vi.waitFor(() => expect(charge).toHaveBeenCalledExactlyOnceWith(order, expect.any(AbortSignal)));
});

test("a provider subscribes when its module starts and drains when it ends", async () => {
  const charge = vi.fn(async () => {});
  const broker = await onMemory();
  const billing = new Billing(broker, charge);
  await billing.onModuleInit();
  await broker.topic(orders).publish(order);
  await vi.waitFor(() => expect(charge).toHaveBeenCalledTimes(1));
  await billing.onApplicationShutdown();
  expect(broker.health().subscriptions).toEqual([]);
  await billing.handle(testMessage(orders, order));
  expect(charge).toHaveBeenCalledTimes(2);
});
