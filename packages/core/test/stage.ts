import { driverError, type SubscribeRequest } from "brokerkit/driver";
import { afterEach } from "vitest";
import { BrokerHandle } from "../src/broker.ts";
import type { Capabilities } from "../src/driver/capabilities.ts";
import type { Options } from "../src/options.ts";
import { VirtualClock } from "../src/testing/virtual-clock.ts";
import { FakeSubscription, fakeAdapter, type Script } from "./fake-driver.ts";

const open: { broker: BrokerHandle; clock: VirtualClock }[] = [];
afterEach(async () => {
  for (const { broker, clock } of open.splice(0)) {
    const closed = broker.close({ deadlineMs: 0 });
    await clock.advance(5_000);
    await closed;
  }
});

/** A connected broker under a clock of its own, whose subscriptions are in the test's hands. */
export async function setUp(
  o: {
    capabilities?: (record: Capabilities) => Capabilities;
    options?: Options;
    /** Whether this attempt to connect succeeds. */
    connect?: (attempt: number) => boolean;
    publish?: Script;
    subscribe?: (side: FakeSubscription, request: SubscribeRequest) => void | Promise<void>;
  } = {},
) {
  const clock = new VirtualClock();
  const sides: FakeSubscription[] = [];
  const requests: SubscribeRequest[] = [];
  const fake = fakeAdapter({
    ...(o.capabilities === undefined ? {} : { capabilities: o.capabilities }),
    ...(o.publish === undefined ? {} : { publish: o.publish }),
    connect: async (attempt) => {
      if (o.connect?.(attempt) === false) throw driverError("UNAVAILABLE", "down");
    },
    subscribe: async (request) => {
      const side = new FakeSubscription();
      await o.subscribe?.(side, request);
      requests.push(request);
      sides.push(side);
      return side;
    },
  });
  const broker = new BrokerHandle({ name: "memory", load: () => fake.adapter, clock }, o.options ?? {}, []);
  open.push({ broker, clock });
  await broker.connect();
  return { ...fake, clock, broker, topic: broker.topic("t"), sides, requests, side: () => sides.at(-1) as FakeSubscription };
}

/** As a log would have it: heads are acknowledged, and a shard pauses by itself. */
export const log = (record: Capabilities): Capabilities => ({
  ...record,
  settle: { unit: "prefix", ack: "confirmed" },
  lease: { ms: 0, extend: false },
  redelivery: { native: false, maxDelayMs: 0, counted: "none" },
  hold: { maxMs: 600_000, maxUnacked: 1_000, scope: "shard" },
});
