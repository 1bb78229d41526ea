import { driverError, type PublishResult, type WireStart } from "brokerkit/driver";
import { describe, expect, test } from "vitest";
import { capabilities } from "../src/capabilities.ts";
import { bodies, bytes, Events, earliest, latest, never, Rig, recordWith } from "./rig.ts";

const UNSUPPORTED = expect.objectContaining({ driverCode: "UNSUPPORTED" });
const INTERNAL = expect.objectContaining({ driverCode: "INTERNAL" });
const errorsOf = (results: readonly PublishResult[]) => results.map((result) => !result.ok && { error: result.error, sent: result.sent });
const refused = { error: INTERNAL, sent: "no" };
const NO_LEASE = { lease: { ms: 0, extend: false } };
const LOG = {
  settle: { unit: "prefix", ack: "recorded" },
  redelivery: { native: false, counted: "none" },
  priority: { levels: 0 },
  ...NO_LEASE,
} as const;
const QUEUE = { seek: "none", from: { group: ["latest"], broadcast: ["latest"], replay: [] } } as const;

test("the record in force is what connect, describe and the adapter say, and nothing can change it", async () => {
  const record = recordWith(LOG);
  const rig = await Rig.open({ like: record, likeName: "log" });
  expect(rig.adapter).toMatchObject({ name: "memory?like=log", capabilities: record });
  expect(await rig.driver.connect(never)).toEqual(record);
  expect(await rig.driver.describe(rig.topic, never)).toEqual({ ...record, topics: { ...record.topics, partitions: 1 } });
  expect(Object.isFrozen(rig.adapter.capabilities.settle)).toBe(true);
  expect(capabilities.memory.settle.unit).toBe("message");
});

describe("what the record has not is refused", () => {
  test("groups", async () => {
    const rig = await Rig.like({ delivery: { group: "none" }, groupInbox: "none" });
    await expect(rig.join()).rejects.toEqual(UNSUPPORTED);
    await expect(rig.driver.admin.createGroup(rig.topic, "x", latest, never)).rejects.toEqual(UNSUPPORTED);
    await rig.broadcast();
  });

  test("broadcast", async () => {
    await expect((await Rig.like({ delivery: { broadcast: "none" } })).broadcast()).rejects.toEqual(UNSUPPORTED);
  });

  test.each<WireStart>([earliest, { kind: "time", ms: 0 }, { kind: "position", cut: new Map() }])("start $kind", async (start) => {
    const rig = await Rig.like(QUEUE);
    await expect(rig.join("x", start)).rejects.toEqual(UNSUPPORTED);
    await expect(rig.broadcast(start)).rejects.toEqual(UNSUPPORTED);
    await expect(rig.driver.admin.createGroup(rig.topic, "x", start, never)).rejects.toEqual(UNSUPPORTED);
    await expect(rig.replay(start)).rejects.toEqual(UNSUPPORTED);
    await rig.join();
    await expect(rig.driver.admin.seek(rig.topic, "billing", start, never)).rejects.toEqual(UNSUPPORTED);
  });

  test("an end of a replay that it can't name", async () => {
    const rig = await Rig.like({ from: { group: ["latest"], broadcast: ["latest"], replay: ["earliest"] } });
    await rig.replay();
    await expect(rig.replay(earliest, { kind: "time", ms: 0 })).rejects.toEqual(UNSUPPORTED);
  });

  test("description of topics", async () => {
    const rig = await Rig.like({ topics: { describe: false } });
    await expect(rig.driver.admin.describeTopic(rig.topic, never)).rejects.toEqual(UNSUPPORTED);
  });
});

