import { describe, expect, test } from "vitest";
import { bodies, Events, earliest, latest, never, Rig } from "./rig.ts";

const request = (rig: Rig, more: object = {}) => ({ topic: rig.topic, from: earliest, follow: false, events: new Events(), ...more });

describe("replay", () => {
  test("gives what was there when it opened, and moves no group", async () => {
    const rig = await Rig.open();
    const member = await rig.join();
    await rig.publish("-1", "-2");
    const cursor = await rig.driver.replay(request(rig), never);
    await rig.publish("-3");
    expect(cursor.end).toEqual(new Map([["0", "0:1"]]));
    const first = await cursor.receive(1, 1_000, never);
    expect([bodies(first.deliveries), first.atEnd]).toEqual([["-1"], false]);
    const second = await cursor.receive(10, 1_000, never);
    expect([bodies(second.deliveries), second.atEnd]).toEqual([["-2"], true]);
    expect(await cursor.receive(10, 1_000, never)).toEqual({ deliveries: [], atEnd: true });
    expect(bodies(await member.take())).toEqual(["-1", "-2", "-3"]);
  });

  test("is at its end at once where the topic is empty, or the position is past the end", async () => {
    const rig = await Rig.open();
    const empty = await rig.driver.replay(request(rig), never);
    expect(empty.end).toEqual(new Map());
    expect(await empty.receive(10, 60_000, never)).toEqual({ deliveries: [], atEnd: true });
    await rig.publish("-1");
    const cut = new Map([["0", "0:99"]]);
    const past = await rig.driver.replay(request(rig, { from: { kind: "position", cut } }), never);
    expect(await past.receive(10, 60_000, never)).toEqual({ deliveries: [], atEnd: true });
  });

  test("follows on behind its end, and wakes on publish", async () => {
    const rig = await Rig.open();
    await rig.publish("-1");
    const cursor = await rig.driver.replay(request(rig, { follow: true }), never);
    expect((await cursor.receive(10, 1_000, never)).atEnd).toBe(true);
    const waiting = cursor.receive(10, 60_000, never);
    await rig.publish("-2");
    expect(bodies((await waiting).deliveries)).toEqual(["-2"]);
    const idle = cursor.receive(10, 60_000, never);
    await cursor.close();
    expect(await idle).toEqual({ deliveries: [], atEnd: true });
  });

  test("starts at a time or a position, and ends before a time or behind a position", async () => {
    const rig = await Rig.open({}, { partitions: 2 });
    for (const key of ["a", "b", "c", "d"]) {
      await rig.publish(`${key}:1`, `${key}:2`);
      rig.clock.advance(1_000);
    }
    const begin = rig.clock.now() - 4_000;
    const at = (seconds: number) => ({ kind: "time" as const, ms: begin + seconds * 1_000 });
    const sorted = async (...range: Parameters<Rig["replay"]>) => bodies((await rig.replay(...range)).deliveries).sort();
    expect(await sorted(at(1), at(3))).toEqual(["b:1", "b:2", "c:1", "c:2"]);
    expect(await sorted(at(9))).toEqual([]);
    expect(await sorted(earliest, at(0))).toEqual([]);
    const cursor = await rig.driver.replay(request(rig, { to: at(2) }), never);
    expect(await sorted(earliest, { kind: "position", cut: cursor.end })).toEqual(["a:1", "a:2", "b:1", "b:2"]);
    expect(await sorted({ kind: "position", cut: cursor.end })).toEqual(["c:1", "c:2", "d:1", "d:2"]);
  });

  test("finds a time in a long log", async () => {
    const rig = await Rig.open();
    for (let n = 0; n < 5; n++) {
      await rig.publishRecords(...Array.from({ length: 700 }, () => rig.record(`${n}`)));
      rig.clock.advance(1_000);
    }
    const { deliveries } = await rig.replay({ kind: "time", ms: rig.clock.now() - 2_000 });
    expect([deliveries.length, deliveries[0]?.place]).toEqual([1_400, "0:2100"]);
  });

  test("begins with the first message of a time or later, wherever it is", async () => {
    const rig = await Rig.open();
    await rig.publishRecords(...[5, 1, 9, 2].map((publishedAt) => rig.record(`${publishedAt}`, { publishedAt })));
    const from = async (ms: number) => bodies((await rig.replay({ kind: "time", ms })).deliveries);
    expect(await from(2)).toEqual(["5", "1", "9", "2"]);
    expect(await from(6)).toEqual(["9", "2"]);
  });

  test("leaves out what is past its time to live", async () => {
    const rig = await Rig.open();
    await rig.publishRecords(rig.record("short", { ttlMs: 100 }), rig.record("long"));
    rig.clock.advance(100);
    expect(bodies((await rig.replay()).deliveries)).toEqual(["long"]);
    expect(bodies(await (await rig.broadcast(earliest)).take())).toEqual(["long"]);
  });

  test("does not show a delayed message before its time", async () => {
    const rig = await Rig.open();
    await rig.publishRecords(rig.record("later", { delayMs: 1_000 }), rig.record("now"));
    expect(bodies((await rig.replay()).deliveries)).toEqual(["now"]);
    rig.clock.advance(1_000);
    expect(bodies((await rig.replay()).deliveries)).toEqual(["now", "later"]);
  });

  test("ends on a topic that is deleted", async () => {
    const rig = await Rig.open();
    const cursor = await rig.driver.replay(request(rig, { follow: true }), never);
    const waiting = cursor.receive(10, 60_000, never);
    await rig.driver.admin.deleteTopic(rig.topic, never);
    await expect(waiting).rejects.toMatchObject({ driverCode: "NOT_FOUND" });
    await expect(rig.replay()).rejects.toMatchObject({ driverCode: "NOT_FOUND" });
  });

  test("ends on abort", async () => {
    const rig = await Rig.open();
    const cursor = await rig.driver.replay(request(rig, { follow: true }), never);
    const abort = new AbortController();
    const waiting = cursor.receive(10, 60_000, abort.signal);
    abort.abort();
    expect(await waiting).toEqual({ deliveries: [], atEnd: true });
  });

  test("refuses a start that replays have not", async () => {
    const rig = await Rig.open();
    await expect(rig.driver.replay(request(rig, { from: latest }), never)).rejects.toMatchObject({ driverCode: "UNSUPPORTED" });
  });
});

