import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, it } from "vitest";
import { sqlite } from "../src/index.ts";
import { bodies, EARLIEST, Events, file, folder, gather, member, never, open, put, record, systemClock, take } from "./stage.ts";

async function refusal(path: string, more: object = {}): Promise<{ code: string; retryable: boolean; text: string }> {
  const driver = sqlite({ path, ...more }).open({ clock: systemClock, down: () => {} });
  try {
    await driver.connect(never);
  } catch (error) {
    return { ...driver.classify(error), text: (error as Error).message };
  } finally {
    await driver.close();
  }
  throw new Error(`${path} was opened`);
}

describe("opening", () => {
  it("makes the file on first use, in WAL mode, and finds it again", async () => {
    const path = file();
    const { driver } = await open({ path });
    await driver.connect(never);
    await driver.admin.createTopic({ name: "orders" }, never);
    await driver.close();
    await driver.close();
    const db = new DatabaseSync(path, { readOnly: true });
    expect(db.prepare("PRAGMA journal_mode").get()).toEqual({ journal_mode: "wal" });
    db.close();
    const { driver: again } = await open({ path, create: false });
    expect(await again.admin.describeTopic("orders", never)).toBeDefined();
  });

  it("answers what the options have left of the record, never more than the record", async () => {
    const driver = sqlite({ path: file(), synchronous: "normal", leaseMs: 700, dedupeMs: 0 }).open({ clock: systemClock, down: () => {} });
    expect(await driver.connect(never)).toEqual({
      ...driver.capabilities,
      durabilityOnAck: "page-cache",
      lease: { ms: 700, extend: true },
      dedupe: { windowMs: 0 },
    });
    await driver.close();
  });

  it("refuses what is not there, or is no file", async () => {
    const where = folder();
    expect(await refusal(join(where, "missing", "orders.db"))).toMatchObject({ code: "NOT_FOUND", retryable: false });
    expect(await refusal(join(where, "orders.db"), { create: false })).toMatchObject({ code: "NOT_FOUND" });
    mkdirSync(join(where, "folder"));
    expect(await refusal(join(where, "folder"))).toMatchObject({ code: "INVALID_ARGUMENT", text: expect.stringContaining("is a folder") });
    expect(readdirSync(where)).toEqual(["folder"]);
  });

  it("refuses a file that is no database, another application's, or of a newer format, and changes nothing in it", async () => {
    const where = folder();
    const [text, foreign, newer] = ["text", "foreign", "newer"].map((name) => join(where, name)) as [string, string, string];
    writeFileSync(text, "not a database, but long enough to be looked at as if it were one".repeat(20));
    const other = new DatabaseSync(foreign);
    other.exec("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)");
    other.close();
    await (await open({ path: newer })).driver.close();
    const later = new DatabaseSync(newer);
    later.exec("PRAGMA user_version = 99");
    later.close();
    const before = [text, foreign].map((path) => readFileSync(path));
    expect(await refusal(text)).toMatchObject({ code: "INVALID_ARGUMENT", text: expect.stringContaining("not a database") });
    expect(await refusal(foreign)).toMatchObject({ code: "INVALID_ARGUMENT", text: expect.stringContaining("another application's") });
    expect(await refusal(newer)).toMatchObject({ code: "UNSUPPORTED", text: expect.stringMatching(/format is 99.* reads 1/) });
    expect([text, foreign].map((path) => readFileSync(path))).toEqual(before);
  });

  it("refuses a damaged file as data loss", async () => {
    const path = file();
    await (await open({ path })).driver.close();
    const damaged = openSync(path, "r+");
    writeSync(damaged, new Uint8Array(4_000).fill(0xa5), 0, 4_000, 100);
    closeSync(damaged);
    expect(await refusal(path)).toMatchObject({ code: "DATA_LOSS", retryable: false, text: expect.stringContaining("restore a copy") });
  });
});