describe("core is held to the limits", () => {
  test("of a publish call", async () => {
    const rig = await Rig.like({ publish: { maxRecords: 2, maxBytes: 10, inFlight: 2 } });
    const of = (...texts: string[]) => rig.publishRecords(...texts.map((one) => rig.record(one)));
    expect(errorsOf(await of("1", "2", "3"))).toEqual([refused, refused, refused]);
    expect(errorsOf(await of("123456", "12345"))).toEqual([refused, refused]);
    expect(errorsOf(await of("12345", "12345"))).toEqual([false, false]);
    const [first, second, third] = await Promise.all([of("1"), of("2"), of("3")]);
    expect([first, second, third].map((results) => errorsOf(results ?? []))).toEqual([[false], [false], [refused]]);
    expect(errorsOf(await of("4"))).toEqual([false]);
  });

  test("of keys: never in two calls at once, nor twice in one where the order within is not kept", async () => {
    const rig = await Rig.like({ publish: { order: "record", inFlight: 2 } });
    const of = (...keys: string[]) => rig.publishRecords(...keys.map((on) => rig.record("x", { on })));
    expect(errorsOf(await of("a", "b", "a"))).toEqual([refused, refused, refused]);
    const [first, second] = await Promise.all([of("a"), of("b")]);
    expect([errorsOf(first), errorsOf(second)]).toEqual([[false], [false]]);
    const [third, fourth] = await Promise.all([of("a"), of("a")]);
    expect([errorsOf(third), errorsOf(fourth)]).toEqual([[false], [refused]]);
    const inCall = await Rig.like({ publish: { order: "call", inFlight: 1 } });
    expect(errorsOf(await inCall.publishRecords(inCall.record("1", { on: "a" }), inCall.record("2", { on: "a" })))).toEqual([false, false]);
  });

  test.each<[string, Parameters<typeof Rig.like>[0], Parameters<Rig["record"]>[1]]>([
    ["a message's size", { message: { maxBytes: 3 } }, {}],
    ["the number of headers", { message: { maxHeaders: 0 } }, { headers: [["a", bytes("b")]] }],
    ["headers", { message: { headers: false } }, { headers: [["a", bytes("b")]] }],
    ["keys", { message: { key: false } }, { on: "a" }],
    ["tombstones", { message: { tombstone: false } }, { body: null }],
    ["delays", { delay: { maxMs: 99 } }, { delayMs: 100 }],
    ["times to live", { ttl: { maxMs: 0 } }, { ttlMs: 1 }],
    ["priorities", { priority: { levels: 3 } }, { priority: 3 }],
    ["priorities where there are none", { priority: { levels: 0 } }, { priority: 1 }],
    ["inboxes", { groupInbox: "none" }, { target: { topic: "orders", group: "billing" } }],
  ])("of a record: %s", async (_, changes, more) => {
    const rig = await Rig.like(changes);
    await rig.join();
    expect(errorsOf(await rig.publishRecords(rig.record("body", more)))).toEqual([refused]);
    expect(errorsOf(await rig.publishRecords(rig.record("b")))).toEqual([false]);
  });

  test("of receive", async () => {
    const rig = await Rig.like({ receive: { maxRecords: 10, concurrency: 1, maxWaitMs: 1_000 } });
    const { subscription } = await rig.join();
    await expect(subscription.receive(11, 0, never)).rejects.toEqual(INTERNAL);
    await expect(subscription.receive(10, 1_001, never)).rejects.toEqual(INTERNAL);
    const waiting = subscription.receive(10, 1_000, never);
    await expect(subscription.receive(10, 1_000, never)).rejects.toEqual(INTERNAL);
    await rig.publish("-1");
    expect(bodies(await waiting)).toEqual(["-1"]);
    expect(await subscription.receive(10, 0, never)).toEqual([]);
  });

  test("of nack and of topics", async () => {
    const rig = await Rig.like({ redelivery: { maxDelayMs: 10 }, topics: { partitions: 4 }, retention: { compact: false } });
    const { subscription, take } = await rig.join();
    await rig.publish("-1");
    const [delivery] = await take();
    if (delivery !== undefined) await expect(subscription.nack?.([{ delivery, delayMs: 11, failures: 1 }])).rejects.toEqual(INTERNAL);
    await expect(rig.driver.admin.createTopic({ name: "x", partitions: 5 }, never)).rejects.toEqual(INTERNAL);
    await expect(rig.driver.admin.createTopic({ name: "x", retention: { compact: true } }, never)).rejects.toEqual(INTERNAL);
    expect(await rig.driver.admin.createTopic({ name: "x", partitions: 4, retention: { ms: 1 } }, never)).toBe("created");
  });
});

