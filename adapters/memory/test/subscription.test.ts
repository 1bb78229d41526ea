import type { WireDelivery } from "brokerkit/driver";
import { describe, expect, test } from "vitest";
import { bodies, earliest, latest, type MemberRig, never, Rig } from "./rig.ts";

const LEASE = 30_000;
const nack = (member: MemberRig, deliveries: readonly WireDelivery[], delayMs = 0, failures = 1) =>
  member.subscription.nack?.(deliveries.map((delivery) => ({ delivery, delayMs, failures })));

describe("groups", () => {
  test("start at latest as of their creation, and stay where they are for who joins later", async () => {
    const rig = await Rig.open();
    await rig.publish("-before");
    const first = await rig.join("billing", latest);
    await rig.publish("-after");
    const second = await rig.join("billing", earliest);
    expect([first.subscription.created, second.subscription.created]).toEqual([true, false]);
    expect(bodies(await second.take())).toEqual(["-after"]);
  });

  test("keep what arrives while nobody listens", async () => {
    const rig = await Rig.open();
    const first = await rig.join();
    await first.subscription.close();
    await rig.publish("-1", "-2");
    expect(bodies(await (await rig.join()).take())).toEqual(["-1", "-2"]);
  });

  test("of one topic get everything each, and their members share", async () => {
    const rig = await Rig.open();
    const [a, b, other] = [await rig.join(), await rig.join(), await rig.join("audit")];
    await rig.publish("-1", "-2", "-3", "-4");
    const [left, right] = [bodies(await a.take(2)), bodies(await b.take())];
    expect([...left, ...right].sort()).toEqual(["-1", "-2", "-3", "-4"]);
    expect(left).toHaveLength(2);
    expect(bodies(await other.take())).toEqual(["-1", "-2", "-3", "-4"]);
  });

  test("start from earliest, a time or a position", async () => {
    const rig = await Rig.open();
    await rig.publish("-1");
    const cut = await rig.driver.admin.position(rig.topic, undefined, never);
    rig.clock.advance(1_000);
    const ms = rig.clock.now();
    await rig.publish("-2");
    const from = async (name: string, start: Parameters<Rig["join"]>[1]) => bodies(await (await rig.join(name, start)).take());
    expect(await from("e", earliest)).toEqual(["-1", "-2"]);
    expect(await from("t", { kind: "time", ms })).toEqual(["-2"]);
    expect(await from("p", { kind: "position", cut })).toEqual(["-2"]);
    expect(await from("n", { kind: "position", cut: new Map() })).toEqual(["-1", "-2"]);
  });

  test("share what is published at once among those who wait", async () => {
    const rig = await Rig.open();
    const members = [await rig.join(), await rig.join()];
    const waiting = members.map(({ subscription }) => subscription.receive(100, 60_000, never));
    await rig.publishRecords(...Array.from({ length: 10 }, (_, n) => rig.record(`${n}`)));
    expect((await Promise.all(waiting)).map(({ length }) => length)).toEqual([5, 5]);
  });

  test("need a topic that exists", async () => {
    const rig = await Rig.open();
    await rig.driver.admin.deleteTopic(rig.topic, never);
    await expect(rig.join()).rejects.toMatchObject({ driverCode: "NOT_FOUND" });
  });
});

