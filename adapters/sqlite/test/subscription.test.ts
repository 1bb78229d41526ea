import type { Subscription } from "brokerkit/driver";
import { describe, expect, it } from "vitest";
import {
  bodies,
  EARLIEST,
  Events,
  file,
  gather,
  LATEST,
  ManualClock,
  member,
  never,
  open,
  put,
  record,
  stage,
  take,
  textOf,
} from "./stage.ts";

const LEASE_MS = 1_000;

/** Two connections to one file, as two processes would have them. */
async function pair(clock: ManualClock): Promise<[Subscription, Subscription, Awaited<ReturnType<typeof open>>["driver"]]> {
  const path = file();
  const [{ driver: one }, { driver: two }] = [
    await open({ path, leaseMs: LEASE_MS }, clock),
    await open({ path, leaseMs: LEASE_MS }, clock),
  ];
  await one.admin.createTopic({ name: "orders" }, never);
  return [await member(one, "g"), await member(two, "g"), one];
}

describe("a group", () => {
  it("shares its messages among members without overlap, and two groups each get all", async () => {
    const [a, b, driver] = await pair(new ManualClock());
    await put(driver, ...Array.from({ length: 10 }, (_, n) => record(`${n}`)));
    const [first, second] = [await take(a, 5), await take(b, 5)];
    expect([...bodies(first), ...bodies(second)].sort()).toEqual(Array.from({ length: 10 }, (_, n) => `${n}`));
    expect(await take(await member(driver, "other"), 20)).toHaveLength(10);
  });

  it("starts where it is told when it is new, and keeps its place when it is not", async () => {
    const driver = await stage();
    const [, second] = await put(driver, record("a"), record("b"), record("c"));
    expect(await take(await member(driver, "latest", LATEST))).toEqual([]);
    const after = await member(driver, "position", { kind: "position", cut: new Map([["0", second!]]) });
    expect([after.created, bodies(await take(after))]).toEqual([true, ["c"]]);
    const existing = await member(driver, "latest", EARLIEST);
    expect([existing.created, await take(existing)]).toEqual([false, []]);
    const past = await member(driver, "past", { kind: "position", cut: new Map([["0", "0:99" as typeof second & string]]) });
    await put(driver, record("d"));
    expect(bodies(await take(past))).toEqual(["d"]);
  });

  it("starts from a time at the first message stored then or later", async () => {
    const clock = new ManualClock();
    const driver = await stage({}, clock);
    const times: number[] = [];
    for (const body of ["a", "b", "c", "d"]) {
      times.push(clock.now());
      await put(driver, record(body));
      clock.advance(10);
    }
    for (const [n, ms] of times.entries()) {
      expect(bodies(await take(await member(driver, `at-${n}`, { kind: "time", ms })))).toEqual(["a", "b", "c", "d"].slice(n));
      expect(bodies(await take(await member(driver, `after-${n}`, { kind: "time", ms: ms + 1 })))).toEqual(
        ["a", "b", "c", "d"].slice(n + 1),
      );
    }
  });

  it("gives a message again when its lease is over, and the former owner's settlement is lost", async () => {
    const clock = new ManualClock();
    const [a, b, driver] = await pair(clock);
    await put(driver, record("x"));
    const [first] = await take(a);
    expect(first?.leaseUntil).toBeLessThanOrEqual(clock.monotonic() + LEASE_MS);
    clock.advance(LEASE_MS - 1);
    expect(await take(b)).toEqual([]);
    clock.advance(1);
    const [second] = await take(b);
    expect([second?.deliveries, second?.failures, second?.id]).toEqual([2, 0, first?.id]);
    expect(await a.ack([first!])).toEqual(["lost"]);
    expect(await a.nack?.([{ delivery: first!, delayMs: 0, failures: 1 }])).toEqual(["lost"]);
    expect(await a.extend?.([first!], 5_000)).toEqual(["lost"]);
    expect(await b.ack([second!])).toEqual(["confirmed"]);
    expect(await b.ack([second!])).toEqual(["lost"]);
    expect(await driver.admin.lag("orders", "g", never)).toMatchObject({ count: 0, inFlight: 0 });
  });

  it("keeps an extended message from others for that long", async () => {
    const clock = new ManualClock();
    const [a, b, driver] = await pair(clock);
    await put(driver, record("x"));
    const [delivery] = await take(a);
    clock.advance(900);
    expect(await a.extend?.([delivery!], 2_000)).toEqual(["confirmed"]);
    clock.advance(1_999);
    expect(await take(b)).toEqual([]);
    clock.advance(1);
    expect(await take(b)).toHaveLength(1);
  });

  it("gives a nacked message again after its delay, with the failures that were counted", async () => {
    const clock = new ManualClock();
    const [a, b, driver] = await pair(clock);
    await put(driver, record("x"));
    const [delivery] = await take(a);
    expect(await a.nack?.([{ delivery: delivery!, delayMs: 300.5, failures: 4 }])).toEqual(["confirmed"]);
    clock.advance(300);
    expect(await take(b)).toEqual([]);
    clock.advance(1);
    expect((await take(b)).map(({ deliveries, failures }) => [deliveries, failures])).toEqual([[2, 4]]);
  });

  it("gives back what is unsettled when a member closes, at once and as no failure", async () => {
    const [a, b, driver] = await pair(new ManualClock());
    await put(driver, record("1"), record("2"), record("3"));
    const [first] = await take(a, 2);
    await a.ack([first!]);
    await a.close();
    await a.close();
    expect((await take(b)).map(({ body, failures }) => [textOf(body), failures])).toEqual([
      ["2", 0],
      ["3", 0],
    ]);
  });

  it("settles a batch in any order, each once, and says which ones were not its own any more", async () => {
    const clock = new ManualClock();
    const [a, b, driver] = await pair(clock);
    await put(driver, ...Array.from({ length: 6 }, (_, n) => record(`${n}`)));
    const got = await take(a);
    await a.extend?.([got[0]!, got[2]!, got[3]!, got[5]!], 5_000);
    clock.advance(LEASE_MS);
    expect(bodies(await take(b))).toEqual(["1", "4"]);
    expect(await a.ack([5, 0, 1, 3, 4, 2, 2].map((n) => got[n]!))).toEqual([
      "confirmed",
      "confirmed",
      "lost",
      "confirmed",
      "lost",
      "confirmed",
      "lost",
    ]);
  });

  it("waits for messages without asking again and again, and answers what came when it is aborted", async () => {
    const driver = await stage();
    const subscription = await member(driver, "g");
    const waiting = subscription.receive(10, 60_000, never);
    await put(driver, record("x"));
    expect(bodies(await waiting)).toEqual(["x"]);
    const stop = new AbortController();
    const idle = subscription.receive(10, 60_000, stop.signal);
    stop.abort();
    expect(await idle).toEqual([]);
    expect(await subscription.receive(10, 5, never)).toEqual([]);
    const open = subscription.receive(10, 60_000, never);
    await subscription.close();
    expect(await open).toEqual([]);
  });

  it("wakes for a lease that ends, a delay that is over and a message that falls due", async () => {
    const driver = await stage({ leaseMs: 100 });
    const [a, b] = [await member(driver, "g"), await member(driver, "g")];
    await put(driver, record("leased"));
    await take(a);
    const [leased] = await gather(b, 1);
    await b.nack?.([{ delivery: leased!, delayMs: 80, failures: 1 }]);
    const [delayed] = await gather(a, 1);
    expect([delayed?.deliveries, delayed?.failures]).toEqual([3, 1]);
    await a.ack([delayed!]);
    await put(driver, record("later", { delayMs: 80 }));
    expect(bodies(await gather(b, 1))).toEqual(["later"]);
  });

  it("hands out nothing while it is paused, and goes on when resumed", async () => {
    const driver = await stage();
    const subscription = await member(driver, "g");
    subscription.pause?.(["0"]);
    await put(driver, record("x"));
    expect(await take(subscription)).toEqual([]);
    const waiting = subscription.receive(10, 60_000, never);
    subscription.resume?.(["0"]);
    expect(bodies(await waiting)).toEqual(["x"]);
  });
});

