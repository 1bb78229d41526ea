import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { BrokerError, connect } from "brokerkit";
import { testBroker } from "brokerkit/testing";
import { expect, onTestFinished, test, vi } from "vitest";
import { orders } from "../contracts.ts";
import * as errors from "../errors.ts";
import * as observability from "../observability.ts";
import * as operations from "../operations.ts";
import * as security from "../security.ts";
import * as testing from "../testing.ts";
import { onMemory } from "./start.ts";

const at = "2026-01-01T00:00:00Z";
const order = { id: 1, customer: "ada", at };

async function ask(server: Server, path = "/"): Promise<{ readonly status: number; readonly text: string }> {
  if (!server.listening) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    onTestFinished(() => void server.close());
  }
  const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`);
  return { status: response.status, text: await response.text() };
}

// ---- errors
test("errors are told apart by code, with typed details", async () => {
  const broker = await onMemory();
  const topic = broker.topic(orders);
  expect(await errors.answer(() => topic.publish(order))).toMatchObject({ status: 202, body: { duplicate: false } });
  expect(await errors.answer(() => topic.publish({ ...order, id: "one" as unknown as number }))).toMatchObject({
    status: 422,
    body: [{ path: ["id"] }],
  });
  const large = { ...order, customer: "x".repeat(17 * 2 ** 20) };
  expect(await errors.answer(() => topic.publish(large))).toEqual({ status: 413, body: 16 * 2 ** 20 });
  const failing = (retryable: boolean) => Promise.reject(new BrokerError("UNAVAILABLE", "down", { details: undefined, retryable }));
  expect(await errors.answer(() => failing(true))).toEqual({ status: 503 });
  expect(await errors.answer(() => failing(false))).toEqual({ status: 500 });
  await expect(errors.answer(() => Promise.reject(new TypeError("bug")))).rejects.toThrow(TypeError);
});

test("what is required is checked when connecting", async () => {
  expect(await errors.required("memory:?like=redis%2Bpubsub")).toMatch(/^use one of: .*\bsqlite\b/);
  await expect(errors.required("nowhere:")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  const broker = await errors.required("memory:");
  if (typeof broker === "string") throw new Error(broker);
  await broker.close();
});

test("a subscription that ends by itself says so", async () => {
  const broker = await onMemory();
  const report = vi.fn();
  await errors.watch(broker, report);
  await broker.topic(orders).delete();
  await vi.waitFor(() => expect(report).toHaveBeenCalledWith(expect.objectContaining({ code: "NOT_FOUND" })));
});

// ---- testing
test("a handler alone, and a handler on a broker whose time is ours", async () => {
  const assert = vi.spyOn(console, "assert");
  const bank = { charge: vi.fn(async () => {}) };
  expect(await testing.oneMessage(testing.chargeWith(bank))).toBe("reject");
  bank.charge.mockRejectedValueOnce(new Error("busy"));
  await testing.wholeWay(testing.chargeWith(bank));
  expect(bank.charge).toHaveBeenCalledTimes(2);
  expect(assert.mock.calls.map(([holds]) => holds)).toEqual([true, true, true]);
});

test("published() sees what the code under test has published", async () => {
  expect(await testing.inside(async (broker, id) => void (await broker.topic(orders).publish({ ...order, id })))).toEqual([7]);
});

test("a personality refuses what its backend lacks", async () => {
  expect(await testing.personality()).toMatch(/does not support "groups"/);
});

// ---- observability
test("events tell of dead letters", async () => {
  const log = vi.fn();
  observability.listen(log);
  const broker = testBroker();
  onTestFinished(() => broker.close());
  await broker.topic(orders).subscribe({ group: "billing" }, (message) => message.reject("no"));
  await broker.topic(orders).publish(order, { id: "order-1" });
  await broker.idle();
  expect(log.mock.calls).toEqual([["orders/billing: order-1, no"]]);
});

test("headers added while tracing arrive, and handlers are timed", async () => {
  const log = vi.fn();
  const observe = vi.fn();
  let clock = 0;
  observability.carryTrace(() => "00-trace-01", log);
  observability.timeHandlers(() => (clock += 5), observe);
  const broker = testBroker();
  onTestFinished(() => broker.close());
  const headers = vi.fn();
  await broker.topic(orders).subscribe({ group: "billing" }, (message) => headers(message.headers["traceparent"]));
  await broker.topic(orders).publish(order);
  await broker.idle();
  expect(headers.mock.calls).toEqual([["00-trace-01"]]);
  expect(log.mock.calls).toEqual([["published to orders"]]);
  expect(observe.mock.calls).toEqual([["orders", 5]]);
  await expect(broker.topic(orders).publish({ ...order, id: "x" as unknown as number })).rejects.toThrow();
  expect(log.mock.calls.slice(1)).toEqual([["not published to orders"]]);
});

test("a lag metric leaves out groups that are not there", async () => {
  const broker = await onMemory();
  await broker.topic("orders").createGroup("billing");
  await broker.topic("orders").publish(order);
  const gauge = vi.fn();
  await observability.lagMetric(broker, gauge);
  expect(gauge.mock.calls.map(([name]) => name)).toEqual(["lag.billing", "lag.billing.oldestMs"]);
  expect(gauge).toHaveBeenCalledWith("lag.billing", 1);
});

// ---- operations
test("probes answer from the snapshot", async () => {
  const broker = await onMemory();
  const server = operations.probes(broker);
  expect(await ask(server, "/readyz")).toMatchObject({ status: 200 });
  await broker.close();
  expect((await ask(server, "/readyz")).status).toBe(503);
  expect(await ask(server, "/livez")).toMatchObject({ status: 503, text: expect.stringContaining('"connection":"closed"') });
});

test("the lag endpoint gives a figure or none", async () => {
  const broker = await onMemory();
  const server = operations.lagEndpoint(broker);
  expect((await ask(server)).status).toBe(503);
  await broker.topic("orders").createGroup("billing");
  await broker.topic("orders").publish(order);
  expect(await ask(server)).toEqual({ status: 200, text: '{"lag":1}' });
});

test("SIGTERM drains and ends the process", async () => {
  const broker = await onMemory();
  const server = operations.probes(broker);
  const exit = vi.spyOn(process, "exit").mockImplementation((() => {}) as never);
  const finished = vi.fn();
  const handling = Promise.withResolvers<void>();
  await broker.topic(orders).subscribe({ group: "billing" }, async () => {
    handling.resolve();
    await new Promise((resolve) => setImmediate(resolve));
    finished();
  });
  await broker.topic(orders).publish(order);
  await handling.promise;
  operations.onSigterm(broker, server);
  process.emit("SIGTERM");
  await vi.waitFor(() => expect(exit).toHaveBeenCalledWith(0));
  expect(finished).toHaveBeenCalledTimes(1);
  expect(broker.health().connection).toBe("closed");
});

// ---- security
test("TLS options make an adapter without touching the network", () => {
  expect(security.withTls("-----BEGIN CERTIFICATE-----", "s3cret").name).toBe("redis");
});

test("a password is printed nowhere", () => {
  expect(security.printed("hunter2:@/")).not.toContain("hunter2");
});

test("a stage has topics of its own, and creates nothing it was not told to", async () => {
  const broker = security.stage("prod");
  onTestFinished(() => broker.close());
  await expect(broker.topic(orders).publish(order)).rejects.toMatchObject({
    code: "NOT_FOUND",
    message: expect.stringContaining("prod.orders"),
  });
});

test("a schema bounds what a handler is given", async () => {
  const broker = await connect("memory:");
  onTestFinished(() => broker.close());
  await expect(broker.topic(security.comments).publish({ author: "ada", text: "x".repeat(10_001) })).rejects.toMatchObject({
    code: "INVALID_PAYLOAD",
  });
});
