import type { Cursor, Cut, Place, WireStart } from "brokerkit/driver";
import { describe, expect, it } from "vitest";
import { bodies, EARLIEST, Events, LATEST, ManualClock, member, never, put, record, stage, take } from "./stage.ts";

type Driver = Awaited<ReturnType<typeof stage>>;
const at = (n: number): WireStart => ({ kind: "position", cut: new Map([["0", `0:${n}` as Place]]) as Cut });

function replay(driver: Driver, from: WireStart, more: { to?: WireStart; follow?: boolean; events?: Events } = {}): Promise<Cursor> {
  const { to, follow = false, events = new Events() } = more;
  return driver.replay({ topic: "orders", from, to, follow, events }, never);
}

async function all(cursor: Cursor): Promise<string[]> {
  const got: string[] = [];
  for (;;) {
    const { deliveries, atEnd } = await cursor.receive(3, 0, never);
    got.push(...bodies(deliveries));
    if (atEnd) return got;
  }
}

describe("a replay", () => {
  it("reads from the earliest, a time or a position up to the end as of opening, and moves no group", async () => {
    const clock = new ManualClock();
    const driver = await stage({}, clock);
    const group = await member(driver, "g");
    const names = ["1", "2", "3", "4", "5"];
    const times: number[] = [];
    for (const name of names) {
      times.push(clock.now());
      await put(driver, record(name));
      clock.advance(5);
    }
    const cursor = await replay(driver, EARLIEST);
    expect(cursor.end).toEqual(new Map([["0", "0:5"]]));
    await put(driver, record("6"));
    expect(await all(cursor)).toEqual(names);
    expect(await all(await replay(driver, { kind: "time", ms: times[2]! }))).toEqual(["3", "4", "5", "6"]);
    expect(await all(await replay(driver, at(3)))).toEqual(["4", "5", "6"]);
    expect(await all(await replay(driver, EARLIEST, { to: at(2) }))).toEqual(["1", "2"]);
    expect(await all(await replay(driver, EARLIEST, { to: { kind: "time", ms: times[3]! } }))).toEqual(["1", "2", "3"]);
    expect(bodies(await take(group))).toEqual([...names, "6"]);
  });

  it("is at its end at once on an empty topic and past the end", async () => {
    const driver = await stage();
    const empty = await replay(driver, EARLIEST);
    expect([empty.end.size, await empty.receive(10, 60_000, never)]).toEqual([0, { deliveries: [], atEnd: true }]);
    await put(driver, record("1"));
    expect(await (await replay(driver, at(7))).receive(10, 60_000, never)).toEqual({ deliveries: [], atEnd: true });
  });

  it("follows on past its end, waiting for what comes", async () => {
    const driver = await stage();
    await put(driver, record("1"));
    const cursor = await replay(driver, EARLIEST, { follow: true });
    expect(await cursor.receive(10, 0, never)).toMatchObject({ atEnd: true, deliveries: [{ place: "0:1" }] });
    const next = cursor.receive(10, 60_000, never);
    await put(driver, record("2"));
    expect(bodies((await next).deliveries)).toEqual(["2"]);
    const last = cursor.receive(10, 60_000, never);
    await cursor.close();
    expect(await last).toEqual({ deliveries: [], atEnd: true });
  });

  it("ends at its fetch position where the tail was compacted away or has expired", async () => {
    const clock = new ManualClock();
    const driver = await stage({}, clock, "unused");
    await driver.admin.createTopic({ name: "orders", retention: { compact: true } }, never);
    await put(driver, record("a1", { key: "a" }), record("b1", { key: "b" }), record("short", { ttlMs: 10 }));
    const cursor = await replay(driver, EARLIEST);
    await put(driver, record("a2", { key: "a" }));
    clock.advance(10);
    expect(await all(cursor)).toEqual(["b1"]);
    expect(await all(await replay(driver, EARLIEST))).toEqual(["b1", "a2"]);
  });

  it("says what retention took, as far as it can be known, and goes on behind it", async () => {
    const clock = new ManualClock();
    const driver = await stage({}, clock, "unused");
    await driver.admin.createTopic({ name: "orders", retention: { bytes: 350 } }, never);
    await put(driver, record("x".repeat(100)));
    const began = clock.now();
    const open = await replay(driver, EARLIEST, { events: new Events(), follow: true });
    const reading = new Events();
    const late = await replay(driver, EARLIEST, { events: reading, follow: true });
    clock.advance(1);
    for (let n = 0; n < 5; n++) await put(driver, record("y".repeat(100)));
    expect((await late.receive(10, 0, never)).deliveries.map(({ place }) => place)).toEqual(["0:5", "0:6"]);
    expect(reading.losses).toEqual([{ shard: "0", from: "0:1", to: "0:4", missing: 4 }]);
    const events = new Events();
    await replay(driver, at(2), { events });
    await replay(driver, { kind: "time", ms: began }, { events });
    await replay(driver, EARLIEST, { events });
    expect(events.losses).toEqual([
      { shard: "0", from: "0:3", to: "0:4", missing: 2 },
      { shard: "0", from: undefined, to: "0:4", missing: undefined },
    ]);
    await open.close();
  });

  it("is refused for a topic that is not there", async () => {
    const driver = await stage();
    await expect(driver.replay({ topic: "nowhere", from: EARLIEST, follow: false, events: new Events() }, never)).rejects.toMatchObject({
      driverCode: "NOT_FOUND",
    });
  });
});

describe("broadcast", () => {
  it("gives each subscriber everything from its start on, keeps nothing and says where it began", async () => {
    const driver = await stage();
    await put(driver, record("1"));
    const [one, two] = [await member(driver, undefined, LATEST), await member(driver, undefined, EARLIEST)];
    expect([one.created, one.start, two.start]).toEqual([true, new Map([["0", "0:1"]]), new Map()]);
    await put(driver, record("2"));
    const got = await take(one);
    expect([bodies(got), bodies(await take(two))]).toEqual([["2"], ["1", "2"]]);
    expect(await one.ack(got)).toEqual(["confirmed"]);
    expect(got[0]?.leaseUntil).toBe(Number.POSITIVE_INFINITY);
    expect((await driver.admin.describeTopic("orders", never))?.groups).toEqual([]);
  });

  it("pauses, resumes and closes", async () => {
    const driver = await stage();
    const reader = await member(driver, undefined, LATEST);
    reader.pause?.(["0"]);
    await put(driver, record("1"));
    expect(await take(reader)).toEqual([]);
    const waiting = reader.receive(10, 60_000, never);
    reader.resume?.(["0"]);
    expect(bodies(await waiting)).toEqual(["1"]);
    const idle = reader.receive(10, 60_000, never);
    await reader.close();
    expect(await idle).toEqual([]);
  });
});