describe("receive", () => {
  test("waits up to waitMs and then comes back empty-handed", async () => {
    const rig = await Rig.open();
    const { subscription } = await rig.join();
    const waiting = subscription.receive(10, 5_000, never);
    rig.clock.advance(5_000);
    expect(await waiting).toEqual([]);
    expect(rig.clock.pending).toBe(0);
  });

  test("wakes on publish, without a timer of the driver's own", async () => {
    const rig = await Rig.open();
    const { subscription } = await rig.join();
    const waiting = subscription.receive(10, Number.POSITIVE_INFINITY, never);
    expect(rig.clock.pending).toBe(0);
    await rig.publish("-1");
    expect(bodies(await waiting)).toEqual(["-1"]);
  });

  test("ends on abort with nothing lost", async () => {
    const rig = await Rig.open();
    const { subscription, take } = await rig.join();
    const abort = new AbortController();
    const waiting = subscription.receive(10, 60_000, abort.signal);
    abort.abort();
    expect(await waiting).toEqual([]);
    await rig.publish("-1");
    expect(await subscription.receive(10, 0, abort.signal)).toEqual([]);
    expect(bodies(await take())).toEqual(["-1"]);
  });

  test("hands over what was assigned when the abort comes after", async () => {
    const rig = await Rig.open();
    const { subscription } = await rig.join();
    const abort = new AbortController();
    const waiting = subscription.receive(10, 60_000, abort.signal);
    const published = rig.publish("-1");
    abort.abort();
    await published;
    expect(bodies(await waiting)).toEqual(["-1"]);
  });

  test("serves several at once, first come first served", async () => {
    const rig = await Rig.open();
    const { subscription } = await rig.join();
    const waiting = [1, 2, 3].map(() => subscription.receive(1, 60_000, never));
    await rig.publishRecords(rig.record("1"), rig.record("2"), rig.record("3"));
    expect((await Promise.all(waiting)).map(bodies)).toEqual([["1"], ["2"], ["3"]]);
  });

  test("takes from all shards, however full one of them is", async () => {
    const rig = await Rig.open({}, { partitions: 2 });
    const { take } = await rig.join();
    await rig.publish(...Array.from({ length: 20 }, (_, n) => `a:${n}`), "b:1", "c:1", "d:1", "e:1");
    const shards = new Set((await take(10)).map(({ shard }) => shard.id));
    expect(shards).toEqual(new Set(["0", "1"]));
  });

  test("leaves paused shards alone until they are resumed", async () => {
    const rig = await Rig.open();
    const { subscription, take } = await rig.join();
    subscription.pause?.(["0"]);
    await rig.publish("-1");
    expect(await take()).toEqual([]);
    const waiting = subscription.receive(10, 60_000, never);
    subscription.resume?.(["0"]);
    expect(bodies(await waiting)).toEqual(["-1"]);
  });
});

describe("ack", () => {
  test("is final, also for who joins later", async () => {
    const rig = await Rig.open();
    const first = await rig.join();
    await rig.publish("-1", "-2");
    const [one] = await first.take();
    if (one !== undefined) expect(await first.subscription.ack([one])).toEqual(["confirmed"]);
    await first.subscription.close();
    expect(bodies(await (await rig.join()).take())).toEqual(["-2"]);
  });

  test("twice, or of another member's delivery, changes nothing", async () => {
    const rig = await Rig.open();
    const [a, b] = [await rig.join(), await rig.join()];
    await rig.publish("-1");
    const got = await a.take();
    expect(await b.subscription.ack(got)).toEqual(["lost"]);
    expect(await a.subscription.ack(got)).toEqual(["confirmed"]);
    expect(await a.subscription.ack(got)).toEqual(["lost"]);
    expect(await nack(a, got)).toEqual(["lost"]);
    expect(await a.subscription.extend?.(got, 1_000)).toEqual(["lost"]);
  });

  test("out of order passes over no gap", async () => {
    const rig = await Rig.open();
    const first = await rig.join();
    await rig.publish("-1", "-2", "-3");
    const [, second, third] = await first.take();
    if (second !== undefined && third !== undefined) await first.subscription.ack([third, second]);
    expect(await rig.driver.admin.position(rig.topic, "billing", never)).toEqual(new Map());
    await first.subscription.close();
    expect(bodies(await (await rig.join()).take())).toEqual(["-1"]);
  });
});

