import { driverError, type SettleResult, type Shard } from "brokerkit/driver";
import { expect, test } from "vitest";
import { delivery, failure } from "./fake-driver.ts";
import { log, setUp } from "./stage.ts";

test("acks that come too late make room for more", async () => {
  const { topic, clock, side } = await setUp();
  const seen: string[] = [];
  await topic.subscribe({ group: "g" }, (message) => void seen.push(message.id));
  let answer: (results: SettleResult[]) => void = () => {};
  side().answer = () => new Promise((resolve) => (answer = resolve));
  side().deliver(delivery(1), delivery(2), delivery(3));
  await clock.advance(10);
  expect(seen).toEqual(["a.1", "a.2"]);
  answer(["lost"]);
  await clock.advance(10);
  answer(["lost"]);
  await clock.advance(10);
  side().deliver(delivery(4));
  await clock.advance(60_000);
  answer(["lost"]);
  await clock.advance(60_000);
  expect(seen).toEqual(["a.1", "a.2", "a.3", "a.4"]);
});

test.each([
  ["acks take", "grows", { ackMs: 10, handlerMs: 0 }],
  ["handlers take", "stays small", { ackMs: 0, handlerMs: 10 }],
] as const)("where %s long, what may be owned %s", async (_, growing, { ackMs, handlerMs }) => {
  const { topic, clock, side } = await setUp();
  const after = (ms: number): Promise<void> => new Promise((resolve) => void clock.timer(ms, resolve));
  await topic.subscribe({ group: "g", concurrency: 2 }, () => (handlerMs > 0 ? after(handlerMs) : undefined));
  let owned = 0;
  let most = 0;
  side().answer = async (deliveries) => {
    await after(ackMs);
    owned -= deliveries.length;
    return deliveries.map(() => "confirmed");
  };
  // Never as many as were asked for, though there are more.
  side().receive = async (max) => {
    const count = Math.min(max, 3);
    owned += count;
    most = Math.max(most, owned);
    return Array.from({ length: count }, (_one, n) => delivery(n));
  };
  side().deliver(delivery(1));
  for (let ms = 0; ms < 300; ms++) await clock.advance(1);
  if (growing === "grows") expect(most).toBeGreaterThan(100);
  else expect(most).toBeLessThan(10);
});

test("a driver that answers at once with nothing leaves the application's timers their turn", async () => {
  const { topic, side } = await setUp();
  await topic.subscribe({ group: "g" }, () => {});
  let calls = 0;
  side().receive = async () => {
    if (++calls === 100_000) throw driverError("INVALID_ARGUMENT", "asked for ever");
    return [];
  };
  side().deliver(delivery(1));
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(calls).toBeGreaterThan(1);
  expect(calls).toBeLessThan(100_000);
});

test("a lost shard makes room for more while its acks are unanswered", async () => {
  const { topic, clock, side, requests } = await setUp();
  const seen: string[] = [];
  await topic.subscribe({ group: "g" }, (message) => void seen.push(message.id));
  side().answer = () => new Promise(() => {});
  const one: Shard = { id: "a" };
  side().deliver(delivery(1, {}, one), delivery(2, {}, one));
  await clock.advance(10);
  side().deliver(delivery(1, {}, { id: "b" }));
  requests[0]?.events.lost(one, "rebalance");
  await clock.advance(10);
  expect(seen).toEqual(["a.1", "a.2", "b.1"]);
});

test("behind a message of a log that waits for its next attempt other keys and other shards go on", async () => {
  const { topic, clock, side } = await setUp({ capabilities: log });
  const seen: string[] = [];
  await topic.subscribe({ group: "g", retry: { backoffMs: { initial: 30_000, factor: 1, max: 30_000 }, jitter: "none" } }, (message) => {
    seen.push(message.id);
    if (message.id === "a.0" && message.attempt === 1) throw new Error("no");
  });
  const shards: Shard[] = [{ id: "a" }, { id: "b" }];
  for (let n = 0; n < 3_000; n++) side().deliver(delivery(n, { key: Buffer.from(`k${n}`) }, shards[n % 2]));
  await clock.advance(10_000);
  expect(seen.filter((id) => id.startsWith("b")).length).toBe(1_500);
  expect(seen.filter((id) => id.startsWith("a")).length).toBeGreaterThan(400);
  expect(seen.filter((id) => id.startsWith("a")).length).toBeLessThanOrEqual(2_000);
  expect(side().acked.filter((id) => id.startsWith("a"))).toEqual([]);
  await clock.advance(40_000);
  expect(seen.length).toBe(3_001);
  expect(side().acked).toContain("a.2998");
  expect(side().acked).toContain("b.2999");
});