describe("key order between members", () => {
  const keyed = (...names: string[]) => names.map((name) => record(name, { key: name[0] }));

  it("never hands out a key that another member has, and goes on with other keys", async () => {
    const [a, b, driver] = await pair(new ManualClock());
    await put(driver, ...keyed("a1", "b1", "a2", "c1", "b2"));
    const [a1, b1] = await take(a, 2);
    expect(bodies(await take(b))).toEqual(["c1"]);
    await a.ack([b1!]);
    expect(bodies(await take(b))).toEqual(["b2"]);
    await a.ack([a1!]);
    expect(bodies(await take(b))).toEqual(["a2"]);
  });

  it("gives one member several of a key, in order", async () => {
    const [a, b, driver] = await pair(new ManualClock());
    await put(driver, ...keyed("a1", "a2", "a3"));
    expect(bodies(await take(a))).toEqual(["a1", "a2", "a3"]);
    expect(await take(b)).toEqual([]);
    await put(driver, ...keyed("a4"));
    expect(bodies(await take(a))).toEqual(["a4"]);
  });

  it("keeps a key's later messages back while one waits for its redelivery", async () => {
    const clock = new ManualClock();
    const [a, b, driver] = await pair(clock);
    await put(driver, ...keyed("a1", "b1", "a2"));
    const [a1] = await take(a, 1);
    await a.nack?.([{ delivery: a1!, delayMs: 500, failures: 1 }]);
    expect(bodies(await take(b))).toEqual(["b1"]);
    expect(await take(a)).toEqual([]);
    clock.advance(500);
    expect(bodies(await take(b))).toEqual(["a1", "a2"]);
  });

  it("hands a key on, in order, when its owner's lease is over", async () => {
    const clock = new ManualClock();
    const [a, b, driver] = await pair(clock);
    await put(driver, ...keyed("a1", "a2", "a3"));
    await take(a, 2);
    expect(await take(b)).toEqual([]);
    clock.advance(LEASE_MS);
    expect((await take(b)).map(({ body, deliveries }) => [textOf(body), deliveries])).toEqual([
      ["a1", 2],
      ["a2", 2],
      ["a3", 1],
    ]);
  });

  it("wakes a member that waits for a busy key", async () => {
    const [a, b, driver] = await pair(new ManualClock());
    await put(driver, ...keyed("a1", "a2"));
    const [a1] = await take(a, 1);
    const waiting = b.receive(10, 60_000, never);
    await a.ack([a1!]);
    expect(bodies(await waiting)).toEqual(["a2"]);
  });

  it("passes over any number of messages of busy keys", async () => {
    const [a, b, driver] = await pair(new ManualClock());
    await put(driver, record("first", { key: "busy" }));
    await take(a);
    for (let n = 0; n < 10; n++) await put(driver, ...Array.from({ length: 1_000 }, () => record("behind", { key: "busy" })));
    await put(driver, record("free", { key: "other" }));
    expect(bodies(await gather(b, 1))).toEqual(["free"]);
    expect(await driver.admin.lag("orders", "g", never)).toMatchObject({ count: 10_002, inFlight: 2 });
  });

  it("keeps a key with one member across topic and inbox", async () => {
    const [a, b, driver] = await pair(new ManualClock());
    await put(driver, ...keyed("a1"), record("again", { group: "g", key: "a" }));
    expect(bodies(await take(a, 1))).toEqual(["again"]);
    expect(await take(b)).toEqual([]);
  });
});