describe("leases", () => {
  test("end at leaseUntil; then another member gets the message, and the old settle is lost", async () => {
    const rig = await Rig.open();
    const [a, b] = [await rig.join(), await rig.join()];
    await rig.publish("-1");
    const got = await a.take();
    expect(got[0]?.leaseUntil).toBe(LEASE);
    rig.clock.advance(LEASE - 1);
    expect(await b.take()).toEqual([]);
    rig.clock.advance(1);
    expect(await a.subscription.ack(got)).toEqual(["lost"]);
    const [again] = await b.take();
    expect(again).toMatchObject({ deliveries: 2, failures: 0 });
    expect(await a.subscription.ack(got)).toEqual(["lost"]);
    if (again !== undefined) expect(await b.subscription.ack([again])).toEqual(["confirmed"]);
  });

  test("that run out wake who waits", async () => {
    const rig = await Rig.open();
    const [a, b] = [await rig.join(), await rig.join()];
    await rig.publish("-1");
    await a.take();
    const waiting = b.subscription.receive(10, 600_000, never);
    rig.clock.advance(LEASE);
    expect(bodies(await waiting)).toEqual(["-1"]);
  });

  test("of a receive that did not wait wake others who do", async () => {
    const rig = await Rig.open();
    const [a, b] = [await rig.join(), await rig.join()];
    b.subscription.pause?.(["0"]);
    const waiting = b.subscription.receive(10, 600_000, never);
    await rig.publish("-1");
    expect(await a.take()).toHaveLength(1);
    b.subscription.resume?.(["0"]);
    rig.clock.advance(LEASE);
    expect(bodies(await waiting)).toEqual(["-1"]);
  });

  test("can be extended while they last, and shortened", async () => {
    const rig = await Rig.open();
    const [a, b] = [await rig.join(), await rig.join()];
    await rig.publish("-1", "-2");
    const got = await a.take();
    rig.clock.advance(LEASE - 1);
    expect(await a.subscription.extend?.(got.slice(0, 1), 1_000)).toEqual(["confirmed"]);
    expect(got[0]?.leaseUntil).toBe(LEASE - 1 + 1_000);
    rig.clock.advance(999);
    expect(bodies(await b.take())).toEqual(["-2"]);
    expect(await a.subscription.extend?.(got, 1_000)).toEqual(["confirmed", "lost"]);
    rig.clock.advance(1_000);
    expect(bodies(await b.take())).toEqual(["-1"]);
  });

  test("are as long as the option says", async () => {
    const rig = await Rig.open({ leaseMs: 1_000 });
    const member = await rig.join();
    await rig.publish("-1");
    expect((await member.take())[0]?.leaseUntil).toBe(1_000);
    expect(rig.adapter.capabilities.lease).toEqual({ ms: 1_000, extend: true });
  });
});

describe("nack", () => {
  test("brings the message back at once, with its failures counted", async () => {
    const rig = await Rig.open();
    const member = await rig.join();
    await rig.publish("-1");
    expect(await nack(member, await member.take(), 0, 1)).toEqual(["confirmed"]);
    const again = await member.take();
    expect(again).toMatchObject([{ deliveries: 2, failures: 1 }]);
    await nack(member, again, 0, 7);
    expect(await member.take()).toMatchObject([{ deliveries: 3, failures: 7 }]);
  });

  test("with a delay brings it back not before, and wakes who waits then", async () => {
    const rig = await Rig.open();
    const member = await rig.join();
    await rig.publish("-1");
    await nack(member, await member.take(), 2_000);
    rig.clock.advance(1_999);
    expect(await member.take()).toEqual([]);
    const waiting = member.subscription.receive(10, 60_000, never);
    rig.clock.advance(1);
    expect(bodies(await waiting)).toEqual(["-1"]);
  });
});

describe("close", () => {
  test("gives back what is unsettled at once and counts no failure", async () => {
    const rig = await Rig.open();
    const [a, b] = [await rig.join(), await rig.join()];
    await rig.publish("-1", "-2");
    const got = await a.take();
    const waiting = b.subscription.receive(10, 60_000, never);
    await a.subscription.close();
    expect(await waiting).toMatchObject([
      { deliveries: 2, failures: 0 },
      { deliveries: 2, failures: 0 },
    ]);
    expect(await a.subscription.ack(got)).toEqual(["lost", "lost"]);
    expect(a.events.shardsLost).toEqual([]);
  });

  test("ends receives that wait, is idempotent, and nothing is received after it", async () => {
    const rig = await Rig.open();
    const { subscription } = await rig.join();
    const waiting = subscription.receive(10, 60_000, never);
    await Promise.all([subscription.close(), subscription.close()]);
    expect(await waiting).toEqual([]);
    await expect(subscription.receive(1, 0, never)).rejects.toMatchObject({ driverCode: "CLOSED" });
  });

  test("of the driver closes its subscriptions and leaves no timer", async () => {
    const rig = await Rig.open();
    const other = await rig.second();
    const [mine, theirs] = [await rig.join(), await rig.join("billing", latest, other)];
    await rig.publishRecords(rig.record("1"), rig.record("2", { delayMs: 60_000 }));
    await mine.take();
    const waiting = theirs.subscription.receive(10, 60_000, never);
    await rig.driver.close();
    expect(bodies(await waiting)).toEqual(["1"]);
    await other.close();
    expect(rig.clock.pending).toBe(0);
  });
});

