import { describe, expect, test } from "vitest";
import { bodies, bytes, earliest, never, Rig, text } from "./rig.ts";

describe("publish", () => {
  test("answers each record with its place", async () => {
    const rig = await Rig.open();
    const results = await rig.publishRecords(rig.record("1"), rig.record("2"));
    expect(results.map((result) => result.ok && result.place)).toEqual(["0:0", "0:1"]);
  });

  test("keeps nothing that belongs to the caller", async () => {
    const rig = await Rig.open();
    const [key, body, value] = [bytes("key"), bytes("body"), bytes("value")];
    await rig.publishRecords(rig.record("", { key, body, headers: [["name", value]] }));
    for (const array of [key, body, value]) array.fill(0);
    const { deliveries } = await rig.replay();
    expect(deliveries.map((one) => [text(one.key), text(one.body), one.headers.map(([name, bytes]) => [name, text(bytes)])])).toEqual([
      ["key", "body", [["name", "value"]]],
    ]);
  });

  test("gives each reader bytes of its own", async () => {
    const rig = await Rig.open();
    await rig.publish("untouched");
    const [first] = (await rig.replay()).deliveries;
    first?.body?.fill(0);
    expect(bodies((await rig.replay()).deliveries)).toEqual(["untouched"]);
  });

  test("tells an empty body from none, and an empty key from none", async () => {
    const rig = await Rig.open();
    await rig.publishRecords(rig.record("", { key: bytes("") }), { ...rig.record(""), body: null });
    const { deliveries } = await rig.replay();
    expect(deliveries.map(({ key, body }) => [key?.length, body?.length])).toEqual([
      [0, 0],
      [undefined, undefined],
    ]);
  });

  test("keeps a body that is larger than a slab, and what stands around it", async () => {
    const rig = await Rig.open();
    const large = "x".repeat(100_000);
    await rig.publish("before", large, "after");
    expect(bodies((await rig.replay()).deliveries)).toEqual(["before", large, "after"]);
  });

  test("stores nothing when the signal is aborted already", async () => {
    const rig = await Rig.open();
    const results = await rig.driver.publish([rig.record("1")], AbortSignal.abort(new Error("gone")));
    expect(results).toEqual([{ ok: false, error: new Error("gone"), sent: "no" }]);
    expect((await rig.replay()).deliveries).toEqual([]);
  });

  test("judges records one by one where topics are missing", async () => {
    const rig = await Rig.open();
    const results = await rig.publishRecords(
      rig.record("1"),
      rig.record("2", { target: { topic: "missing" } }),
      rig.record("3", { target: { topic: "orders", group: "missing" } }),
      rig.record("4"),
    );
    expect(results.map((result) => (result.ok ? "ok" : [result.sent, rig.driver.classify(result.error).code]))).toEqual([
      "ok",
      ["no", "NOT_FOUND"],
      ["no", "NOT_FOUND"],
      "ok",
    ]);
  });

  test("does not begin before connect, nor after close", async () => {
    const rig = await Rig.open();
    await rig.driver.close();
    const [result] = await rig.publishRecords(rig.record("1"));
    expect(result).toMatchObject({ ok: false, sent: "no", error: { driverCode: "CLOSED" } });
    const fresh = rig.adapter.open({ clock: rig.clock, down: () => {} });
    const [early] = await fresh.publish([rig.record("1")], never);
    expect(early).toMatchObject({ ok: false, sent: "no", error: { driverCode: "INTERNAL" } });
  });

  test("puts one key into one shard and spreads what has none", async () => {
    const rig = await Rig.open({}, { partitions: 4 });
    await rig.publish("a:1", "a:2", "a:3", "-1", "-2", "-3", "-4");
    const { deliveries } = await rig.replay();
    const shardsOf = (prefix: string): number =>
      new Set(deliveries.filter((one) => text(one.body).startsWith(prefix)).map((one) => one.shard.id)).size;
    expect([shardsOf("a:"), shardsOf("-")]).toEqual([1, 4]);
  });
});

