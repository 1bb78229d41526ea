import { driverError, type PublishResult, type WireRecord } from "brokerkit/driver";
import { afterEach, expect, test } from "vitest";
import { BrokerHandle } from "../src/broker.ts";
import { defineTopic } from "../src/definition.ts";
import type { Capabilities } from "../src/driver/capabilities.ts";
import type { Options } from "../src/options.ts";
import { deferred } from "../src/primitives/deferred.ts";
import type { Schema } from "../src/schema.ts";
import { VirtualClock } from "../src/testing/virtual-clock.ts";
import { failure, fakeAdapter, type Script, stored } from "./fake-driver.ts";

const open: { broker: BrokerHandle; clock: VirtualClock }[] = [];
afterEach(async () => {
  for (const { broker, clock } of open.splice(0)) {
    const closed = broker.close({ deadlineMs: 0 });
    await clock.advance(1);
    await closed;
  }
});

async function setUp(publish: Script, o: { capabilities?: (record: Capabilities) => Capabilities; options?: Options } = {}) {
  const clock = new VirtualClock();
  const fake = fakeAdapter({ publish, ...(o.capabilities === undefined ? {} : { capabilities: o.capabilities }) });
  const broker = new BrokerHandle({ name: "memory", load: () => fake.adapter, clock }, o.options ?? {}, []);
  open.push({ broker, clock });
  await broker.connect();
  const topic = broker.topic("t");
  await topic.createGroup("warm");
  return { ...fake, clock, broker, topic };
}

const ANY: Schema<unknown> = { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) } };
const noDedupe = (record: Capabilities): Capabilities => ({ ...record, dedupe: { windowMs: 0 } });
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("a key is never in two driver calls at once, whatever fails in between", async () => {
  const inside = new Set<string>();
  const seen: string[] = [];
  let state = 42;
  const random = (below: number): number => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * below);
  };
  const { topic, clock } = await setUp(async (batch) => {
    const keys = new Set(batch.map((record) => Buffer.from(record.key ?? []).toString()));
    for (const key of keys) {
      expect(inside.has(key), key).toBe(false);
      inside.add(key);
    }
    for (let turns = random(4); turns >= 0; turns--) await turn();
    for (const key of keys) inside.delete(key);
    // A failed record fails all that follow it: that is what order "call" promises.
    const good = random(5) === 0 ? random(batch.length) : batch.length;
    seen.push(...batch.slice(0, good).map((record) => record.id));
    return batch.map((_, n): PublishResult => (n < good ? { ok: true } : failure("UNAVAILABLE", "no")));
  });
  const all = Array.from({ length: 300 }, (_, n) => topic.publish(n, { key: `k${n % 7}`, id: `k${n % 7}.${n}` }));
  const done = Promise.all(all);
  let finished = false;
  void done.then(() => {
    finished = true;
  });
  while (!finished) await clock.advance(50);
  for (let key = 0; key < 7; key++) {
    const order = seen.filter((id) => id.startsWith(`k${key}.`)).map((id) => Number(id.split(".")[1]));
    expect(order).toEqual([...order].sort((a, b) => a - b));
    expect(new Set(order).size).toBe(order.length);
  }
});

test("where order is per record a key is not twice in one call", async () => {
  const { topic, calls } = await setUp(stored, {
    capabilities: (record) => ({ ...record, publish: { ...record.publish, order: "record" } }),
  });
  await Promise.all(["1", "2", "3"].map((id) => topic.publish(0, { key: "a", id })));
  expect(calls).toEqual([["1"], ["2"], ["3"]]);
});

test("nothing newer of a key leaves while the older one is in doubt, even after its caller had its time-out", async () => {
  const gate = deferred<PublishResult[]>();
  const { topic, clock, calls } = await setUp((batch, _signal, call) => (call === 1 ? gate.promise : stored(batch)), {
    capabilities: (record) => ({ ...noDedupe(record), publish: { ...record.publish, inFlight: 4 } }),
  });
  const older = topic.publish(1, { key: "a", id: "older", timeoutMs: 100 });
  const failed = older.catch((error: unknown) => error);
  await turn();
  const newer = topic.publish(2, { key: "a", id: "newer" });
  const other = topic.publish(3, { key: "b", id: "other" });
  await other;
  await clock.advance(150);
  expect(await failed).toMatchObject({ code: "TIMEOUT", inDoubt: true });
  expect(calls.flat()).toEqual(["older", "other"]);
  gate.resolve([failure("UNAVAILABLE", "maybe")]);
  await clock.advance(500);
  await newer;
  expect(calls.flat()).toEqual(["older", "other", "newer"]);
});

test("a call is aborted at the latest deadline among its records", async () => {
  let aborted = false;
  const { topic, clock } = await setUp(
    (batch, signal) =>
      new Promise((resolve) => {
        signal.addEventListener("abort", () => {
          aborted = true;
          resolve(batch.map(() => failure("UNAVAILABLE", "maybe")));
        });
      }),
    { capabilities: noDedupe },
  );
  const outcomes = Promise.allSettled([topic.publish(1, { timeoutMs: 100 }), topic.publish(2, { timeoutMs: 300 })]);
  await clock.advance(200);
  expect(aborted).toBe(false);
  await clock.advance(150);
  expect(aborted).toBe(true);
  expect((await outcomes).map((outcome) => outcome.status)).toEqual(["rejected", "rejected"]);
});

