import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { DatabaseSync } from "node:sqlite";
import { BrokerError } from "brokerkit";
import { testBroker } from "brokerkit/testing";
import { expect, onTestFinished, test, vi } from "vitest";
import { orders } from "../contracts.ts";
import * as desk from "../recipes/dead-letters.ts";
import { place, serve } from "../recipes/http.ts";
import { load } from "../recipes/loader.ts";
import { migrate, placeOrder, relay } from "../recipes/outbox.ts";
import { follow, handOver, resume, type Totals } from "../recipes/projection.ts";
import { open, run } from "../recipes/two-backends.ts";
import { work } from "../recipes/worker.ts";
import { onMemory } from "./start.ts";

const at = "2026-01-01T00:00:00Z";
const order = (id: number, customer = "ada"): { id: number; customer: string; at: string } => ({ id, customer, at });
const many = (count: number): { payload: ReturnType<typeof order> }[] =>
  Array.from({ length: count }, (_, n) => ({ payload: order(n + 1, `c${n % 3}`) }));

// ---- HTTP
test("a request sent twice with one idempotency key is one message", async () => {
  const broker = await onMemory();
  const server = serve(broker).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/orders`;
  const post = async (body: string, key?: string): Promise<readonly [number, unknown]> => {
    const response = await fetch(url, { method: "POST", body, headers: key === undefined ? {} : { "idempotency-key": key } });
    return [response.status, await response.json()];
  };
  const body = JSON.stringify(order(7));
  expect(await post(body, "k-1")).toEqual([202, { id: "k-1", duplicate: false }]);
  expect(await post(body, "k-1")).toEqual([202, { id: "k-1", duplicate: true }]);
  expect(await post("{", "k-2")).toEqual([400, null]);
  expect(await post(JSON.stringify({ id: "x" }), "k-3")).toEqual([422, expect.any(Array)]);
  expect(await post(body, "two words")).toEqual([400, { argument: "id" }]);
  const ids = [];
  for await (const message of broker.topic(orders).replay({ from: "earliest" })) ids.push(message.id);
  expect(ids).toEqual(["k-1"]);
});

test("a backend that is down or slow answers 503 and says whether the message may be there", async () => {
  const broker = await onMemory();
  const publish = vi.spyOn(broker.topic(orders), "publish");
  publish.mockRejectedValueOnce(new BrokerError("TIMEOUT", "late", { details: undefined, retryable: true, inDoubt: true }));
  const { signal } = new AbortController();
  expect(await place(broker, order(1), "k", signal)).toEqual([503, { inDoubt: true }]);
  publish.mockRejectedValueOnce(new BrokerError("FORBIDDEN", "no", { details: undefined }));
  expect(await place(broker, order(1), "k", signal)).toEqual([500, { inDoubt: false }]);
});

// ---- worker
test("a worker handles, answers its probes, and ends cleanly on SIGTERM", async () => {
  const url = `memory:worker-${process.pid}`;
  const charged: number[] = [];
  const done = work(url, { charge: async ({ id }) => void charged.push(id) }, 0);
  const broker = await onMemory();
  const { connect } = await import("brokerkit");
  const producer = await connect(url);
  onTestFinished(() => producer.close());
  await producer.topic(orders).createGroup("billing");
  await producer.topic(orders).publishAll(many(5));
  await vi.waitFor(() => expect(charged.toSorted()).toEqual([1, 2, 3, 4, 5]));
  process.emit("SIGTERM");
  await done;
  expect((await producer.topic(orders).group("billing").lag()).messages).toBe(0);
  expect(broker.health().ready).toBe(true);
});

// ---- batch loader
test("a loader that failed in mid-batch loads every order, and none twice", async () => {
  const broker = await onMemory();
  await broker.topic(orders).createGroup("loader");
  await broker.topic(orders).publishAll(many(1_200));
  const rows = new Map<string, number>();
  let calls = 0;
  const warehouse = {
    insertOnce: async (some: readonly { readonly id: number; readonly messageId: string }[]): Promise<void> => {
      for (const { id, messageId } of some) rows.set(messageId, id);
      if (++calls === 2) throw new Error("the connection broke after the insert");
    },
  };
  const stop = new AbortController();
  await expect(load(broker, warehouse, stop.signal)).rejects.toThrow("the connection broke");
  const second = load(broker, warehouse, stop.signal);
  await vi.waitFor(async () => expect((await broker.topic(orders).group("loader").lag()).messages).toBe(0));
  stop.abort();
  await second;
  expect(rows.size).toBe(1_200);
});

// ---- dead letters
test("dead letters are listed, sent back to their group alone, and forgotten", async () => {
  const broker = testBroker();
  onTestFinished(() => broker.close({ deadlineMs: 0 }));
  const topic = broker.topic(orders);
  let down = true;
  const billed: number[] = [];
  const shipped: number[] = [];
  await topic.subscribe({ group: "shipping" }, ({ payload }) => void shipped.push(payload.id));
  await topic.subscribe({ group: "billing", retry: { attempts: 2 } }, async (message) => {
    if (message.payload.id === 3) return message.reject("negative");
    if (down) throw new Error("the bank is closed");
    billed.push(message.payload.id);
  });
  await topic.publishAll([1, 2, 3].map((id) => ({ payload: order(id), id: `order-${id}` })));
  await broker.idle();
  await broker.advance(60_000);
  await broker.idle();
  const lines = await desk.look(broker, new Date(0));
  expect(lines.toSorted()).toEqual([
    expect.stringMatching(/^order-1 attempts after 2: the bank is closed \{"id":1/),
    expect.stringMatching(/^order-2 attempts after 2: the bank is closed \{"id":2/),
    expect.stringMatching(/^order-3 negative after 1: {2}\{"id":3/),
  ]);
  down = false;
  vi.spyOn(console, "log").mockImplementation(() => {});
  const sending = desk.sendBack(broker, "the bank is closed");
  await broker.idle();
  await broker.advance(1_000);
  expect(await sending).toEqual({ matched: 2, moved: 2 });
  await broker.idle();
  expect(billed).toEqual([1, 2]);
  expect(shipped).toEqual([1, 2, 3]);
  expect(await desk.forget(broker, new Date(Date.UTC(2027, 0, 1)))).toBe(1);
  expect(await desk.look(broker, new Date(0))).toEqual([]);
});

test("a body that is no JSON is shown by its size", async () => {
  const broker = await onMemory();
  const raw = broker.topic({
    ...orders,
    schema: { "~standard": { version: 1, vendor: "any", validate: (value) => ({ value }) } },
    key: () => "k",
    codec: "bytes",
  });
  await broker.topic(orders).subscribe({ group: "billing" }, () => {});
  await raw.publish(new Uint8Array([1, 2, 3]) as never);
  await vi.waitFor(async () =>
    expect(await desk.look(broker, new Date(0))).toEqual([expect.stringMatching(/decode after 1: .* 3 bytes$/)]),
  );
});

// ---- projections
test("a projection counts every order once while publishing goes on", async () => {
  const broker = await onMemory();
  await broker.topic(orders).publishAll(many(300));
  const totals: Totals = new Map();
  const during = (async () => {
    for (let n = 0; n < 30; n++) await broker.topic(orders).publishAll(many(10));
  })();
  await handOver(broker, totals);
  await during;
  await vi.waitFor(() => expect([...totals.values()].reduce((sum, one) => sum + one, 0)).toBe(600));
});

test("following says when it has caught up", async () => {
  const broker = await onMemory();
  await broker.topic(orders).publishAll(many(30));
  const totals: Totals = new Map();
  const live = vi.fn();
  const stop = new AbortController();
  const following = follow(broker, totals, live, stop.signal);
  await vi.waitFor(() => expect(live).toHaveBeenCalledTimes(1));
  await broker.topic(orders).publish(order(31, "late"));
  await vi.waitFor(() => expect(totals.get("late")).toBe(1));
  stop.abort();
  await following;
});

test("a saved position resumes without a gap or a repeat", async () => {
  const broker = await onMemory();
  await broker.topic(orders).publishAll(many(10));
  let kept: { totals: Totals; position: string } | undefined;
  let left = 4;
  const store = {
    position: () => kept?.position,
    save: (totals: Totals, position: string) => {
      if (left-- === 0) throw new Error("killed");
      kept = { totals: new Map(totals), position };
    },
  };
  await expect(resume(broker, new Map(), store)).rejects.toThrow("killed");
  left = Number.POSITIVE_INFINITY;
  await resume(broker, new Map(kept?.totals), store);
  expect([...(kept?.totals.values() ?? [])].reduce((sum, one) => sum + one, 0)).toBe(10);
  await resume(broker, new Map(kept?.totals), store);
  expect([...(kept?.totals.values() ?? [])].reduce((sum, one) => sum + one, 0)).toBe(10);
});

// ---- two backends
test("topics go where their names say", async () => {
  const broker = await open("memory:?like=redis%2Bpubsub", "memory:");
  onTestFinished(() => broker.close());
  const seen: string[] = [];
  await run(broker, (what) => seen.push(what));
  await vi.waitFor(() => expect(seen.toSorted()).toEqual(["ada is in tea", "order 7"]));
  expect(broker.features).toMatchObject({ groups: false, replay: false });
});

// ---- outbox
test("an outbox publishes what was committed, in order, and again under the same id after a crash", async () => {
  const broker = await onMemory();
  const db = new DatabaseSync(":memory:");
  onTestFinished(() => db.close());
  migrate(db);
  for (let id = 1; id <= 250; id++) placeOrder(db, id, `c${id % 7}`);
  expect(() => placeOrder(db, 1, "twice")).toThrow();
  const crashing = { ...broker, topic: broker.topic.bind(broker) };
  const publishAll = vi.spyOn(broker.topic(orders), "publishAll");
  publishAll.mockImplementationOnce(async function (this: unknown, records) {
    publishAll.mockRestore();
    await broker.topic(orders).publishAll(records);
    throw new Error("killed before the delete");
  });
  await expect(relay(db, crashing as never)).rejects.toThrow("killed");
  expect(await relay(db, broker)).toBe(250);
  const seen = [];
  for await (const message of broker.topic(orders).replay({ from: "earliest" })) seen.push(message.payload.id);
  expect(seen).toEqual(Array.from({ length: 250 }, (_, n) => n + 1)); // the window took the second copies
  expect(await relay(db, broker)).toBe(0);
});
