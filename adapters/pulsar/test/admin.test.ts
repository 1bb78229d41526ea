import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { beforeAll, describe, expect, test } from "vitest";
import { adminOf } from "../recipe.ts";
import { pulsar } from "../src/index.ts";
import { inboxOf } from "../src/mapping.ts";
import { frontOf } from "./admin-front.ts";
import { at, failure, fresh, ids, open, read, record, records, replay, soon, store, topicOn, until, usualServer } from "./stage.ts";

const LATEST = { kind: "latest" } as const;
let server: RunningBroker;
beforeAll(async () => {
  server = await usualServer();
});

describe("topics", () => {
  test("are created once, with partitions, and described", async () => {
    const { driver } = await open(pulsar(at(server)));
    const topic = fresh();
    const spec = { name: topic, partitions: 3 };
    const made = await Promise.all([driver.admin.createTopic(spec, soon()), driver.admin.createTopic(spec, soon())]);
    expect(made.sort()).toEqual(["created", "existing"]);
    expect(await driver.admin.describeTopic(topic, soon())).toMatchObject({ partitions: 3, groups: [] });
    expect((await driver.describe(topic, soon())).topics.partitions).toBe(3);
  });

  test("without partitions have an order for each lane of keys, which is said as so many shards", async () => {
    const { driver, topic } = await topicOn(at(server));
    expect((await driver.admin.describeTopic(topic, soon()))?.partitions).toBe(0);
    expect((await driver.describe(topic, soon())).topics.partitions).toBe(32);
  });

  test("keep what their retention says, in whole minutes", async () => {
    const { driver, topic } = await topicOn(at(server), { retention: { ms: 90_000 } });
    expect((await driver.admin.describeTopic(topic, soon()))?.retention).toEqual({ ms: 120_000 });
  });

  test("whose retention is refused are not left behind without it", async () => {
    const { driver } = await open(pulsar(at(server)));
    const spec = { name: fresh(), partitions: 2 };
    // Less than the backlog that subscriptions may have.
    const refused = driver.admin.createTopic({ ...spec, retention: { ms: 180_000, bytes: 7_000_000 } }, soon());
    expect((await failure(driver, refused)).code).toBe("INVALID_ARGUMENT");
    expect(await driver.admin.createTopic(spec, soon())).toBe("created");
  });

  test("whose names are like those of partitions are topics of their own", async () => {
    const { driver } = await open(pulsar(at(server)));
    const topic = `${fresh()}-partition-1`;
    await driver.admin.createTopic({ name: topic, partitions: 2 }, soon());
    await store(driver, records(topic, "1"));
    expect(ids(await (await replay(driver, topic, { kind: "earliest" })).all())).toEqual(["1"]);
  });

  test("have no options of their own", async () => {
    const { driver } = await open(pulsar(at(server)));
    const { code, error } = await failure(driver, driver.admin.createTopic({ name: fresh(), native: { pulsar: { x: 1 } } }, soon()));
    expect([code, error.message]).toEqual(["INVALID_ARGUMENT", expect.stringContaining("native.pulsar")]);
    expect(await driver.admin.createTopic({ name: fresh(), native: { kafka: {} } }, soon())).toBe("created");
  });

  test("are deleted with their groups and inboxes, and deleting them again succeeds", async () => {
    const { driver, topic } = await topicOn(at(server));
    await driver.admin.createGroup(topic, "g", LATEST, soon());
    expect(await driver.admin.describeTopic(inboxOf(topic, "g"), soon())).toMatchObject({ groups: ["g"] });
    await driver.admin.deleteTopic(topic, soon());
    await driver.admin.deleteTopic(topic, soon());
    for (const name of [topic, inboxOf(topic, "g")]) expect(await driver.admin.describeTopic(name, soon())).toBe(undefined);
  });
});