test("what surely was not sent is tried again until the deadline; then it failed, not in doubt", async () => {
  const { topic, clock, calls } = await setUp((batch) => batch.map(() => failure("UNAVAILABLE", "no")));
  const outcome = topic.publish(1, { timeoutMs: 5_000 }).catch((error: unknown) => error);
  await clock.advance(5_100);
  expect(await outcome).toMatchObject({ code: "TIMEOUT", inDoubt: false, retryable: true });
  expect(calls.length).toBeGreaterThan(3);
});

test("a record says where its whole topic is one sequence", async () => {
  const said: (string | undefined)[] = [];
  const { broker } = await setUp((batch) => {
    said.push(...batch.map(({ order }) => order));
    return batch.map(() => ({ ok: true }));
  });
  await broker.topic("keyed").publish(1, { key: "k" });
  await broker.topic(defineTopic("whole", { schema: ANY, order: "topic" })).publish(1, { key: "k" });
  expect(said).toEqual([undefined, "topic"]);
});

test("in doubt with a dedupe window: tried again with the same id and dedupeId, and our own duplicate is no duplicate", async () => {
  const tried: [string, string][] = [];
  const { topic, clock } = await setUp((batch, _signal, call) => {
    tried.push(...batch.map((record: WireRecord): [string, string] => [record.id, record.dedupeId]));
    return call === 1 ? [failure("UNAVAILABLE", "maybe")] : [{ ok: true, duplicate: true }];
  });
  const receipt = topic.publish(1, { id: "m" });
  await clock.advance(2_000);
  expect(await receipt).toMatchObject({ id: "m", duplicate: false });
  expect(tried).toEqual([
    ["m", "m"],
    ["m", "m"],
  ]);
});

test("in doubt without a dedupe window: the caller decides, nothing is sent twice behind its back", async () => {
  const { topic, calls } = await setUp((batch) => batch.map(() => failure("UNAVAILABLE", "maybe")), { capabilities: noDedupe });
  await expect(topic.publish(1)).rejects.toMatchObject({ code: "UNAVAILABLE", inDoubt: true });
  expect(calls).toHaveLength(1);
});

test("what waiting cannot mend is told at once", async () => {
  const { topic, calls } = await setUp((batch) => batch.map(() => failure("FORBIDDEN", "no")));
  await expect(topic.publish(1)).rejects.toMatchObject({ code: "FORBIDDEN", inDoubt: false });
  expect(calls).toHaveLength(1);
});

test("one bad record of a batch fails alone, index-aligned", async () => {
  const { topic } = await setUp((batch) => batch.map((record) => (record.id === "b" ? failure("FORBIDDEN", "no") : { ok: true })));
  const outcome = await topic
    .publishAll([
      { payload: 1, id: "a" },
      { payload: 2, id: "b" },
      { payload: 3, id: "c" },
    ])
    .catch((error: unknown) => error);
  expect(outcome).toMatchObject({ code: "PARTIAL", details: { results: [{ id: "a" }, { code: "FORBIDDEN" }, { id: "c" }] } });
});

test("a driver that rejects leaves its records in doubt, and one without a result for a record too", async () => {
  const rejecting = await setUp(() => Promise.reject(new Error("bug")), { capabilities: noDedupe });
  await expect(rejecting.topic.publish(1)).rejects.toMatchObject({ code: "INTERNAL", inDoubt: true });
  const silent = await setUp(() => [], { capabilities: noDedupe });
  await expect(silent.topic.publish(1)).rejects.toMatchObject({ code: "INTERNAL", inDoubt: true });
});

test("a signal aborts what has not left, and what has left is in doubt", async () => {
  const gate = deferred<PublishResult[]>();
  const { topic, calls } = await setUp(() => gate.promise, {
    capabilities: (record) => ({ ...noDedupe(record), publish: { ...record.publish, inFlight: 1 } }),
  });
  const controller = new AbortController();
  const sent = topic.publish(1, { signal: controller.signal }).catch((error: unknown) => error);
  await turn();
  const waiting = topic.publish(2, { signal: controller.signal }).catch((error: unknown) => error);
  const early = topic.publish(3, { signal: AbortSignal.abort() }).catch((error: unknown) => error);
  controller.abort(new Error("user left"));
  expect(await sent).toMatchObject({ code: "ABORTED", inDoubt: true, cause: { message: "user left" } });
  expect(await waiting).toMatchObject({ code: "ABORTED", inDoubt: false });
  expect(await early).toMatchObject({ code: "ABORTED", inDoubt: false });
  gate.resolve([{ ok: true }]);
  await turn();
  expect(calls).toHaveLength(1);
});