describe("topics", () => {
  test("that are implicit are there as soon as they are named", async () => {
    const rig = await Rig.like({ topics: { explicit: false } });
    const target = { topic: "unheard-of" };
    expect(errorsOf(await rig.publishRecords(rig.record("1", { target })))).toEqual([false]);
    await rig.driver.describe("another", never);
    expect(await rig.driver.admin.describeTopic("another", never)).toBeUndefined();
    await rig.driver.subscribe({ topic: "another", group: "billing", from: latest, credit: 1, events: new Events() }, never);
    expect(await rig.driver.admin.describeTopic("another", never)).toMatchObject({ partitions: 1 });
  });
});

describe("settling", () => {
  test.each(["confirmed", "written", "recorded"] as const)("answers %s where the record does", async (ack) => {
    const rig = await Rig.like({ settle: { ack } });
    const { subscription, take } = await rig.join();
    await rig.publish("-1");
    expect(await subscription.ack(await take())).toEqual([ack]);
  });

  test("by entry redelivers what was published together until all of it is acknowledged", async () => {
    const rig = await Rig.like({ settle: { unit: "entry" }, lag: { unit: "entry" } });
    const lag = () => rig.driver.admin.lag(rig.topic, "billing", never);
    const a = await rig.join();
    await rig.publishRecords(rig.record("1"), rig.record("2"), rig.record("3"));
    await rig.publish("-alone");
    const got = await a.take();
    expect(await lag()).toMatchObject({ count: 2, inFlight: 4 });
    await a.subscription.ack([...got.slice(0, 2), ...got.slice(3)]);
    expect(await lag()).toMatchObject({ count: 1, inFlight: 1 });
    await a.subscription.close();
    const b = await rig.join();
    const again = await b.take();
    expect(bodies(again)).toEqual(["1", "2", "3"]);
    await b.subscription.ack(again);
    expect(await lag()).toMatchObject({ count: 0, inFlight: 0 });
    await b.subscription.close();
    expect(await (await rig.join()).take()).toEqual([]);
  });
});

describe("acknowledging by prefix", () => {
  test("commits heads, and redelivers what is behind the last one", async () => {
    const rig = await Rig.like(LOG);
    const a = await rig.join();
    await rig.publish("a:1", "a:2", "a:3", "a:4");
    const got = await a.take();
    expect(got.every(({ leaseUntil, deliveries }) => leaseUntil === Number.POSITIVE_INFINITY && deliveries === 1)).toBe(true);
    expect([a.subscription.nack, a.subscription.extend]).toEqual([undefined, undefined]);
    expect(await a.subscription.ack(got.slice(1, 2))).toEqual(["recorded"]);
    expect(await a.subscription.ack(got.slice(0, 2))).toEqual(["lost", "lost"]);
    expect(await rig.driver.admin.position(rig.topic, "billing", never)).toEqual(new Map([["0", "0:1"]]));
    expect(await rig.driver.admin.lag(rig.topic, "billing", never)).toMatchObject({ count: 2, inFlight: 2 });
    await a.subscription.close();
    const b = await rig.join();
    const again = await b.take();
    expect(again.map(({ deliveries }) => deliveries)).toEqual([1, 1]);
    expect(bodies(again)).toEqual(["a:3", "a:4"]);
    expect(await a.subscription.ack(got.slice(3))).toEqual(["lost"]);
    rig.clock.advance(10 ** 9);
    expect(await b.take()).toEqual([]);
  });

  test("gives each shard one owner, and moves few of them when members come and go", async () => {
    const rig = await Rig.like({ ...LOG, groupInbox: "none" }, { partitions: 4 });
    const a = await rig.join();
    await rig.publish(...Array.from({ length: 40 }, (_, n) => `k${n}:1`));
    const got = await a.take();
    expect(got).toHaveLength(40);
    const b = await rig.join();
    expect(a.events.shardsLost).toHaveLength(2);
    const moved = new Set(a.events.shardsLost);
    const mine = await b.take();
    expect(bodies(mine).sort()).toEqual(bodies(got.filter(({ shard }) => moved.has(shard))).sort());
    const heads = [...new Map(got.map((delivery) => [delivery.shard, delivery])).values()];
    expect([...(await a.subscription.ack(heads))].sort()).toEqual(["lost", "lost", "recorded", "recorded"]);
    const c = await rig.join();
    const d = await rig.join();
    const e = await rig.join();
    expect(await e.take()).toEqual([]);
    for (const one of [a, c, d]) await one.subscription.close();
    const rest = [...(await b.take()), ...(await e.take())];
    expect(new Set([...rest, ...mine.filter(({ shard }) => !b.events.shardsLost.includes(shard))].map(({ shard }) => shard.id)).size).toBe(
      2,
    );
  });

  test("wakes the new owner of a shard", async () => {
    const rig = await Rig.like({ ...LOG, groupInbox: "none" });
    const [a, b] = [await rig.join(), await rig.join()];
    await rig.publish("-1");
    await a.take();
    const waiting = b.subscription.receive(10, 60_000, never);
    await a.subscription.close();
    expect(bodies(await waiting)).toEqual(["-1"]);
  });

  test("reads the inbox as a shard of its own", async () => {
    const rig = await Rig.like({ ...LOG, groupInbox: "stream" });
    const { subscription, take } = await rig.join();
    await rig.publish("-1");
    await rig.publishRecords(rig.record("again", { target: { topic: rig.topic, group: "billing" }, failures: 2, delayMs: 50 }));
    expect(bodies(await take())).toEqual(["-1"]);
    rig.clock.advance(50);
    const [again] = await take();
    expect(again).toMatchObject({ inbox: true, failures: 2, shard: { id: "inbox" }, place: "inbox:0" });
    if (again !== undefined) await subscription.ack([again]);
    await subscription.close();
    expect(bodies(await (await rig.join()).take())).toEqual(["-1"]);
  });

  test("can be moved under a running member", async () => {
    const rig = await Rig.like(LOG);
    const { subscription, events, take } = await rig.join();
    await rig.publish("-1", "-2");
    const got = await take();
    await rig.driver.admin.seek(rig.topic, "billing", earliest, never);
    expect(events.shardsLost).toEqual([got[0]?.shard]);
    expect(await subscription.ack(got)).toEqual(["lost", "lost"]);
    expect(bodies(await take())).toEqual(["-1", "-2"]);
  });
});

