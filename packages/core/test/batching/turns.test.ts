import { driverError } from "brokerkit/driver";
import { afterEach, expect, test } from "vitest";
import { BrokerHandle } from "../../src/broker.ts";
import { VirtualClock } from "../../src/testing/virtual-clock.ts";
import { fakeAdapter, stored } from "../fake-driver.ts";

const open: { broker: BrokerHandle; clock: VirtualClock }[] = [];
afterEach(async () => {
  for (const { broker, clock } of open.splice(0)) {
    const closed = broker.close({ deadlineMs: 0 });
    await clock.advance(5_000);
    await closed;
  }
});

async function setUp() {
  let up = true;
  const clock = new VirtualClock();
  const fake = fakeAdapter({
    publish: stored,
    connect: async () => {
      if (!up) throw driverError("UNAVAILABLE", "down");
    },
  });
  const broker = new BrokerHandle({ name: "memory", load: () => fake.adapter, clock }, {}, []);
  open.push({ broker, clock });
  await broker.connect();
  const topic = broker.topic("t");
  await topic.createGroup("warm");
  const cut = (): void => {
    up = false;
    fake.context().down(driverError("UNAVAILABLE", "cut"));
  };
  const mend = (): void => {
    up = true;
  };
  return { ...fake, clock, broker, topic, cut, mend };
}

test("while the link is down each publish keeps its own deadline, whoever was called before it", async () => {
  const { topic, clock, cut, mend, calls } = await setUp();
  cut();
  const long = topic.publish(1, { id: "long", timeoutMs: 60_000 });
  const short = topic.publish(2, { id: "short", timeoutMs: 100 }).catch((error: unknown) => error);
  const third = topic.publish(3, { id: "third", timeoutMs: 60_000 });
  await clock.advance(200);
  expect(await Promise.race([short, Promise.resolve("waiting")])).toMatchObject({ code: "TIMEOUT", inDoubt: false });
  mend();
  await clock.advance(10_000);
  await Promise.all([long, third]);
  expect(calls.flat()).toEqual(["long", "third"]);
});

test("while the link is down a signal still aborts", async () => {
  const { topic, clock, cut } = await setUp();
  cut();
  const controller = new AbortController();
  const outcome = topic.publish(1, { signal: controller.signal, timeoutMs: 60_000 }).catch((error: unknown) => error);
  await clock.advance(10);
  controller.abort(new Error("left"));
  await clock.advance(1);
  expect(await Promise.race([outcome, Promise.resolve("waiting")])).toMatchObject({ code: "ABORTED", cause: { message: "left" } });
});

test("close keeps its deadline for what waits for the link", async () => {
  const { topic, broker, clock, cut } = await setUp();
  cut();
  const outcome = topic.publish(1, { timeoutMs: 3_600_000 }).catch((error: unknown) => error);
  let closed = false;
  void broker.close({ deadlineMs: 1_000 }).then(() => {
    closed = true;
  });
  await clock.advance(1_100);
  expect(await Promise.race([outcome, Promise.resolve("waiting")])).toMatchObject({ code: "CLOSED", inDoubt: false });
  await clock.advance(5_000);
  expect(closed).toBe(true);
});

test("a schema that throws while the broker can't be reached refuses the payload and nothing else", async () => {
  const clock = new VirtualClock();
  const fake = fakeAdapter({ connect: () => Promise.reject(driverError("UNAVAILABLE", "down")) });
  const broker = new BrokerHandle({ name: "memory", load: () => fake.adapter, clock }, {}, []);
  open.push({ broker, clock });
  const validate = (): never => {
    throw new TypeError("bug in the schema");
  };
  const topic = broker.topic({ name: "t", schema: { "~standard": { version: 1 as const, vendor: "t", validate } } });
  await expect(topic.publish(1)).rejects.toThrow("bug in the schema");
  await clock.advance(1_000);
});