describe("a file that another process has locked", () => {
  it("is waited for, and then UNAVAILABLE with nothing sent; reading goes on, and so does everything once it is free", async () => {
    const path = file();
    const { driver, downs } = await open({ path, busyMs: 150 });
    await driver.admin.createTopic({ name: "orders" }, never);
    const subscription = await member(driver, "g");
    await put(driver, record("before"));
    const [delivery] = await take(subscription, 1);
    const other = new DatabaseSync(path);
    other.exec("BEGIN IMMEDIATE");
    const began = performance.now();
    const [result] = await driver.publish([record("x")], never);
    expect(performance.now() - began).toBeGreaterThan(140);
    expect(result).toMatchObject({ ok: false, sent: "no" });
    expect(driver.classify(result?.ok === false && result.error)).toEqual({ code: "UNAVAILABLE", retryable: true });
    await expect(subscription.ack([delivery!])).rejects.toMatchObject({ driverCode: "UNAVAILABLE" });
    expect((await driver.admin.describeTopic("orders", never))?.groups).toEqual(["g"]);
    other.exec("COMMIT");
    other.close();
    expect(await subscription.ack([delivery!])).toEqual(["confirmed"]);
    await put(driver, record("after"));
    expect(bodies(await take(subscription))).toEqual(["after"]);
    expect(downs).toEqual([]);
  });

  it("does not hold up the event loop meanwhile, and gives up at once when told to", async () => {
    const path = file();
    const { driver } = await open({ path, busyMs: 60_000 });
    await driver.admin.createTopic({ name: "orders" }, never);
    const other = new DatabaseSync(path);
    other.exec("BEGIN IMMEDIATE");
    const stop = new AbortController();
    const publishing = driver.publish([record("x")], stop.signal);
    let turns = 0;
    while (turns < 20) await new Promise((resolve) => setTimeout(resolve, 1)).then(() => turns++);
    stop.abort();
    expect(await publishing).toMatchObject([{ ok: false, sent: "no", error: { driverCode: "UNAVAILABLE" } }]);
    other.exec("COMMIT");
    other.close();
    expect(await driver.admin.position("orders", undefined, never)).toEqual(new Map());
  });
});

describe("a file that is removed or replaced while it is open", () => {
  it("takes no more messages: core is told, members lose what they have, and connecting again opens what is there now", async () => {
    const path = file();
    const { driver, downs } = await open({ path });
    await driver.admin.createTopic({ name: "orders" }, never);
    const events = new Events();
    const subscription = await member(driver, "g", EARLIEST, events);
    const waiting = expect(subscription.receive(10, 60_000, never)).rejects.toMatchObject({ driverCode: "UNAVAILABLE" });
    for (const name of readdirSync(dirname(path))) rmSync(join(dirname(path), name));
    const [result] = await driver.publish([record("x")], never);
    expect(result).toMatchObject({
      ok: false,
      sent: "no",
      error: { driverCode: "UNAVAILABLE", message: expect.stringContaining("removed or replaced") },
    });
    await waiting;
    expect(downs).toHaveLength(1);
    expect(events.losts.map(({ shard }) => shard)).toEqual(["0", "inbox"]);
    await expect(driver.ping(never)).rejects.toMatchObject({ driverCode: "UNAVAILABLE" });
    await driver.connect(never);
    await driver.admin.createTopic({ name: "orders" }, never);
    await put(driver, record("y"));
    expect(bodies(await gather(await member(driver, "g"), 1))).toEqual(["y"]);
    await subscription.close();
  });

  it("is noticed as well when another file takes its name", async () => {
    const path = file();
    const { driver } = await open({ path });
    await driver.admin.createTopic({ name: "orders" }, never);
    renameSync(path, `${path}.old`);
    writeFileSync(path, "");
    expect(await driver.publish([record("x")], never)).toMatchObject([{ ok: false, sent: "no" }]);
  });
});

describe("closing", () => {
  it("leaves nothing that keeps the process alive, and nothing but the files", async () => {
    const path = file();
    const { driver } = await open({ path });
    await driver.admin.createTopic({ name: "orders" }, never);
    const subscription = await member(driver, "g");
    const cursor = await driver.replay({ topic: "orders", from: EARLIEST, follow: true, events: new Events() }, never);
    const [reading, following] = [subscription.receive(10, 60_000, never), cursor.receive(10, 60_000, never)];
    following.catch(() => {});
    await driver.close();
    expect(await reading).toEqual([]);
    await expect(following).rejects.toMatchObject({ driverCode: "UNAVAILABLE" });
    expect(readdirSync(dirname(path)).sort()).toEqual(["orders.db", "orders.db-wake"]);
    expect(process.getActiveResourcesInfo().filter((name) => /FSEvent|FSReq/.test(name))).toEqual([]);
  });
});