describe("redelivery", () => {
  test("that is not native has no nack; leases and close still bring messages back", async () => {
    const rig = await Rig.like({ redelivery: { native: false, counted: "deliveries" } });
    const { subscription, take } = await rig.join();
    expect(subscription.nack).toBeUndefined();
    await rig.publish("-1");
    await take();
    rig.clock.advance(30_000);
    expect(await take()).toMatchObject([{ deliveries: 2, failures: 0 }]);
  });

  test.each([
    ["none", 1, 0],
    ["deliveries", 2, 0],
    ["failures", 2, 5],
  ] as const)("counts %s", async (counted, deliveries, failures) => {
    const rig = await Rig.like({ redelivery: { counted } });
    const { subscription, take } = await rig.join();
    await rig.publish("-1");
    await subscription.nack?.((await take()).map((delivery) => ({ delivery, delayMs: 0, failures: 5 })));
    expect(await take()).toMatchObject([{ deliveries, failures }]);
  });

  test("of an inbox record keeps the failures that it carries", async () => {
    const rig = await Rig.like({ redelivery: { counted: "none" } });
    const { subscription, take } = await rig.join();
    await rig.publishRecords(rig.record("again", { target: { topic: rig.topic, group: "billing" }, failures: 4 }));
    await subscription.nack?.((await take()).map((delivery) => ({ delivery, delayMs: 0, failures: 5 })));
    expect(await take()).toMatchObject([{ failures: 4 }]);
  });
});

