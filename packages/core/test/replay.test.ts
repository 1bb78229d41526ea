import { getEventListeners } from "node:events";
import { type Cursor, driverError, type ReplayRequest } from "brokerkit/driver";
import { afterEach, expect, test } from "vitest";
import { BrokerHandle } from "../src/broker.ts";
import { connect } from "../src/connect.ts";
import { VirtualClock } from "../src/testing/virtual-clock.ts";
import { delivery, fakeAdapter } from "./fake-driver.ts";

const open: { broker: BrokerHandle; clock: VirtualClock }[] = [];
afterEach(async () => {
  for (const { broker, clock } of open.splice(0)) {
    const closed = broker.close({ deadlineMs: 0 });
    await clock.advance(5_000);
    await closed;
  }
});

async function setUp(replay: (request: ReplayRequest, call: number) => Cursor | Promise<Cursor>) {
  const clock = new VirtualClock();
  const requests: ReplayRequest[] = [];
  const fake = fakeAdapter({
    replay: async (request) => {
      requests.push(request);
      return replay(request, requests.length);
    },
  });
  const broker = new BrokerHandle({ name: "memory", load: () => fake.adapter, clock }, {}, []);
  open.push({ broker, clock });
  await broker.connect();
  return { clock, topic: broker.topic("t"), requests };
}

const at = (n: number): Cursor["end"] => new Map([["a", `a:${n}` as never]]);

test("a replay whose link breaks ends where it was to end when it was opened", async () => {
  const { clock, topic, requests } = await setUp((_, call) => {
    let calls = 0;
    return {
      end: at(call === 1 ? 2 : 9),
      close: async () => {},
      receive: async () => {
        if (call === 1 && calls++ === 1) throw driverError("UNAVAILABLE", "cut");
        return { deliveries: [delivery(call)], atEnd: call === 2 };
      },
    };
  });
  const seen: string[] = [];
  const reading = (async () => {
    for await (const message of topic.replay({ from: "earliest" })) seen.push(message.id);
  })();
  await clock.advance(10_000);
  await reading;
  expect(seen).toEqual(["a.1", "a.2"]);
  expect(requests[1]).toMatchObject({ from: { kind: "position", cut: at(1) }, to: { kind: "position", cut: at(2) } });
});

test("a replay closed while it opens leaves no cursor and no listener behind", async () => {
  let closed = 0;
  let answer: (cursor: Cursor) => void = () => {};
  const { clock, topic } = await setUp(() => new Promise((resolve) => (answer = resolve)));
  const controller = new AbortController();
  const replay = topic.replay({ from: "earliest", signal: controller.signal });
  const reading = replay[Symbol.asyncIterator]().next();
  await clock.advance(10);
  await replay.close();
  expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
  answer({
    end: at(1),
    close: async () => void closed++,
    receive: async () => ({ deliveries: [], atEnd: true }),
  });
  await clock.advance(10);
  expect(await reading).toEqual({ done: true, value: undefined });
  expect(closed).toBe(1);
});

test("a replay of a topic that is not there says so where topics are not made by their first use", async () => {
  for (const provision of ["off", "verify"] as const) {
    const broker = await connect("memory:", { provision });
    const reading = broker.topic("nowhere").replay({ from: "earliest" })[Symbol.asyncIterator]().next();
    await expect(reading).rejects.toMatchObject({ code: "NOT_FOUND" });
    await broker.close();
  }
});