test("a head of a log that the backend calls lost takes its shard with it", async () => {
  const { topic, clock, side } = await setUp({ capabilities: log });
  const seen: string[] = [];
  const subscription = await topic.subscribe({ group: "g", concurrency: 4 }, async (message) => {
    seen.push(message.id);
    if (message.id === "a.1") await new Promise((resolve) => clock.timer(1_000, () => resolve(undefined)));
  });
  side().answer = async () => ["lost"];
  const one: Shard = { id: "a" };
  side().deliver(delivery(0, {}, one), delivery(1, {}, one), delivery(2, {}, one));
  await clock.advance(5_000);
  expect(subscription.state.inFlight).toBe(0);
  expect(seen).toEqual(["a.0", "a.1", "a.2"]);
  side().answer = async (deliveries) => deliveries.map(() => "confirmed");
  const two: Shard = { id: "a" };
  for (let n = 0; n < 100; n++) side().deliver(delivery(n, {}, two));
  await clock.advance(5_000);
  expect(side().acked.at(-1)).toBe("a.99");
});

test("a log whose commits are refused for good ends the subscription and says why", async () => {
  const { topic, clock, side } = await setUp({ capabilities: log });
  const subscription = await topic.subscribe({ group: "g" }, () => {});
  const closed = subscription.closed.catch((error: unknown) => error);
  side().answer = async (deliveries) => deliveries.map(() => ({ error: driverError("FORBIDDEN", "no commits for you") }));
  side().deliver(delivery(0), delivery(1));
  await clock.advance(5_000);
  expect(subscription.state.state).toBe("closed");
  expect(await closed).toMatchObject({ code: "FORBIDDEN" });
});

test("a schema that takes longer than the handler's time is a failure, and keeps no key closed", async () => {
  const { broker, clock, side } = await setUp();
  let stuck = true;
  const seen: string[] = [];
  const topic = broker.topic({
    name: "slow",
    schema: {
      "~standard": { version: 1 as const, vendor: "t", validate: (value: unknown) => (stuck ? new Promise<never>(() => {}) : { value }) },
    },
  });
  const subscription = await topic.subscribe({ group: "g", timeoutMs: 1_000 }, (message) => void seen.push(message.id));
  side().deliver(delivery(1, { key: Buffer.from("k") }), delivery(2, { key: Buffer.from("k") }));
  await clock.advance(10);
  stuck = false;
  await clock.advance(5_000);
  expect(seen).toEqual(["a.1", "a.2"]);
  expect(subscription.state.inFlight).toBe(0);
});

test.each([
  ["without a prototype", Object.create(null)],
  ["with a message that is no text", Object.assign(new Error("x"), { message: { a: 1 } })],
  [
    "whose message throws",
    Object.defineProperty(new Error("x"), "message", {
      get: () => {
        throw new Error("nested");
      },
    }),
  ],
  ["whose name is no text", Object.assign(new Error("x"), { name: 5 })],
])("an error %s becomes a dead letter like any other", async (_, thrown) => {
  const { topic, clock, side } = await setUp();
  const seen: string[] = [];
  await topic.subscribe({ group: "g", retry: { attempts: 1 } }, (message) => {
    seen.push(message.id);
    if (message.id === "a.1") throw thrown;
  });
  side().deliver(delivery(1, { key: Buffer.from("k") }), delivery(2, { key: Buffer.from("k") }));
  await clock.advance(1_000);
  expect(seen).toEqual(["a.1", "a.2"]);
  expect(side().acked.toSorted()).toEqual(["a.1", "a.2"]);
});