describe("groups", () => {
  test("are made once, and forgotten with their inbox", async () => {
    const { driver, topic } = await topicOn(at(server), { partitions: 2 });
    expect(await driver.admin.createGroup(topic, "g", LATEST, soon())).toBe("created");
    expect(await driver.admin.createGroup(topic, "g", { kind: "earliest" }, soon())).toBe("existing");
    expect((await driver.admin.describeTopic(topic, soon()))?.groups).toEqual(["g"]);
    await driver.admin.deleteGroup(topic, "g", soon());
    await driver.admin.deleteGroup(topic, "g", soon());
    expect((await driver.admin.describeTopic(topic, soon()))?.groups).toEqual([]);
    expect(await driver.admin.describeTopic(inboxOf(topic, "g"), soon())).toBe(undefined);
  });

  test("that can't begin where they are to are not left behind", async () => {
    const { driver, topic } = await topicOn(at(server), { partitions: 2 });
    await failure(driver, driver.admin.createGroup(topic, "g", { kind: "time", ms: Number.NaN }, soon()));
    expect((await driver.admin.describeTopic(topic, soon()))?.groups).toEqual([]);
    expect(await driver.admin.createGroup(topic, "g", LATEST, soon())).toBe("created");
  });

  test("that are not there are NOT_FOUND, and so are those of topics that are not", async () => {
    const { driver, topic } = await topicOn(at(server));
    for (const name of [topic, `${topic}-not`]) {
      for (const call of [
        () => driver.admin.position(name, "nobody", soon()),
        () => driver.admin.lag(name, "nobody", soon()),
        () => driver.admin.seek(name, "nobody", LATEST, soon()),
      ])
        expect((await failure(driver, call())).code).toBe("NOT_FOUND");
    }
    expect((await failure(driver, driver.admin.createGroup(`${topic}-not`, "g", LATEST, soon()))).code).toBe("NOT_FOUND");
  });

  test("say how many messages they have left, in batches, in partitions and in the inbox", async () => {
    const { driver, topic } = await topicOn(at(server), { partitions: 2 });
    await driver.admin.createGroup(topic, "g", LATEST, soon());
    expect(await driver.admin.lag(topic, "g", soon())).toEqual({ count: 0, inFlight: 0, oldestMs: 0 });
    await store(
      driver,
      Array.from({ length: 40 }, (_, n) => record(topic, String(n), { key: Buffer.from(String(n)) })),
    );
    await store(driver, [record(topic, "kept", { target: { topic, group: "g" } })]);
    const lag = await driver.admin.lag(topic, "g", soon());
    expect(lag).toMatchObject({ count: 41, inFlight: 0 });
    expect(lag.oldestMs).toBeGreaterThan(0);
    const { subscription, take } = await read(driver, topic, "g");
    const got = await take(41);
    expect((await driver.admin.lag(topic, "g", soon())).inFlight).toBe(41);
    await subscription.ack(got);
    expect(await driver.admin.lag(topic, "g", soon())).toEqual({ count: 0, inFlight: 0, oldestMs: 0 });
  });

  test("go back to a position that was theirs, and what waits in the inbox is cleared", async () => {
    const { driver, topic } = await topicOn(at(server));
    const { subscription, take } = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2"));
    await subscription.ack(await take(2));
    const before = await driver.admin.position(topic, "g", soon());
    await store(driver, [...records(topic, "3", "4"), record(topic, "kept", { target: { topic, group: "g" } })]);
    await subscription.ack((await take(3)).filter(({ inbox }) => !inbox));
    await subscription.close();
    expect((await driver.admin.lag(topic, "g", soon())).count).toBe(1);
    await driver.admin.seek(topic, "g", { kind: "position", cut: before }, soon());
    const again = await read(driver, topic, "g");
    expect(ids(await again.take(2))).toEqual(["3", "4"]);
    expect(await again.subscription.receive(10, 300, soon())).toEqual([]);
    await again.subscription.close();
    await driver.admin.seek(topic, "g", { kind: "earliest" }, soon());
    await until(async () => (await driver.admin.lag(topic, "g", soon())).count === 4, "everything to be left");
    await driver.admin.seek(topic, "g", LATEST, soon());
    await until(async () => (await driver.admin.lag(topic, "g", soon())).count === 0, "nothing to be left");
  });

  test("whose members are still there lose what is in the inbox before they are disconnected, not after they are back", async () => {
    const lostAt: number[] = [];
    const before = (path: string): void => void (path.includes("skip_all") && lostAt.push(lost.length));
    const { driver, topic } = await topicOn({ ...at(server), adminUrl: await frontOf(adminOf(server), { before }) });
    const { subscription, lost, take } = await read(driver, topic, "g");
    await store(driver, records(topic, "1"));
    await take(1);
    await driver.admin.seek(topic, "g", { kind: "earliest" }, soon());
    expect([lostAt, lost.map(({ id }) => id)]).toEqual([[0], ["0"]]);
    expect((await failure(driver, subscription.receive(1, 5_000, soon()))).code).toBe("UNAVAILABLE");
  });
});
