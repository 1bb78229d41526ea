import type { WireStart } from "brokerkit/driver";
import { describe, expect, test } from "vitest";
import { bodies, earliest, latest, never, Rig, recordWith } from "./rig.ts";

describe("topics", () => {
  test("are made once, described, and gone when deleted", async () => {
    const rig = await Rig.open();
    const { admin } = rig.driver;
    const spec = { name: "made", partitions: 3, retention: { ms: 1_000 } };
    expect([await admin.createTopic(spec, never), await admin.createTopic({ name: "made" }, never)]).toEqual(["created", "existing"]);
    await admin.createGroup("made", "billing", latest, never);
    expect(await admin.describeTopic("made", never)).toEqual({ partitions: 3, retention: { ms: 1_000 }, groups: ["billing"] });
    expect(await admin.describeTopic(rig.topic, never)).toEqual({ partitions: 1, retention: undefined, groups: [] });
    await admin.deleteTopic("made", never);
    await admin.deleteTopic("made", never);
    expect(await admin.describeTopic("made", never)).toBeUndefined();
    await expect(rig.driver.describe("made", never)).rejects.toMatchObject({ driverCode: "NOT_FOUND" });
    const { topics } = rig.driver.capabilities;
    expect(await rig.driver.describe(rig.topic, never)).toEqual({ ...rig.driver.capabilities, topics: { ...topics, partitions: 1 } });
  });

  test("have no native options", async () => {
    const rig = await Rig.open();
    await expect(rig.driver.admin.createTopic({ name: "x", native: {} }, never)).rejects.toMatchObject({ driverCode: "INVALID_ARGUMENT" });
  });

  test("that are deleted take their subscriptions along, loudly", async () => {
    const rig = await Rig.open();
    const { subscription, events, take } = await rig.join();
    await rig.publish("-1");
    const got = await take();
    const waiting = subscription.receive(10, 60_000, never);
    await rig.driver.admin.deleteTopic(rig.topic, never);
    await expect(waiting).rejects.toMatchObject({ driverCode: "NOT_FOUND" });
    await expect(take()).rejects.toMatchObject({ driverCode: "NOT_FOUND" });
    expect(events.shardsLost).toContain(got[0]?.shard);
    expect(await subscription.ack(got)).toEqual(["lost"]);
  });
});

describe("groups", () => {
  test("are made with their start, without a member", async () => {
    const rig = await Rig.open();
    await rig.publish("-1");
    const { admin } = rig.driver;
    expect(await admin.createGroup(rig.topic, "all", earliest, never)).toBe("created");
    expect(await admin.createGroup(rig.topic, "new", latest, never)).toBe("created");
    expect(await admin.createGroup(rig.topic, "new", earliest, never)).toBe("existing");
    await rig.publish("-2");
    expect(bodies(await (await rig.join("all")).take())).toEqual(["-1", "-2"]);
    expect(bodies(await (await rig.join("new", earliest)).take())).toEqual(["-2"]);
  });

  test("that are deleted begin anew", async () => {
    const rig = await Rig.open();
    const { subscription } = await rig.join();
    const waiting = subscription.receive(10, 60_000, never);
    await rig.driver.admin.deleteGroup(rig.topic, "billing", never);
    await expect(waiting).rejects.toMatchObject({ driverCode: "NOT_FOUND" });
    await subscription.close();
    await rig.publish("-1");
    const again = await rig.join("billing", latest);
    expect([again.subscription.created, await again.take()]).toEqual([true, []]);
  });

  test("that are unknown are NOT_FOUND", async () => {
    const { driver, topic } = await Rig.open();
    for (const call of [
      driver.admin.position(topic, "x", never),
      driver.admin.seek(topic, "x", earliest, never),
      driver.admin.lag(topic, "x", never),
      driver.admin.position("x", undefined, never),
    ]) {
      await expect(call).rejects.toMatchObject({ driverCode: "NOT_FOUND" });
    }
    await driver.admin.deleteGroup(topic, "x", never);
  });
});

describe("position", () => {
  test("is the floor of what is acknowledged, and can be started from", async () => {
    const rig = await Rig.open();
    const member = await rig.join("billing", earliest);
    await rig.publish("-1", "-2", "-3", "-4");
    const [first, , third] = await member.take(3);
    if (first !== undefined && third !== undefined) await member.subscription.ack([first, third]);
    const cut = await rig.driver.admin.position(rig.topic, "billing", never);
    expect(cut).toEqual(new Map([["0", "0:0"]]));
    expect(bodies(await (await rig.join("copy", { kind: "position", cut })).take())).toEqual(["-2", "-3", "-4"]);
    expect(await rig.driver.admin.position(rig.topic, undefined, never)).toEqual(new Map([["0", "0:3"]]));
  });
});