describe("keys", () => {
  test("are with one member at a time: who has one gets more of it, others get other keys", async () => {
    const rig = await Rig.open();
    const [a, b] = [await rig.join(), await rig.join()];
    await rig.publish("a:1", "a:2", "b:1", "a:3", "-1");
    const first = await a.take(1);
    expect(bodies(first)).toEqual(["a:1"]);
    expect(bodies(await b.take())).toEqual(["b:1", "-1"]);
    const more = await a.take();
    expect(bodies(more)).toEqual(["a:2", "a:3"]);
    await rig.publish("a:4");
    await a.subscription.ack([...first, ...more]);
    expect(bodies(await b.take())).toEqual(["a:4"]);
  });

  test("wake another member when they become free", async () => {
    const rig = await Rig.open();
    const [a, b] = [await rig.join(), await rig.join()];
    await rig.publish("a:1", "a:2");
    const got = await a.take(1);
    const waiting = b.subscription.receive(10, 60_000, never);
    await a.subscription.ack(got);
    expect(bodies(await waiting)).toEqual(["a:2"]);
  });

  test("wait behind a delayed redelivery, and nothing else does", async () => {
    const rig = await Rig.open();
    const [a, b] = [await rig.join(), await rig.join()];
    await rig.publish("a:1");
    await nack(a, await a.take(), 5_000);
    await rig.publish("a:2", "b:1", "-1");
    expect(bodies(await b.take())).toEqual(["b:1", "-1"]);
    rig.clock.advance(5_000);
    expect(bodies(await b.take())).toEqual(["a:1", "a:2"]);
  });

  test("come back in publish order, whatever the order of giving back", async () => {
    const rig = await Rig.open();
    const [a, b] = [await rig.join(), await rig.join()];
    await rig.publish("a:1", "a:2", "a:3");
    const got = await a.take();
    await nack(a, got.slice(2));
    expect(await b.take()).toEqual([]);
    await nack(a, got.slice(0, 1), 1_000);
    await nack(a, got.slice(1, 2));
    expect(await b.take()).toEqual([]);
    rig.clock.advance(1_000);
    expect(bodies(await b.take())).toEqual(["a:1", "a:2", "a:3"]);
  });

  test("are free after a lease that ran out only when all their deliveries are", async () => {
    const rig = await Rig.open();
    const [a, b] = [await rig.join(), await rig.join()];
    await rig.publish("a:1");
    await a.take();
    rig.clock.advance(LEASE / 2);
    await rig.publish("a:2");
    await a.take();
    rig.clock.advance(LEASE / 2);
    expect(await b.take()).toEqual([]);
    rig.clock.advance(LEASE / 2);
    expect(bodies(await b.take())).toEqual(["a:1", "a:2"]);
  });

  test("with one hash are still two keys", async () => {
    const rig = await Rig.open();
    const [a, b] = [await rig.join(), await rig.join()];
    // FNV-1a of both is 0x5e4daa9d.
    await rig.publish("costarring:1", "liquid:1", "costarring:2");
    expect(bodies(await a.take(1))).toEqual(["costarring:1"]);
    expect(bodies(await b.take())).toEqual(["liquid:1"]);
  });

  test("in their thousands are forgotten when idle, and kept while they are not", async () => {
    const rig = await Rig.open();
    const [a, b] = [await rig.join(), await rig.join()];
    await rig.publish("held:1");
    const held = await a.take();
    for (let n = 0; n < 3_000; n++) {
      await rig.publish(`k${n}:1`);
      await a.subscription.ack(await a.take());
    }
    await rig.publish("held:2");
    expect(await b.take()).toEqual([]);
    await a.subscription.ack(held);
    expect(bodies(await b.take())).toEqual(["held:2"]);
  });
});