test("an interceptor that throws around a stream's message fails it, and ends neither the process nor the stream", async () => {
  let bad = true;
  const { topic, clock, side } = await setUp({
    options: {
      use: [
        {
          handle: async (_message, next) => {
            if (bad) throw new Error("interceptor");
            await next();
          },
        },
      ],
    },
  });
  const stream = topic.messages({ group: "g", retry: { jitter: "none" } });
  const iterator = stream[Symbol.asyncIterator]();
  const first = iterator.next();
  await clock.advance(10);
  side().deliver(delivery(1));
  await clock.advance(10);
  bad = false;
  await clock.advance(5_000);
  const { value } = await first;
  expect(value).toMatchObject({ id: "a.1", attempt: 2 });
  await value?.ack();
  const closed = stream.close();
  await clock.advance(10);
  await closed;
});

test("data lost while subscribing refuses the subscription, ends no process and leaves no member behind", async () => {
  const { topic, clock, sides } = await setUp({
    subscribe: async (_, { events }) => {
      events.dataLoss("a", undefined, undefined, undefined);
      await new Promise((resolve) => clock.timer(500, () => resolve(undefined)));
    },
  });
  const outcome = topic.subscribe({ group: "g" }, () => {}).catch((error: unknown) => error);
  await clock.advance(2_000);
  expect(await outcome).toMatchObject({ code: "DATA_LOSS" });
  expect(sides[0]?.closed).toBeGreaterThan(0);
});

test("a broker that closes while something subscribes says so", async () => {
  const { topic, clock, broker } = await setUp({
    subscribe: async () => {
      await new Promise((resolve) => clock.timer(500, () => resolve(undefined)));
      throw new Error("whatever");
    },
  });
  const outcome = topic.subscribe({ group: "g" }, () => {}).catch((error: unknown) => error);
  await clock.advance(10);
  const closed = broker.close({ deadlineMs: 0 });
  await clock.advance(5_000);
  await closed;
  expect(await outcome).toMatchObject({ code: "CLOSED" });
});

test("a driver that never lets go of its broken subscription does not keep core from subscribing again", async () => {
  const { topic, clock, side } = await setUp({
    subscribe: (made) => {
      (made as { created: boolean }).created = false;
    },
  });
  const seen: string[] = [];
  await topic.subscribe({ group: "g" }, (message) => void seen.push(message.id));
  const first = side();
  await clock.advance(10);
  first.close = () => new Promise(() => {});
  first.break(driverError("UNAVAILABLE", "cut"));
  await clock.advance(20_000);
  side().deliver(delivery(7));
  await clock.advance(10);
  expect(seen).toEqual(["a.7"]);
});

test("closing again with an earlier deadline closes earlier", async () => {
  const { topic, clock, side, broker } = await setUp();
  const subscription = await topic.subscribe({ group: "g" }, () => new Promise(() => {}));
  side().deliver(delivery(1));
  await clock.advance(10);
  void subscription.close();
  await clock.advance(10);
  let over = false;
  void broker.close({ deadlineMs: 100 }).then(() => {
    over = true;
  });
  await clock.advance(2_000);
  expect(over).toBe(true);
  expect(side().nacked).toEqual(["a.1"]);
});

test("a broker that is closing closes earlier when it is told to: handlers, acks without an answer and publishes alike", async () => {
  let calls = 0;
  const { topic, clock, side, broker } = await setUp({
    publish: (_, signal) => {
      calls++;
      return new Promise((resolve) => {
        signal.addEventListener("abort", () => resolve([failure("UNAVAILABLE", "maybe")]));
      });
    },
  });
  await topic.subscribe({ group: "g", concurrency: 2 }, (message) => (message.id === "a.1" ? undefined : new Promise(() => {})));
  side().answer = () => new Promise(() => {});
  side().deliver(delivery(1), delivery(2));
  const published = topic.publish("x").catch((error: unknown) => error);
  await clock.advance(10);
  let over = 0;
  void broker.close({ deadlineMs: 600_000 }).then(() => over++);
  await clock.advance(1_000);
  expect([over, calls]).toEqual([0, 1]);
  void broker.close({ deadlineMs: 100 }).then(() => over++);
  await clock.advance(5_000);
  expect(over).toBe(2);
  expect(await published).toMatchObject({ code: "CLOSED", inDoubt: true });
});