describe("ownership", () => {
  test("without a lease lasts as long as the subscription", async () => {
    const rig = await Rig.like(NO_LEASE);
    const [a, b] = [await rig.join(), await rig.join()];
    await rig.publish("-1");
    const got = await a.take();
    expect(got[0]?.leaseUntil).toBe(Number.POSITIVE_INFINITY);
    expect(a.subscription.extend).toBeUndefined();
    rig.clock.advance(10 ** 9);
    expect(await b.take()).toEqual([]);
    await a.subscription.close();
    expect(bodies(await b.take())).toEqual(["-1"]);
  });

  test("by a lease that can't be extended ends with it", async () => {
    const rig = await Rig.like({ lease: { ms: 1_000, extend: false } });
    const { subscription, take } = await rig.join();
    expect(subscription.extend).toBeUndefined();
    await rig.publish("-1");
    expect((await take())[0]?.leaseUntil).toBe(1_000);
  });

  test("can be stretched to hold.maxMs and no further", async () => {
    const rig = await Rig.like({ hold: { maxMs: 40_000 } });
    const { subscription, take } = await rig.join();
    await rig.publish("-1");
    const got = await take();
    rig.clock.advance(20_000);
    await subscription.extend?.(got, 30_000);
    expect(got[0]?.leaseUntil).toBe(40_000);
    rig.clock.advance(20_000);
    expect(await subscription.extend?.(got, 30_000)).toEqual(["lost"]);
  });

  test("without leases is lost as a whole when something is held longer than hold.maxMs", async () => {
    const rig = await Rig.like({ ...NO_LEASE, hold: { maxMs: 1_000 } });
    const { subscription, events, take } = await rig.join();
    await rig.publish("-1");
    const first = await take();
    rig.clock.advance(999);
    await rig.publish("-2");
    const second = await take();
    rig.clock.advance(1);
    expect(await subscription.ack(second)).toEqual(["lost"]);
    expect(events.shardsLost).toEqual([first[0]?.shard]);
    expect(bodies(await take())).toEqual(["-1", "-2"]);
  });

  test.each([
    ["shard", [2, 2, 2, 2]],
    ["subscription", [2, 0, 2, 0]],
    ["group", [2, 0, 0, 0]],
  ] as const)("of more than hold.maxUnacked stalls the %s", async (scope, expected) => {
    const rig = await Rig.like({ hold: { maxUnacked: 2, scope }, keyOrder: "none" }, { partitions: 2 });
    const members = [await rig.join(), await rig.join()];
    await rig.publish(...Array.from({ length: 40 }, (_, n) => `-${n}`));
    const counts: number[] = [];
    for (const { subscription, take } of members) {
      for (const shard of ["0", "1"]) {
        subscription.resume?.(["0", "1"]);
        subscription.pause?.([shard === "0" ? "1" : "0"]);
        counts.push((await take()).length);
      }
    }
    expect(counts).toEqual(expected);
  });

  test("goes on when the bound is no longer reached", async () => {
    const rig = await Rig.like({ hold: { maxUnacked: 1, scope: "group" } });
    const [a, b] = [await rig.join(), await rig.join()];
    await rig.publish("-1", "-2");
    const got = await a.take();
    const waiting = b.subscription.receive(10, 60_000, never);
    await a.subscription.ack(got);
    expect(bodies(await waiting)).toEqual(["-2"]);
  });
});

describe("key order", () => {
  test.each(["process", "none"] as const)("of %s lets two members have one key", async (keyOrder) => {
    const rig = await Rig.like({ keyOrder });
    const [a, b] = [await rig.join(), await rig.join()];
    await rig.publish("a:1", "a:2");
    const got = await a.take(1);
    await a.subscription.nack?.(got.map((delivery) => ({ delivery, delayMs: 5_000, failures: 1 })));
    expect(bodies(await b.take())).toEqual(["a:2"]);
    rig.clock.advance(5_000);
    expect(bodies(await b.take())).toEqual(["a:1"]);
  });
});

describe("at most once", () => {
  test("a group forgets what it handed out, and keeps nothing while nobody is there", async () => {
    const rig = await Rig.like({ delivery: { group: "at-most-once" } });
    const first = await rig.join();
    await rig.publish("-1", "-2");
    expect(await first.take(1)).toHaveLength(1);
    await first.subscription.close();
    await rig.publish("-3");
    const second = await rig.join();
    await rig.publish("-4");
    expect([second.subscription.created, bodies(await second.take())]).toEqual([false, ["-4"]]);
  });

  test("nothing is kept that nobody can ask for", async () => {
    const rig = await Rig.like({ ...QUEUE, delivery: { group: "none", broadcast: "at-most-once" }, groupInbox: "none" });
    await rig.publish("-before");
    const one = await rig.broadcast();
    for (let n = 0; n < 3; n++) await rig.publishRecords(...Array.from({ length: 1_000 }, (_, m) => rig.record(`${n}.${m}`)));
    expect(bodies(await one.take(1)).concat(bodies(await one.take()).slice(-1))).toEqual(["0.0", "1.0"]);
    await one.subscription.close();
  });

  test("a queue keeps what a group has not had, through deletions of what others had", async () => {
    const rig = await Rig.like(QUEUE);
    const [quick, slow] = [await rig.join("quick"), await rig.join("slow")];
    for (let n = 0; n < 3; n++) await rig.publishRecords(...Array.from({ length: 1_000 }, (_, m) => rig.record(`${n}.${m}`)));
    while ((await quick.take()).length > 0);
    await rig.publish("-last");
    const got: string[] = [];
    for (let some = await slow.take(); some.length > 0; some = await slow.take()) got.push(...bodies(some));
    expect([got.length, got[0], got.at(-1), slow.events.losses]).toEqual([3_001, "0.0", "-last", []]);
  });
});