describe("retention", () => {
  test("by age takes what is too old, and readers that had not seen it are told once", async () => {
    const rig = await Rig.open({}, { retention: { ms: 1_000 } });
    const cut = await rig.driver.admin.position(rig.topic, undefined, never);
    const [group, broadcast] = [await rig.join(), await rig.broadcast()];
    await rig.publish("-1", "-2");
    rig.clock.advance(999);
    await rig.publish("-3");
    rig.clock.advance(1);
    const loss = { shard: "0", from: "0:0", to: "0:1", missing: 2 };
    for (const { take } of [group, broadcast]) expect(bodies(await take())).toEqual(["-3"]);
    await rig.publish("-4");
    for (const { take, events } of [group, broadcast]) expect([bodies(await take()), events.losses]).toEqual([["-4"], [loss]]);
    const replayed = await rig.replay({ kind: "position", cut });
    expect([bodies(replayed.deliveries), replayed.events.losses]).toEqual([["-3", "-4"], [loss]]);
    expect((await rig.replay(earliest)).events.losses).toEqual([]);
  });

  test("passed by a start time is a loss of unknown extent", async () => {
    const rig = await Rig.open({}, { retention: { ms: 1_000 } });
    const ms = rig.clock.now();
    await rig.publish("-1");
    rig.clock.advance(1_000);
    await rig.publish("-2");
    const lost = [{ shard: "0", from: undefined, to: "0:0", missing: undefined }];
    const replayed = await rig.replay({ kind: "time", ms });
    expect([bodies(replayed.deliveries), replayed.events.losses]).toEqual([["-2"], lost]);
    const group = await rig.join("late", { kind: "time", ms });
    expect([bodies(await group.take()), group.events.losses]).toEqual([["-2"], lost]);
    expect((await rig.replay({ kind: "time", ms: ms + 1 })).events.losses).toEqual([]);
  });

  test("by bytes keeps the newest, always at least one", async () => {
    const rig = await Rig.open({}, { retention: { bytes: 10 } });
    await rig.publish("12345", "67890", "abcde");
    expect(bodies((await rig.replay()).deliveries)).toEqual(["67890", "abcde"]);
    await rig.publish("larger than that");
    expect(bodies((await rig.replay()).deliveries)).toEqual(["larger than that"]);
  });

  test("does not take what a member has in hand", async () => {
    const rig = await Rig.open({}, { retention: { ms: 1_000 } });
    const member = await rig.join();
    await rig.publish("-1");
    const got = await member.take();
    rig.clock.advance(2_000);
    await member.subscription.nack?.(got.map((delivery) => ({ delivery, delayMs: 0, failures: 1 })));
    expect(bodies(await member.take())).toEqual(["-1"]);
    expect(member.events.losses).toEqual([]);
  });

  test("by key keeps the last of each key, and what has none", async () => {
    const rig = await Rig.open({}, { retention: { compact: true } });
    await rig.publish("a:1", "b:1", "-1", "a:2", "-2", "a:3");
    const { deliveries, events } = await rig.replay();
    expect([bodies(deliveries), events.losses]).toEqual([["b:1", "-1", "-2", "a:3"], []]);
  });

  test("by key shows for a day that a key is gone, and a replay ends where the log does", async () => {
    const rig = await Rig.open({}, { retention: { compact: true } });
    await rig.publish("a:1", "b:1");
    await rig.publishRecords({ ...rig.record("", { on: "a" }), body: null });
    expect(bodies((await rig.replay()).deliveries)).toEqual(["b:1", "null"]);
    rig.clock.advance(86_400_000);
    const cursor = await rig.driver.replay(request(rig), never);
    expect(cursor.end).toEqual(new Map([["0", "0:2"]]));
    const batch = await cursor.receive(1, 60_000, never);
    expect([bodies(batch.deliveries), batch.atEnd]).toEqual([["b:1"], true]);
  });

  test("frees memory while nobody reads", async () => {
    const rig = await Rig.open({}, { retention: { bytes: 1_000 } });
    for (let n = 0; n < 20; n++) await rig.publishRecords(...Array.from({ length: 1_000 }, () => rig.record("0123456789")));
    expect((await rig.replay()).deliveries.map(({ place }) => place).slice(0, 1)).toEqual(["0:19900"]);
  });
});