describe("dedupe", () => {
  test("stores a dedupeId once within the window, and again after it", async () => {
    const rig = await Rig.open({ dedupeMs: 1_000 });
    const record = rig.record("once");
    await rig.publishRecords(record);
    rig.clock.advance(999);
    expect(await rig.publishRecords(record)).toEqual([{ ok: true, duplicate: true }]);
    rig.clock.advance(1);
    expect(await rig.publishRecords(record)).toMatchObject([{ ok: true, place: "0:1" }]);
    rig.clock.advance(999);
    expect(await rig.publishRecords(record)).toEqual([{ ok: true, duplicate: true }]);
  });

  test("sees a duplicate within one call", async () => {
    const rig = await Rig.open();
    const record = rig.record("once");
    const results = await rig.publishRecords(record, record);
    expect(results.map((result) => result.ok && result.duplicate === true)).toEqual([false, true]);
  });

  test("swallows a requeue that keeps the old dedupeId, and lets one with a new one through", async () => {
    const rig = await Rig.open();
    const member = await rig.join();
    const record = rig.record("1");
    await rig.publishRecords(record);
    await member.subscription.ack(await member.take());
    const again = { ...record, target: { topic: rig.topic, group: "billing" } };
    expect(await rig.publishRecords(again)).toEqual([{ ok: true, duplicate: true }]);
    expect(await member.take()).toEqual([]);
    await rig.publishRecords({ ...again, dedupeId: `${record.id}#billing#1` });
    expect(bodies(await member.take())).toEqual(["1"]);
  });

  test("dedupeMs: 0 switches it off", async () => {
    const rig = await Rig.open({ dedupeMs: 0 });
    const record = rig.record("twice");
    await rig.publishRecords(record, record);
    expect((await rig.replay()).deliveries).toHaveLength(2);
  });
});

describe("delay, time to live, priority", () => {
  test("a delayed message is there when it is due, not before", async () => {
    const rig = await Rig.open();
    const member = await rig.join();
    const results = await rig.publishRecords(rig.record("later", { delayMs: 500 }), rig.record("now"));
    expect(results[0]).toEqual({ ok: true });
    expect(bodies(await member.take())).toEqual(["now"]);
    rig.clock.advance(499);
    expect(await member.take()).toEqual([]);
    rig.clock.advance(1);
    expect(bodies(await member.take())).toEqual(["later"]);
  });

  test("a delayed message wakes who waits for it", async () => {
    const rig = await Rig.open();
    const member = await rig.join();
    await rig.publishRecords(rig.record("later", { delayMs: 500 }));
    const waiting = member.subscription.receive(10, 60_000, never);
    rig.clock.advance(500);
    expect(bodies(await waiting)).toEqual(["later"]);
  });

  test("a group that starts at latest does not get what was published before it, even if that was delayed", async () => {
    const rig = await Rig.open();
    await rig.publishRecords(rig.record("before", { delayMs: 500 }));
    const [fresh, old] = [await rig.join("fresh"), await rig.join("old", earliest)];
    await rig.publishRecords(rig.record("after", { delayMs: 500 }));
    rig.clock.advance(500);
    expect([bodies(await fresh.take()), bodies(await old.take())]).toEqual([["after"], ["before", "after"]]);
  });

  test("a message is not delivered after its time to live, neither at first nor again", async () => {
    const rig = await Rig.open();
    const member = await rig.join();
    await rig.publishRecords(rig.record("short", { ttlMs: 100 }), rig.record("long", { ttlMs: 1_000 }));
    rig.clock.advance(100);
    const got = await member.take();
    expect(bodies(got)).toEqual(["long"]);
    await member.subscription.nack?.(got.map((delivery) => ({ delivery, delayMs: 1_000, failures: 1 })));
    rig.clock.advance(1_000);
    expect(await member.take()).toEqual([]);
    expect(await rig.driver.admin.lag(rig.topic, "billing", never)).toEqual({ count: 0, inFlight: 0, oldestMs: 0 });
  });

  test("a time to live that ran out does not hold up its key", async () => {
    const rig = await Rig.open();
    const member = await rig.join();
    await rig.publishRecords(rig.record("1", { on: "a", ttlMs: 100 }));
    const got = await member.take();
    await rig.publish("a:2");
    await member.subscription.nack?.(got.map((delivery) => ({ delivery, delayMs: 200, failures: 1 })));
    rig.clock.advance(200);
    expect(bodies(await member.take())).toEqual(["a:2"]);
  });

  test("higher priority goes first; equal ones keep their order", async () => {
    const rig = await Rig.open();
    const member = await rig.join();
    await rig.publishRecords(...[0, 5, 9, 5, 0].map((priority, n) => rig.record(`${priority}#${n}`, { priority })));
    expect(bodies(await member.take(3))).toEqual(["9#2", "5#1", "5#3"]);
    await rig.publishRecords(rig.record("7#5", { priority: 7 }));
    expect(bodies(await member.take())).toEqual(["7#5", "0#0", "0#4"]);
  });

  test("priority never overtakes within a key", async () => {
    const rig = await Rig.open();
    const member = await rig.join();
    await rig.publishRecords(
      rig.record("a1", { on: "a", priority: 0 }),
      rig.record("a2", { on: "a", priority: 9 }),
      rig.record("b", { priority: 5 }),
    );
    expect(bodies(await member.take())).toEqual(["b", "a1", "a2"]);
  });
});