test("a position does not pass over what was given back", async () => {
  const rig = await Rig.open();
  const { subscription, take } = await rig.join("billing", earliest);
  await rig.publish("-1", "-2");
  const [first, second] = await take();
  if (first === undefined || second === undefined) throw new Error("nothing was delivered");
  await subscription.ack([second]);
  await subscription.nack?.([{ delivery: first, delayMs: 60_000, failures: 1 }]);
  expect(await rig.driver.admin.position(rig.topic, "billing", never)).toEqual(new Map());
});

describe("seek", () => {
  const seek = (rig: Rig, to: WireStart) => rig.driver.admin.seek(rig.topic, "billing", to, never);

  test("moves a live group back and forth; what was out is lost, under its old shard", async () => {
    const rig = await Rig.open();
    const { subscription, events, take } = await rig.join();
    await rig.publish("a:1", "a:2");
    const got = await take();
    await rig.publish("a:3");
    await seek(rig, earliest);
    expect(events.shardsLost).toEqual([got[0]?.shard]);
    expect(await subscription.ack(got)).toEqual(["lost", "lost"]);
    const again = await take();
    expect(bodies(again)).toEqual(["a:1", "a:2", "a:3"]);
    expect(again[0]).toMatchObject({ deliveries: 1 });
    expect(again[0]?.shard).not.toBe(got[0]?.shard);
    await seek(rig, latest);
    expect(await take()).toEqual([]);
    expect(await rig.driver.admin.lag(rig.topic, "billing", never)).toEqual({ count: 0, inFlight: 0, oldestMs: 0 });
  });

  test("wakes who waits, and forgets what was held back", async () => {
    const rig = await Rig.open();
    const { subscription, take } = await rig.join();
    await rig.publish("a:1");
    const got = await take();
    await subscription.nack?.(got.map((delivery) => ({ delivery, delayMs: 60_000, failures: 1 })));
    const waiting = subscription.receive(10, 600_000, never);
    await seek(rig, earliest);
    expect(await waiting).toMatchObject([{ failures: 0, deliveries: 1 }]);
    rig.clock.advance(60_000);
    expect(await take()).toMatchObject([{ deliveries: 2 }]);
  });

  test("leaves the inbox as it is", async () => {
    const rig = await Rig.open();
    const { subscription, take } = await rig.join();
    await rig.publishRecords(rig.record("again", { target: { topic: rig.topic, group: "billing" } }));
    const got = await take();
    await seek(rig, latest);
    expect(await subscription.ack(got)).toEqual(["confirmed"]);
  });

  test("before retention tells of the loss at the next receive", async () => {
    const rig = await Rig.open({}, { retention: { ms: 1_000 } });
    const { events, take } = await rig.join();
    await rig.publish("-1");
    rig.clock.advance(1_000);
    await seek(rig, { kind: "position", cut: new Map() });
    expect(await take()).toEqual([]);
    expect(events.losses).toEqual([{ shard: "0", from: "0:0", to: "0:0", missing: 1 }]);
  });

  test("of an idle-only backend names the members", async () => {
    const rig = await Rig.open({ like: recordWith({ seek: "idle" }) });
    const member = await rig.join();
    await expect(seek(rig, earliest)).rejects.toMatchObject({ driverCode: "GROUP_ACTIVE", members: ["member-1"] });
    await member.subscription.close();
    await seek(rig, earliest);
  });
});

describe("lag", () => {
  test("counts everything that is not acknowledged, wherever it is", async () => {
    const rig = await Rig.open({}, { partitions: 2 });
    const { subscription, take } = await rig.join();
    const lag = () => rig.driver.admin.lag(rig.topic, "billing", never);
    expect(await lag()).toEqual({ count: 0, inFlight: 0, oldestMs: 0 });
    await rig.publish("a:1", "b:1", "c:1", "-1");
    rig.clock.advance(500);
    await rig.publishRecords(
      rig.record("inbox", { target: { topic: rig.topic, group: "billing" } }),
      rig.record("later", { delayMs: 9_000 }),
      rig.record("short", { ttlMs: 100 }),
    );
    expect(await lag()).toEqual({ count: 7, inFlight: 0, oldestMs: 500 });
    const got = await take(2);
    expect(await lag()).toEqual({ count: 7, inFlight: 2, oldestMs: 500 });
    await subscription.nack?.(got.map((delivery) => ({ delivery, delayMs: 5_000, failures: 1 })));
    expect(await lag()).toEqual({ count: 7, inFlight: 0, oldestMs: 500 });
    rig.clock.advance(100);
    expect(await lag()).toEqual({ count: 6, inFlight: 0, oldestMs: 600 });
    rig.clock.advance(10_000);
    const rest = await take();
    await subscription.ack(rest);
    expect([rest.length, await lag()]).toEqual([6, { count: 0, inFlight: 0, oldestMs: 0 }]);
  });

  test("does not count what retention took", async () => {
    const rig = await Rig.open({}, { retention: { ms: 1_000 } });
    await rig.join();
    await rig.publish("-1", "-2");
    rig.clock.advance(1_000);
    await rig.publish("-3");
    expect(await rig.driver.admin.lag(rig.topic, "billing", never)).toMatchObject({ count: 1, oldestMs: 0 });
  });
});