test("a broker that waits for a publish alone closes earlier when it is told to", async () => {
  const { topic, clock, broker } = await setUp({
    publish: (_, signal) =>
      new Promise((resolve) => {
        signal.addEventListener("abort", () => resolve([failure("UNAVAILABLE", "maybe")]));
      }),
  });
  const published = topic.publish("x", { timeoutMs: 900_000 }).catch((error: unknown) => error);
  await clock.advance(10);
  let over = false;
  void broker.close({ deadlineMs: 600_000 });
  await clock.advance(1_000);
  void broker.close({ deadlineMs: 100 }).then(() => {
    over = true;
  });
  await clock.advance(5_000);
  expect(over).toBe(true);
  expect(await published).toMatchObject({ code: "CLOSED", inDoubt: true });
});

test("a broadcast reader that loses its link handles what it had got", async () => {
  const { topic, clock, side, requests, sides } = await setUp();
  const seen: string[] = [];
  let release = (): void => {};
  await topic.subscribe({ broadcast: true, order: "topic" }, async (message) => {
    seen.push(message.id);
    if (message.id === "a.1") await new Promise<void>((resolve) => (release = resolve));
  });
  const one: Shard = { id: "a" };
  side().deliver(delivery(1, {}, one), delivery(2, {}, one));
  await clock.advance(10);
  requests[0]?.events.lost(one, "link");
  sides[0]?.break(driverError("UNAVAILABLE", "cut"));
  await clock.advance(5_000);
  expect(requests[1]?.from).toEqual({ kind: "position", cut: new Map([["a", "a:2"]]) });
  release();
  await clock.advance(10);
  expect(seen).toEqual(["a.1", "a.2"]);
});

test("what a driver gives out in the moment its shard is lost is not handled here", async () => {
  const { topic, clock, side, requests } = await setUp();
  const seen: string[] = [];
  await topic.subscribe({ group: "g" }, (message) => void seen.push(message.id));
  await clock.advance(10);
  const one: Shard = { id: "a" };
  const receive = side().receive.bind(side());
  side().receive = async (...args) => {
    const got = await receive(...args);
    if (got[0]?.shard === one) requests[0]?.events.lost(one, "rebalance");
    return got;
  };
  side().deliver(delivery(9, {}, { id: "b" }));
  await clock.advance(10);
  side().deliver(delivery(1, {}, one));
  await clock.advance(10);
  side().deliver(delivery(1, {}, { id: "a" }));
  await clock.advance(10);
  expect(seen).toEqual(["b.9", "a.1"]);
  expect(side().acked).toEqual(["b.9", "a.1"]);
});

test("close keeps its deadline while a dead letter can't be stored", async () => {
  const { topic, clock, side, broker, context } = await setUp({ connect: (attempt) => attempt === 1 });
  const subscription = await topic.subscribe({ group: "g", retry: { attempts: 1 } }, () => {
    throw new Error("no");
  });
  context().down(driverError("UNAVAILABLE", "cut"));
  side().deliver(delivery(1));
  await clock.advance(10);
  let over = 0;
  void subscription.close({ deadlineMs: 1_000 }).then(() => over++);
  await clock.advance(3_000);
  expect(over).toBe(1);
  expect(side().nacked).toEqual(["a.1"]);
  void broker.close({ deadlineMs: 0 }).then(() => over++);
  await clock.advance(10_000);
  expect(over).toBe(2);
});

test("what is handed back goes in the order it came", async () => {
  const { topic, clock, side } = await setUp();
  const subscription = await topic.subscribe({ group: "g", order: "topic", concurrency: 2 }, () => {
    throw new Error("no");
  });
  side().deliver(delivery(1), delivery(2), delivery(3));
  await clock.advance(1);
  const closed = subscription.close({ deadlineMs: 0 });
  await clock.advance(10);
  await closed;
  expect(side().nacked).toEqual(["a.1", "a.2", "a.3"]);
});

test("closing while the backend is down does not wait for it", async () => {
  const { topic, broker, clock, side } = await setUp({ connect: (attempt) => attempt === 1 });
  await topic.subscribe({ group: "g" }, () => {});
  side().break(driverError("UNAVAILABLE", "cut"));
  await clock.advance(30_000);
  let closed = false;
  void broker.close({ deadlineMs: 20_000 }).then(() => {
    closed = true;
  });
  await clock.advance(100);
  expect(closed).toBe(true);
});
