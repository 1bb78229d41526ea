import { DatabaseSync } from "node:sqlite";
import type { Place } from "brokerkit/driver";
import { describe, expect, it } from "vitest";
import { bodies, EARLIEST, file, LATEST, ManualClock, member, never, open, put, record, stage, take } from "./stage.ts";

describe("topics", () => {
  it("are made once, described, and never altered by making them again", async () => {
    const driver = await stage();
    expect(await driver.admin.createTopic({ name: "orders", retention: { ms: 1 } }, never)).toBe("existing");
    expect(await driver.admin.createTopic({ name: "kept", retention: { ms: 5, bytes: 6 } }, never)).toBe("created");
    await member(driver, "b");
    await member(driver, "a");
    expect(await driver.admin.describeTopic("orders", never)).toEqual({
      partitions: 1,
      retention: { ms: undefined, bytes: undefined, compact: false },
      groups: ["a", "b"],
    });
    expect(await driver.admin.describeTopic("kept", never)).toMatchObject({ retention: { ms: 5, bytes: 6, compact: false } });
    expect(await driver.admin.describeTopic("nowhere", never)).toBeUndefined();
    await expect(driver.describe("nowhere", never)).rejects.toMatchObject({ driverCode: "NOT_FOUND" });
    expect(await driver.describe("orders", never)).toMatchObject({ keyOrder: "members" });
  });

  it("refuse more than one partition, and native options", async () => {
    const { admin } = await stage();
    for (const more of [{ partitions: 2 }, { native: { anything: 1 } }]) {
      await expect(admin.createTopic({ name: "x", ...more }, never)).rejects.toMatchObject({ driverCode: "INVALID_ARGUMENT" });
    }
    expect(await admin.createTopic({ name: "x", partitions: 1, native: {} }, never)).toBe("created");
  });

  it("are deleted with their messages, groups, inboxes and ids; one made again under the name starts anew", async () => {
    const path = file();
    const { driver } = await open({ path });
    await driver.admin.createTopic({ name: "orders", retention: { compact: true } }, never);
    await driver.admin.createTopic({ name: "other" }, never);
    const subscription = await member(driver, "g");
    for (let n = 0; n < 3; n++) await put(driver, ...Array.from({ length: 900 }, (_, i) => record("x", { key: `${n}-${i}` })));
    await put(driver, record("y", { group: "g" }), record("z", { delayMs: 60_000 }), record("kept", { topic: "other", id: "kept" }));
    await take(subscription);
    await driver.admin.deleteTopic("orders", never);
    await driver.admin.deleteTopic("orders", never);
    const db = new DatabaseSync(path);
    const count = (table: string) => db.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.["n"];
    expect(["logs", "messages", "groups", "claims", "delayed", "dedupe", "latest"].map(count)).toEqual([1, 1, 0, 0, 0, 1, 0]);
    db.close();
    await driver.admin.createTopic({ name: "orders" }, never);
    expect(await put(driver, record("new"))).toEqual(["0:1"]);
    expect(bodies(await take(await member(driver, "g")))).toEqual(["new"]);
  });

  it("keep what their retention says: time", async () => {
    const clock = new ManualClock();
    const driver = await stage({}, clock, "unused");
    await driver.admin.createTopic({ name: "orders", retention: { ms: 1_000 } }, never);
    await put(driver, record("old"));
    clock.advance(600);
    await put(driver, record("newer"));
    clock.advance(400);
    expect(bodies(await take(await member(driver, "g")))).toEqual(["newer"]);
    clock.advance(600);
    expect(await take(await member(driver, "late"))).toEqual([]);
  });

  it("keep what their retention says: bytes, with the newest message in any case", async () => {
    const driver = await stage({}, new ManualClock(), "unused");
    await driver.admin.createTopic({ name: "orders", retention: { bytes: 1_000 } }, never);
    for (let n = 0; n < 500; n++) await put(driver, record(`${n}`.padEnd(36, ".")));
    expect(await take(await member(driver, "g"))).toHaveLength(10);
    await put(driver, record("large".repeat(1_000)));
    expect(await take(await member(driver, "h"))).toHaveLength(1);
  });

  it("keep what their retention says: the newest of each key, tombstones among them", async () => {
    const driver = await stage({}, new ManualClock(), "unused");
    await driver.admin.createTopic({ name: "orders", retention: { compact: true } }, never);
    for (const n of [1, 2, 3]) await put(driver, record(`a${n}`, { key: "a" }), record(`b${n}`, { key: "b" }), record(`free${n}`));
    await put(driver, record(null, { key: "a" }));
    expect(bodies(await take(await member(driver, "g")))).toEqual(["free1", "free2", "b3", "free3", "null"]);
    expect(await driver.admin.lag("orders", "g", never)).toMatchObject({ count: 5, inFlight: 5 });
    expect(await driver.admin.lag("orders", (await member(driver, "h")) && "h", never)).toMatchObject({ count: 5, inFlight: 0 });
  });
});

