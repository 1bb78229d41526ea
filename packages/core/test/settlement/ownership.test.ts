import { driverError, type SettleResult, type Shard } from "brokerkit/driver";
import { expect, test } from "vitest";
import { delivery, failure } from "../fake-driver.ts";
import { log, setUp } from "../stage.ts";

const key = Buffer.from("k");
const later = { backoffMs: { initial: 30_000, factor: 1, max: 30_000 }, jitter: "none" } as const;

test("a shard taken again starts afresh while a handler of the ownership before still runs: its key waits, its verdict counts for nothing", async () => {
  const { topic, clock, side, requests } = await setUp({ capabilities: log });
  const seen: string[] = [];
  let release = (): void => {};
  const late: unknown[] = [];
  await topic.subscribe({ group: "g", concurrency: 4 }, async (message) => {
    seen.push(`${message.id}${message.signal.aborted}`);
    if (seen.length > 1) return;
    await new Promise<void>((resolve) => (release = resolve));
    await message.ack().catch((error: unknown) => late.push((error as { code: string }).code));
    seen.push(`over ${message.signal.aborted}`);
  });
  const [one, two]: Shard[] = [{ id: "a" }, { id: "a" }];
  side().deliver(delivery(1, { key }, one));
  await clock.advance(10);
  requests[0]?.events.lost(one as Shard, "rebalance");
  side().deliver(delivery(1, { key }, two), delivery(2, {}, two));
  await clock.advance(10);
  expect(seen).toEqual(["a.1false", "a.2false"]);
  expect(side().acked).toEqual([]);
  release();
  await clock.advance(10);
  expect(seen).toEqual(["a.1false", "a.2false", "over true", "a.1false"]);
  expect(late).toEqual(["LOST_OWNERSHIP"]);
  expect(side().acked).toEqual(["a.2"]);
});

test("a commit under way when its shard is lost settles nothing, and is not tried again", async () => {
  const { topic, clock, side, requests } = await setUp({ capabilities: log });
  await topic.subscribe({ group: "g" }, () => {});
  const calls: string[][] = [];
  let answer: (results: readonly SettleResult[]) => void = () => {};
  side().answer = (deliveries) => {
    calls.push(deliveries.map(({ id, shard }) => `${id} ${shard === two ? "again" : "first"}`));
    return new Promise((resolve) => (answer = resolve));
  };
  const [one, two]: Shard[] = [{ id: "a" }, { id: "a" }];
  side().deliver(delivery(1, {}, one));
  await clock.advance(10);
  requests[0]?.events.lost(one as Shard, "rebalance");
  side().deliver(delivery(1, {}, two));
  await clock.advance(10);
  answer([{ error: driverError("UNAVAILABLE", "moved") }]);
  await clock.advance(10);
  answer(["confirmed"]);
  await clock.advance(1_000);
  expect(calls).toEqual([["a.1 first"], ["a.1 again"]]);
});

test("a shard that is lost at its bound is resumed, and the one that is taken again counts from nothing", async () => {
  const { topic, clock, side, requests } = await setUp({
    capabilities: (record) => ({ ...log(record), hold: { maxMs: 600_000, maxUnacked: 10, scope: "shard" } }),
  });
  const seen: string[] = [];
  const subscription = await topic.subscribe({ group: "g", retry: later }, (message) => {
    seen.push(message.id);
    if (message.id === "a.0") throw new Error("no");
  });
  const [one, two]: Shard[] = [{ id: "a" }, { id: "a" }];
  for (let n = 0; n < 50; n++) side().deliver(delivery(n, {}, one));
  await clock.advance(1_000);
  expect([[...side().paused], subscription.state.state]).toEqual([["a"], "stalled"]);
  expect(seen.length).toBeLessThan(20);
  requests[0]?.events.lost(one as Shard, "rebalance");
  expect([[...side().paused], subscription.state.state]).toEqual([[], "running"]);
  for (let n = 1; n < 50; n++) side().deliver(delivery(n, {}, two));
  await clock.advance(1_000);
  expect(side().acked.at(-1)).toBe("a.49");
});

test("twelve thousand deliveries behind one that is held are handled, recorded, and go with one head", async () => {
  const { topic, clock, side } = await setUp({
    capabilities: (record) => ({ ...log(record), hold: { maxMs: 600_000, maxUnacked: 20_000, scope: "shard" } }),
  });
  let handled = 0;
  const subscription = await topic.subscribe({ group: "g", concurrency: 64, retry: later }, (message) => {
    handled++;
    if (message.id === "a.0" && message.attempt === 1) throw new Error("no");
  });
  const calls: number[] = [];
  side().answer = async (deliveries) => {
    calls.push(deliveries.length);
    return deliveries.map(() => "confirmed");
  };
  side().deliver(...Array.from({ length: 12_001 }, (_, n) => delivery(n)));
  for (let turns = 0; turns < 200 && handled < 12_001; turns++) await clock.advance(100);
  expect([handled, side().acked]).toEqual([12_001, []]);
  await clock.advance(30_000);
  expect([side().acked, calls, subscription.state.inFlight]).toEqual([["a.12000"], [1], 0]);
});

test("a key goes on when its message is lost while the dead letter can't be stored", async () => {
  const { topic, clock, side, requests } = await setUp({
    capabilities: log,
    publish: (batch) => batch.map(() => failure("FORBIDDEN", "no")),
  });
  const seen: string[] = [];
  await topic.subscribe({ group: "g", retry: { attempts: 1 } }, (message) => {
    seen.push(message.id);
    if (message.id === "a.1") throw new Error("no");
  });
  const [one, two]: Shard[] = [{ id: "a" }, { id: "a" }];
  side().deliver(delivery(1, { key }, one));
  await clock.advance(60_000);
  requests[0]?.events.lost(one as Shard, "rebalance");
  side().deliver(delivery(2, { key }, two));
  await clock.advance(10);
  expect(seen).toEqual(["a.1", "a.2"]);
});