describe("the group's inbox", () => {
  const requeue = (rig: Rig, body: string, more: object = {}) =>
    rig.publishRecords(rig.record(body, { target: { topic: rig.topic, group: "billing" }, on: "a", ...more }));

  test("reaches this group only, outside the topic's order, with its failures", async () => {
    const rig = await Rig.open();
    const [billing, audit] = [await rig.join(), await rig.join("audit")];
    await rig.publish("a:1");
    const held = await billing.take();
    await requeue(rig, "again", { failures: 3 });
    const [again] = await billing.take();
    expect(again).toMatchObject({ inbox: true, failures: 3, deliveries: 1, place: "inbox:0", shard: { id: "inbox" } });
    expect(held[0]).toMatchObject({ inbox: false });
    expect(bodies(await audit.take())).toEqual(["a:1"]);
    expect((await rig.replay()).deliveries).toHaveLength(1);
    if (again !== undefined) await billing.subscription.ack([again, ...held]);
    expect(await rig.driver.admin.lag(rig.topic, "billing", never)).toMatchObject({ count: 0 });
  });

  test("keeps the order of a key among its own", async () => {
    const rig = await Rig.open();
    const [a, b] = [await rig.join(), await rig.join()];
    await requeue(rig, "1");
    await requeue(rig, "2");
    expect(bodies(await a.take(1))).toEqual(["1"]);
    expect(await b.take()).toEqual([]);
    expect(bodies(await a.take())).toEqual(["2"]);
  });

  test("may hold back what it gets", async () => {
    const rig = await Rig.open();
    const member = await rig.join();
    await requeue(rig, "later", { delayMs: 1_000 });
    expect(await rig.driver.admin.lag(rig.topic, "billing", never)).toMatchObject({ count: 1, oldestMs: 0 });
    expect(await member.take()).toEqual([]);
    rig.clock.advance(1_000);
    expect(bodies(await member.take())).toEqual(["later"]);
  });
});

describe("broadcast", () => {
  test("gives everything to everybody and needs no ack", async () => {
    const rig = await Rig.open();
    await rig.publish("-before");
    const [a, b, all] = [await rig.broadcast(), await rig.broadcast(), await rig.broadcast(earliest)];
    await rig.publish("-1", "-2");
    expect(bodies(await a.take())).toEqual(["-1", "-2"]);
    expect(bodies(await b.take())).toEqual(["-1", "-2"]);
    expect(bodies(await all.take())).toEqual(["-before", "-1", "-2"]);
    rig.clock.advance(10 * LEASE);
    expect(await a.take()).toEqual([]);
  });

  test("says where it started, and goes on from there for who comes back", async () => {
    const rig = await Rig.open();
    await rig.publish("-1");
    const first = await rig.broadcast();
    expect(first.subscription).toMatchObject({ created: true, start: new Map([["0", "0:0"]]) });
    await first.subscription.close();
    await rig.publish("-2");
    const start = first.subscription.start ?? new Map();
    expect(bodies(await (await rig.broadcast({ kind: "position", cut: start })).take())).toEqual(["-2"]);
  });

  test("has nothing to give back or to extend", async () => {
    const rig = await Rig.open();
    const { subscription, take } = await rig.broadcast();
    await rig.publish("-1");
    const got = await take();
    expect(got[0]?.leaseUntil).toBe(Number.POSITIVE_INFINITY);
    expect([subscription.nack, subscription.extend]).toEqual([undefined, undefined]);
    expect(await subscription.ack(got)).toEqual(["confirmed"]);
    expect(await subscription.ack(got)).toEqual(["lost"]);
  });

  test("wakes on publish", async () => {
    const rig = await Rig.open();
    const { subscription } = await rig.broadcast();
    const waiting = subscription.receive(10, 60_000, never);
    await rig.publish("-1");
    expect(bodies(await waiting)).toEqual(["-1"]);
  });
});