describe("moving and ending a group", () => {
  it("moves a live group: what is out is lost, and all of it comes again", async () => {
    const [a, b, driver] = await pair(new ManualClock());
    const [here, there] = [new Events(), new Events()];
    const one = await member(driver, "g", LATEST, here);
    await put(driver, record("1"), record("2"));
    const got = await take(one);
    await one.ack([got[0]!]);
    await driver.admin.seek("orders", "g", EARLIEST, never);
    expect(here.losts).toMatchObject([{ shard: "0", reason: expect.stringContaining("moved") }]);
    expect(there.losts).toEqual([]);
    expect(await one.ack([got[1]!])).toEqual(["lost"]);
    const again = await take(a);
    expect(bodies(again)).toEqual(["1", "2"]);
    expect(again.every(({ shard }) => shard !== got[0]?.shard)).toBe(true);
    await a.ack(again);
    await driver.admin.seek("orders", "g", LATEST, never);
    expect(await take(b)).toEqual([]);
  });

  it("tells members of other connections that the group was moved before they get anything else", async () => {
    const clock = new ManualClock();
    const path = file();
    const [{ driver: one }, { driver: two }] = [await open({ path }, clock), await open({ path }, clock)];
    await one.admin.createTopic({ name: "orders" }, never);
    const events = new Events();
    const far = await member(two, "g", EARLIEST, events);
    await put(one, record("1"));
    const [first] = await take(far);
    await one.admin.seek("orders", "g", EARLIEST, never);
    const [second] = await take(far);
    expect(events.losts).toHaveLength(1);
    expect(second?.shard).not.toBe(first?.shard);
    expect(await far.ack([second!])).toEqual(["confirmed"]);
  });

  it("ends the members of a group that is deleted", async () => {
    const driver = await stage();
    const events = new Events();
    const subscription = await member(driver, "g", EARLIEST, events);
    const waiting = subscription.receive(10, 60_000, never);
    const failed = expect(waiting).rejects.toMatchObject({ driverCode: "NOT_FOUND" });
    await driver.admin.deleteGroup("orders", "g", never);
    await failed;
    expect(events.losts.map(({ shard }) => shard)).toEqual(["0", "inbox"]);
  });
});