test("publish waits rather than grows: what is inside is bounded, and all of it arrives", async () => {
  const gate = deferred<void>();
  let inside = 0;
  const { topic, calls } = await setUp(async (batch) => {
    inside += batch.length;
    await gate.promise;
    return stored(batch);
  });
  const all = Promise.all(Array.from({ length: 25_000 }, (_, n) => topic.publish(n)));
  await turn();
  expect(inside).toBeLessThanOrEqual(20_000);
  gate.resolve();
  expect(await all).toHaveLength(25_000);
  expect(calls.flat()).toHaveLength(25_000);
});

test("an async schema keeps the order of the calls, and refuses before anything is sent", async () => {
  const { broker, calls } = await setUp(stored);
  const schema = {
    "~standard": {
      version: 1 as const,
      vendor: "test",
      validate: async (value: unknown) => {
        for (let turns = value === 1 ? 5 : 0; turns > 0; turns--) await turn();
        return value === "bad" ? { issues: [{ message: "bad" }] } : { value };
      },
    },
  };
  const topic = broker.topic({ name: "slow", schema });
  const outcomes = await Promise.allSettled([1, 2, "bad", 3].map((payload, n) => topic.publish(payload, { id: `m${n}`, key: "a" })));
  expect(outcomes.map((outcome) => outcome.status)).toEqual(["fulfilled", "fulfilled", "rejected", "fulfilled"]);
  expect(outcomes[2]).toMatchObject({ reason: { code: "INVALID_PAYLOAD", details: { issues: [{ message: "bad" }] } } });
  expect(calls.flat()).toEqual(["m0", "m1", "m3"]);
});

test("interceptors wrap the line in order, may change payload and headers, and what they made is checked again", async () => {
  const steps: string[] = [];
  const { topic, calls } = await setUp(stored, {
    options: {
      use: [
        {
          publish: async (record, next) => {
            steps.push("first in");
            record.headers["stamp"] = "1";
            const receipt = await next();
            steps.push(`first out ${receipt.id}`);
            return receipt;
          },
        },
        {
          publish: (record, next) => {
            steps.push(`second ${record.headers["stamp"]}`);
            if (record.payload === "evil") record.headers["bad\r\nname"] = "x";
            return next();
          },
        },
      ],
    },
  });
  await topic.publish("x", { id: "m" });
  expect(steps).toEqual(["first in", "second 1", "first out m"]);
  await expect(topic.publish("evil")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  expect(calls.flat()).toEqual(["m"]);
});

test("close gives what is under way its time, then settles every promise", async () => {
  const { broker, topic, clock } = await setUp(() => new Promise<PublishResult[]>(() => {}), { capabilities: noDedupe });
  const outcome = topic.publish(1).catch((error: unknown) => error);
  await turn();
  const closed = broker.close({ deadlineMs: 1_000 });
  await clock.advance(1_100);
  expect(await outcome).toMatchObject({ code: "CLOSED", inDoubt: true });
  await closed;
  await expect(topic.publish(2)).rejects.toMatchObject({ code: "CLOSED" });
});

test("nothing leaves while the link is down, and all of it once it is back", async () => {
  let up = true;
  const clock = new VirtualClock();
  const { adapter, calls, context } = fakeAdapter({
    publish: stored,
    connect: async () => {
      if (!up) throw driverError("UNAVAILABLE", "down");
    },
  });
  const broker = new BrokerHandle({ name: "memory", load: () => adapter, clock }, {}, []);
  open.push({ broker, clock });
  await broker.connect();
  const topic = broker.topic("t");
  await topic.publish(0, { id: "before" });
  up = false;
  context().down(driverError("UNAVAILABLE", "cut"));
  const during = Promise.all(["a", "b"].map((id) => topic.publish(1, { id })));
  await clock.advance(1_000);
  expect([calls.flat(), broker.health().connection]).toEqual([["before"], "reconnecting"]);
  up = true;
  await clock.advance(6_000);
  await during;
  expect([calls.flat(), broker.health().connection]).toEqual([["before", "a", "b"], "connected"]);
});

test("in doubt for longer than the backend remembers: the caller decides", async () => {
  let up = true;
  const clock = new VirtualClock();
  const { adapter, calls, context } = fakeAdapter({
    publish: (batch, _signal, call) => (call === 1 ? batch.map(() => failure("UNAVAILABLE", "maybe")) : stored(batch)),
    capabilities: (record) => ({ ...record, dedupe: { windowMs: 5_000 } }),
    connect: async () => {
      if (!up) throw driverError("UNAVAILABLE", "down");
    },
  });
  const broker = new BrokerHandle({ name: "memory", load: () => adapter, clock }, {}, []);
  open.push({ broker, clock });
  const topic = (await broker.connect()).topic("t");
  await topic.createGroup("warm");
  const outcome = topic.publish(1, { timeoutMs: 60_000, id: "m" }).catch((error: unknown) => error);
  await turn();
  up = false;
  context().down(driverError("UNAVAILABLE", "cut"));
  await clock.advance(20_000);
  up = true;
  await clock.advance(20_000);
  expect(await outcome).toMatchObject({ code: "UNAVAILABLE", inDoubt: true });
  expect(calls.flat()).toEqual(["m"]);
});