describe("groups", () => {
  it("are made with a durable start, once", async () => {
    const driver = await stage();
    await put(driver, record("before"));
    expect(await driver.admin.createGroup("orders", "g", LATEST, never)).toBe("created");
    await put(driver, record("after"));
    expect(await driver.admin.createGroup("orders", "g", EARLIEST, never)).toBe("existing");
    expect(bodies(await take(await member(driver, "g")))).toEqual(["after"]);
    await expect(driver.admin.createGroup("nowhere", "g", LATEST, never)).rejects.toMatchObject({ driverCode: "NOT_FOUND" });
  });

  it("are deleted with their inbox", async () => {
    const driver = await stage();
    await driver.admin.createGroup("orders", "g", EARLIEST, never);
    await put(driver, record("1"), record("2", { group: "g" }));
    await driver.admin.deleteGroup("orders", "g", never);
    await driver.admin.deleteGroup("orders", "g", never);
    await driver.admin.deleteGroup("nowhere", "g", never);
    expect(bodies(await take(await member(driver, "g", LATEST)))).toEqual([]);
    for (const call of [
      driver.admin.lag("orders", "x", never),
      driver.admin.position("orders", "x", never),
      driver.admin.seek("orders", "x", LATEST, never),
    ]) {
      await expect(call).rejects.toMatchObject({ driverCode: "NOT_FOUND" });
    }
  });

  it("count exactly what they have not acknowledged, and how old it is", async () => {
    const clock = new ManualClock();
    const driver = await stage({}, clock);
    const lag = () => driver.admin.lag("orders", "g", never);
    const subscription = await member(driver, "g");
    expect(await lag()).toEqual({ count: 0, inFlight: 0, oldestMs: 0 });
    for (let n = 0; n < 5; n++) {
      await put(driver, record(`${n}`, { publishedAt: clock.now() }));
      clock.advance(100);
    }
    expect(await lag()).toEqual({ count: 5, inFlight: 0, oldestMs: 500 });
    const got = await take(subscription, 3);
    expect(await lag()).toEqual({ count: 5, inFlight: 3, oldestMs: 500 });
    await subscription.ack([got[0]!, got[1]!]);
    expect(await lag()).toEqual({ count: 3, inFlight: 1, oldestMs: 300 });
    await subscription.nack?.([{ delivery: got[2]!, delayMs: 1_000, failures: 1 }]);
    await put(driver, record("mine", { group: "g", publishedAt: clock.now() }));
    expect(await lag()).toEqual({ count: 4, inFlight: 0, oldestMs: 300 });
  });

  it("stand where everything before is acknowledged", async () => {
    const driver = await stage();
    const position = async (group?: string): Promise<Place | undefined> => (await driver.admin.position("orders", group, never)).get("0");
    const subscription = await member(driver, "g");
    expect([await position(), await position("g")]).toEqual([undefined, undefined]);
    await put(driver, ...["1", "2", "3", "4"].map((body) => record(body)));
    const got = await take(subscription, 3);
    expect([await position(), await position("g")]).toEqual(["0:4", undefined]);
    await subscription.ack([got[0]!, got[2]!]);
    expect(await position("g")).toBe("0:1");
    await subscription.ack([got[1]!]);
    expect(await position("g")).toBe("0:3");
    const cut = await driver.admin.position("orders", "g", never);
    expect(bodies(await take(await member(driver, "next", { kind: "position", cut })))).toEqual(["4"]);
  });

  it("keep what lies in their inbox when they are moved", async () => {
    const driver = await stage();
    const subscription = await member(driver, "g");
    await put(driver, record("1"), record("mine", { group: "g" }));
    const got = await take(subscription);
    await driver.admin.seek("orders", "g", LATEST, never);
    expect(await subscription.ack(got)).toEqual(["confirmed", "lost"]);
  });
});