describe("retention that overtakes a group", () => {
  it("tells the group how many it did not get, before anything later, once", async () => {
    const driver = await stage({}, new ManualClock(), "unused");
    await driver.admin.createTopic({ name: "orders", retention: { bytes: 700 } }, never);
    const events = new Events();
    const subscription = await member(driver, "g", EARLIEST, events);
    await put(driver, record("0".repeat(100)));
    await subscription.ack(await take(subscription));
    for (let n = 1; n <= 9; n++) await put(driver, record(`${n}`.repeat(100)));
    expect((await take(subscription)).map(({ place }) => place)).toEqual(["0:7", "0:8", "0:9", "0:10"]);
    expect(events.losses).toEqual([{ shard: "0", from: "0:2", to: "0:6", missing: 5 }]);
    expect(await take(subscription)).toEqual([]);
    expect(events.losses).toHaveLength(1);
  });

  it("counts a message that was given back as lost, and one that is out as its receiver's", async () => {
    const clock = new ManualClock();
    const driver = await stage({}, clock, "unused");
    await driver.admin.createTopic({ name: "orders", retention: { ms: 1_000 } }, never);
    const events = new Events();
    const subscription = await member(driver, "g", EARLIEST, events);
    await put(driver, record("back", { key: "k" }), record("behind", { key: "k" }), record("out"));
    const [back, behind, out] = await take(subscription);
    await subscription.nack?.([back!, behind!].map((delivery) => ({ delivery, delayMs: 2_000, failures: 1 })));
    clock.advance(2_000);
    await put(driver, record("new", { key: "k" }));
    expect(bodies(await take(subscription))).toEqual(["new"]);
    expect(events.losses).toEqual([{ shard: "0", from: "0:1", to: "0:2", missing: 2 }]);
    expect(await subscription.ack([out!])).toEqual(["confirmed"]);
    expect(await driver.admin.lag("orders", "g", never)).toMatchObject({ count: 1 });
  });

  it("tells a group that begins at a place that is gone", async () => {
    const driver = await stage({}, new ManualClock(), "unused");
    await driver.admin.createTopic({ name: "orders", retention: { bytes: 500 } }, never);
    const [first] = await put(driver, record("x".repeat(100)));
    for (let n = 0; n < 9; n++) await put(driver, record("y".repeat(100)));
    const events = new Events();
    const behind = await member(driver, "g", { kind: "position", cut: new Map([["0", first!]]) }, events);
    expect((await take(behind)).map(({ place }) => place)).toEqual(["0:8", "0:9", "0:10"]);
    expect(events.losses).toEqual([{ shard: "0", from: "0:2", to: "0:7", missing: 6 }]);
    const earliest = new Events();
    expect(await take(await member(driver, "e", EARLIEST, earliest))).toHaveLength(3);
    expect(earliest.losses).toEqual([]);
  });
});
