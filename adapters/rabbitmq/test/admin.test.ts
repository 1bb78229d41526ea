import { beforeAll, describe, expect, test } from "vitest";
import { type RabbitMqOptions, rabbitmq } from "../src/index.ts";
import { queueOf } from "../src/mapping.ts";
import {
  at,
  codeOf,
  fresh,
  ids,
  open,
  plain,
  read,
  record,
  records,
  type Server,
  soon,
  startServer,
  store,
  topicOn,
  until,
} from "./stage.ts";

let server: Server;
beforeAll(async () => {
  server = await startServer();
});

async function opened(more: RabbitMqOptions = {}) {
  const made = await open(rabbitmq({ ...at(server.broker), log: false, ...more }));
  return { ...made, topic: await topicOn(made.driver) };
}

describe("topics", () => {
  test("are made once, described with their groups, and leave nothing behind when they are deleted", async () => {
    const { driver, topic } = await opened({ log: true });
    expect(await driver.admin.createTopic({ name: topic }, soon())).toBe("existing");
    for (const group of ["a", "b"]) expect(await driver.admin.createGroup(topic, group, { kind: "latest" }, soon())).toBe("created");
    expect(await driver.admin.createGroup(topic, "a", { kind: "latest" }, soon())).toBe("existing");
    expect(await driver.admin.describeTopic(topic, soon())).toEqual({ partitions: 1, retention: undefined, groups: ["a", "b"] });
    const waiting = [record(topic, "1", { delayMs: 600_000 }), record(topic, "2", { target: { topic, group: "a" }, delayMs: 600_000 })];
    await store(driver, waiting);
    await driver.admin.deleteGroup(topic, "b", soon());
    expect((await driver.admin.describeTopic(topic, soon()))?.groups).toEqual(["a"]);
    for (let times = 0; times < 2; times++) await driver.admin.deleteTopic(topic, soon());
    expect(await driver.admin.describeTopic(topic, soon())).toBeUndefined();
    for (const what of ["queues", "exchanges", "bindings"]) expect(await server.control(`list_${what}`, "--silent")).not.toContain(topic);
    await driver.admin.createTopic({ name: topic }, soon());
    expect((await driver.admin.describeTopic(topic, soon()))?.groups).toEqual([]);
    expect(await driver.admin.createGroup(topic, "a", { kind: "latest" }, soon())).toBe("created");
  });

  test("whose exchange somebody made otherwise are refused in words, and nothing is changed", async () => {
    const { driver } = await opened();
    const name = fresh();
    await (await (await plain(server.broker)).createChannel()).assertExchange(name, "direct");
    const refused = await driver.admin.createTopic({ name }, soon()).catch((error: unknown) => error);
    expect(driver.classify(refused).code).toBe("INVALID_ARGUMENT");
    expect(String(refused)).toMatch(new RegExp(`exchange "${name}" already, made with other arguments .*'type'`));
    await driver.ping(soon());
  });

  test("that are missing are NOT_FOUND to everybody", async () => {
    const { driver } = await opened();
    const name = fresh();
    expect(await codeOf(driver, driver.describe(name, soon()))).toBe("NOT_FOUND");
    expect(await codeOf(driver, read(driver, name, "g"))).toBe("NOT_FOUND");
    expect(await codeOf(driver, read(driver, name, undefined))).toBe("NOT_FOUND");
    expect(await codeOf(driver, driver.admin.createGroup(name, "g", { kind: "latest" }, soon()))).toBe("NOT_FOUND");
    expect(await codeOf(driver, driver.admin.position(name, undefined, soon()))).toBe("NOT_FOUND");
    expect(await codeOf(driver, driver.admin.lag(name, "g", soon()))).toBe("NOT_FOUND");
    await driver.admin.deleteGroup(name, "g", soon());
  });

  test("begin as the server's own names do, and are told apart", async () => {
    const { driver } = await opened();
    await driver.admin.createTopic({ name: "amq.mine" }, soon());
    const { take } = await read(driver, "amq.mine", "g");
    await store(driver, records("amq.mine", "1"));
    expect(ids(await take(1))).toEqual(["1"]);
  });

  test.each([
    [{ log: 1 }, /log must be a boolean/],
    [{ logSegmentBytes: 0 }, /logSegmentBytes/],
    [{ logs: true }, /no option "logs"\. Known: log, logSegmentBytes/],
    ["yes", /must be an object/],
  ])("native options %j are refused and said", async (rabbit, said) => {
    const { driver } = await opened();
    const refused = await driver.admin
      .createTopic({ name: fresh(), native: { rabbitmq: rabbit } }, soon())
      .catch((error: unknown) => error);
    expect(driver.classify(refused).code).toBe("INVALID_ARGUMENT");
    expect(String(refused)).toMatch(said);
  });

  test("made without a log have less than others, and no retention", async () => {
    const { driver, topic, capabilities } = await opened({ log: true });
    expect(await driver.describe(topic, soon())).toEqual(capabilities);
    const without = await topicOn(driver, { rabbitmq: { log: false } });
    const described = await driver.describe(without, soon());
    expect([described.from.replay, described.delivery.broadcast, described.cursorEnd]).toEqual([[], "at-most-once", false]);
    const spec = { name: fresh(), retention: { ms: 1_000 }, native: { rabbitmq: { log: false } } };
    expect(await codeOf(driver, driver.admin.createTopic(spec, soon()))).toBe("UNSUPPORTED");
  });
});

describe("lag", () => {
  test("counts what waits and what is held here, and is not known where only others may hold something", async () => {
    const { driver, topic } = await opened();
    const { subscription, take } = await read(driver, topic, "g", { credit: 2 });
    const count = async (): Promise<unknown> => (await driver.admin.lag(topic, "g", soon())).count;
    expect(await count()).toBe(0);
    await store(driver, records(topic, "1", "2", "3", "4", "5"));
    const got = await take(2);
    await until(async () => (await count()) === 5, "all to be counted");
    await subscription.ack(got);
    await subscription.flush();
    await until(async () => (await count()) === 3, "less");
    await subscription.ack(await take(2));
    await subscription.ack(await take(1));
    await subscription.flush();
    await until(async () => (await count()) === 0, "nothing");
    const other = await opened();
    await read(other.driver, topic, "g");
    expect(await count()).toBeUndefined();
  });
});

test("the queue of a group has what the options say", async () => {
  const { driver, topic } = await opened({ queueType: "classic", priorities: 5 });
  await driver.admin.createGroup(topic, "g", { kind: "latest" }, soon());
  const queues = (await server.control("list_queues", "--silent", "name", "type", "arguments")).split("\n");
  const queue = queues.find((line) => line.startsWith(`${queueOf(topic, "g")}\t`)) ?? "";
  expect(queue).toMatch(/classic/);
  expect(queue).toMatch(/x-max-priority.*4/);
  expect(queue).toMatch(/x-dead-letter-exchange/);
  const { take } = await read(driver, topic, "h");
  await store(driver, [record(topic, "low", { priority: 0 }), record(topic, "high", { priority: 4 })]);
  expect(new Set(ids(await take(2)))).toEqual(new Set(["low", "high"]));
});
