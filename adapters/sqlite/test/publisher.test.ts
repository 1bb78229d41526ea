import { describe, expect, it } from "vitest";
import { bodies, EARLIEST, file, gather, LATEST, ManualClock, member, never, open, put, record, stage, take, textOf } from "./stage.ts";

describe("publish", () => {
  it("stores a batch in array order and answers dense places", async () => {
    const driver = await stage();
    const first = await put(driver, ...["a", "b", "c"].map((body) => record(body)));
    const second = await put(driver, record("d"));
    expect([...first, ...second]).toEqual(["0:1", "0:2", "0:3", "0:4"]);
    expect(bodies(await take(await member(driver, "g")))).toEqual(["a", "b", "c", "d"]);
  });

  it("keeps everything across a restart: messages, groups, claims and their counts", async () => {
    const path = file();
    const { driver } = await open({ path });
    await driver.admin.createTopic({ name: "orders" }, never);
    const subscription = await member(driver, "g", LATEST);
    await put(driver, record("a"), record("b"), record("c"));
    const [a, b] = await take(subscription, 2);
    await subscription.ack([a!]);
    await subscription.nack?.([{ delivery: b!, delayMs: 0, failures: 3 }]);
    await driver.close();

    const { driver: again } = await open({ path });
    const resumed = await member(again, "g", EARLIEST);
    expect(resumed.created).toBe(false);
    const got = await take(resumed);
    expect(bodies(got)).toEqual(["b", "c"]);
    expect(got.map(({ deliveries, failures }) => [deliveries, failures])).toEqual([
      [2, 3],
      [1, 0],
    ]);
  });

  it("gives back key, headers, body, id and publish time as they were", async () => {
    const driver = await stage();
    const odd = new Uint8Array([0, 255, 128, 10, 0]);
    const headers = [
      ["content-type", new Uint8Array([97])],
      ["ünicode", odd],
      ["twice", new Uint8Array()],
      ["twice", odd],
    ] as const;
    const sent = [
      { ...record(null), body: odd, key: odd, headers, publishedAt: 1_234 },
      { ...record(""), key: new Uint8Array() },
      record(null, { key: "k" }),
      record(null, { headers: [["h", odd]] }),
    ];
    await put(driver, ...sent);
    const got = await take(await member(driver, "g"));
    const plain = (bytes: Uint8Array | null | undefined) => (bytes ? [...bytes] : bytes);
    for (const [n, { id, key, body, publishedAt, headers }] of got.entries()) {
      const before = sent[n]!;
      expect([id, publishedAt]).toEqual([before.id, before.publishedAt]);
      expect([plain(key), plain(body)]).toEqual([plain(before.key), plain(before.body)]);
      expect(headers.map(([name, value]) => [name, plain(value)])).toEqual(before.headers.map(([name, value]) => [name, plain(value)]));
    }
  });

  it("refuses records for what is not there, each by itself, and stores the others", async () => {
    const driver = await stage();
    const batch = [record("a"), record("x", { topic: "nowhere" }), record("y", { group: "nobody" }), record("b")];
    const results = await driver.publish(batch, never);
    expect(results.map((result) => (result.ok ? result.place : [result.sent, driver.classify(result.error).code]))).toEqual([
      "0:1",
      ["no", "NOT_FOUND"],
      ["no", "NOT_FOUND"],
      "0:2",
    ]);
    expect(results[1]).toMatchObject({ error: { message: expect.stringContaining('"nowhere"') } });
    expect(results[2]).toMatchObject({ error: { message: expect.stringContaining('"nobody"') } });
  });

  it("refuses a key with a priority, which would break the key's order", async () => {
    const driver = await stage();
    const [result] = await driver.publish([record("a", { key: "k", priority: 1 })], never);
    expect(result).toMatchObject({ ok: false, sent: "no", error: { driverCode: "INVALID_ARGUMENT" } });
  });

  it("stores nothing when an id comes again within its window, and says where the first one is", async () => {
    const clock = new ManualClock();
    const driver = await stage({ dedupeMs: 1_000 }, clock);
    await driver.admin.createTopic({ name: "other" }, never);
    const again = record("a", { id: "one" });
    await put(driver, record("z"), again);
    expect(await driver.publish([again, again], never)).toEqual([
      { ok: true, place: "0:2", duplicate: true },
      { ok: true, place: "0:2", duplicate: true },
    ]);
    expect(await driver.publish([record("a", { id: "one", topic: "other" })], never)).toEqual([{ ok: true, place: "0:1" }]);
    clock.advance(1_001);
    expect(await driver.publish([again], never)).toEqual([{ ok: true, place: "0:3" }]);
  });

  it("looks at dedupeId, not at id", async () => {
    const driver = await stage();
    await put(driver, record("a", { id: "m", dedupeId: "m" }), record("a", { id: "m", dedupeId: "m#g#1" }));
    expect(await driver.publish([record("b", { id: "n", dedupeId: "m" })], never)).toMatchObject([{ duplicate: true }]);
    expect(await take(await member(driver, "g"))).toHaveLength(2);
  });

  it("remembers no ids with dedupeMs 0", async () => {
    const driver = await stage({ dedupeMs: 0 });
    const one = record("a");
    await put(driver, one);
    expect(await driver.publish([one], never)).toEqual([{ ok: true, place: "0:2" }]);
  });

  it("keeps a delayed message from everybody until it is due, and then gives it the next place", async () => {
    const clock = new ManualClock();
    const driver = await stage({}, clock);
    const subscription = await member(driver, "g");
    const all = await member(driver, undefined);
    expect(await put(driver, record("later", { delayMs: 500 }), record("now"))).toEqual([undefined, "0:1"]);
    expect(await driver.admin.lag("orders", "g", never)).toMatchObject({ count: 2 });
    expect(bodies(await take(subscription))).toEqual(["now"]);
    expect(bodies(await take(all))).toEqual(["now"]);
    clock.advance(499);
    expect(await take(subscription)).toEqual([]);
    clock.advance(1);
    for (const reader of [subscription, all]) {
      const [delivery] = await take(reader);
      expect([textOf(delivery?.body), delivery?.place]).toEqual(["later", "0:2"]);
    }
  });

  it("drops a message whose time to live is over", async () => {
    const clock = new ManualClock();
    const driver = await stage({}, clock);
    const subscription = await member(driver, "g");
    await put(driver, record("short", { ttlMs: 100 }), record("long", { ttlMs: 10_000 }), record("claimed", { ttlMs: 100 }));
    const [short] = await take(subscription, 1);
    await subscription.nack?.([{ delivery: short!, delayMs: 0, failures: 1 }]);
    clock.advance(100);
    expect(bodies(await take(subscription))).toEqual(["long"]);
    expect(await driver.admin.lag("orders", "g", never)).toMatchObject({ count: 1, inFlight: 1 });
    await put(driver, record("next"));
    expect(bodies(await take(await member(driver, undefined)))).toEqual(["long", "next"]);
  });

  it("hands out higher priorities first, also in a group that begins later or is moved", async () => {
    const driver = await stage();
    const subscription = await member(driver, "g");
    await put(driver, ...[0, 5, 9, 0, 5].map((priority, n) => record(`${priority}-${n}`, { priority })));
    const order = ["9-2", "5-1", "5-4", "0-0", "0-3"];
    const got = await take(subscription);
    expect(bodies(got)).toEqual(order);
    await subscription.ack(got);
    expect(bodies(await take(await member(driver, "later")))).toEqual(order);
    await driver.admin.seek("orders", "g", EARLIEST, never);
    expect(await driver.admin.lag("orders", "g", never)).toMatchObject({ count: 5 });
    expect(bodies(await take(subscription))).toEqual(order);
  });

  it("puts a record with a group into that group's inbox only, with its failures, and counts it as lag", async () => {
    const clock = new ManualClock();
    const driver = await stage({}, clock);
    const [mine, other] = [await member(driver, "mine"), await member(driver, "other")];
    expect(await put(driver, record("again", { group: "mine", failures: 2, key: "k" }))).toEqual(["inbox:1"]);
    await put(driver, record("late", { group: "mine", delayMs: 100, key: "k" }), record("plain", { key: "k" }));
    expect(await driver.admin.lag("orders", "mine", never)).toMatchObject({ count: 3 });
    const got = await take(mine);
    expect(got.map(({ body, inbox, failures, shard }) => [textOf(body), inbox, failures, shard.id])).toEqual([
      ["again", true, 2, "inbox"],
      ["plain", false, 0, "0"],
    ]);
    expect(bodies(await take(other))).toEqual(["plain"]);
    expect(bodies(await take(await member(driver, undefined)))).toEqual(["plain"]);
    expect(await mine.ack(got)).toEqual(["confirmed", "confirmed"]);
    clock.advance(100);
    expect(bodies(await take(mine))).toEqual(["late"]);
  });

  it("refuses all of a batch when the file may not grow, keeps what it had, and goes on when there is room", async () => {
    const path = file();
    const { driver } = await open({ path, maxBytes: 2 ** 20 });
    await driver.admin.createTopic({ name: "orders" }, never);
    const big = "x".repeat(100_000);
    let stored = 0;
    for (;;) {
      const [result] = await driver.publish([record(big)], never);
      if (result?.ok === false) {
        expect([result.sent, driver.classify(result.error)]).toEqual(["no", { code: "QUOTA_EXCEEDED", retryable: false }]);
        break;
      }
      stored++;
    }
    expect(stored).toBeGreaterThan(5);
    expect(await take(await member(driver, "g"))).toHaveLength(stored);
    await driver.close();
    const { driver: larger } = await open({ path });
    await put(larger, record("fits"));
    expect(await gather(await member(larger, "all"), stored + 1)).toHaveLength(stored + 1);
  });
});