describe("places", () => {
  test("that are not given per delivery are on neither deliveries nor receipts", async () => {
    const from = { group: ["latest"], broadcast: ["latest"], replay: ["earliest"] } as const;
    const rig = await Rig.like({ places: { perDelivery: false, dense: false }, from });
    const { take } = await rig.join();
    const broadcast = await rig.broadcast();
    const [result] = await rig.publishRecords(rig.record("1"));
    expect(result?.ok === true && result.place).toBeUndefined();
    expect((await take())[0]?.place).toBeUndefined();
    expect(broadcast.subscription.start).toBeUndefined();
    expect((await broadcast.take())[0]?.place).toBeUndefined();
  });

  test("are told to readers that can begin at one, whether a group's deliveries have any or not", async () => {
    const rig = await Rig.like({ places: { perDelivery: false, dense: false } });
    const { take } = await rig.join();
    const broadcast = await rig.broadcast();
    await rig.publish("-1");
    expect((await take())[0]?.place).toBeUndefined();
    expect([broadcast.subscription.start, (await broadcast.take())[0]?.place]).toEqual([new Map(), "0:0.0"]);
    expect((await rig.replay()).deliveries.map(({ place }) => place)).toEqual(["0:0.0"]);
  });

  test("that are not dense leave numbers out, and starts between them are understood", async () => {
    const rig = await Rig.like({ places: { dense: false } });
    await rig.publish("-0", "-1", "-2", "-3", "-4", "-5");
    const { deliveries } = await rig.replay();
    expect(deliveries.map(({ place }) => place)).toEqual(["0:0.0", "0:0.1", "0:0.2", "0:0.3", "0:1.0", "0:1.1"]);
    const from = async (place: string) =>
      bodies((await rig.replay({ kind: "position", cut: new Map([["0", place as never]]) })).deliveries);
    expect(await from("0:0.3")).toEqual(["-4", "-5"]);
    expect(await from("0:0.9")).toEqual(["-4", "-5"]);
    expect(await from("0:1")).toEqual(["-4", "-5"]);
    expect(await from("0:1.0")).toEqual(["-5"]);
  });
});

describe("what can't be known is not guessed", () => {
  test("lag", async () => {
    const rig = await Rig.like({ lag: { count: "none", inFlight: false, oldest: false } });
    await rig.join();
    expect(await rig.driver.admin.lag(rig.topic, "billing", never)).toEqual({ count: undefined, inFlight: undefined, oldestMs: undefined });
  });

  test("a cursor's end", async () => {
    const rig = await Rig.like({ cursorEnd: false });
    await rig.publish("-1");
    const cursor = await rig.driver.replay({ topic: rig.topic, from: earliest, follow: false, events: new Events() }, never);
    expect(cursor.end).toEqual(new Map());
    const batch = await cursor.receive(10, 60_000, never);
    expect([bodies(batch.deliveries), batch.atEnd]).toEqual([["-1"], true]);
  });
});

test("classify knows the codes of its own errors, and nothing else", async () => {
  const { driver } = await Rig.open();
  expect(driver.classify(driverError("UNAVAILABLE", "gone"))).toEqual({ code: "UNAVAILABLE", retryable: true });
  expect(driver.classify(driverError("NOT_FOUND", "gone"))).toEqual({ code: "NOT_FOUND", retryable: false });
  for (const odd of [new Error("odd"), undefined, null, "odd", 7])
    expect(driver.classify(odd)).toEqual({ code: "INTERNAL", retryable: false });
});
