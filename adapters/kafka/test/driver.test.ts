import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { systemClock as clock, ranFor } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import kafkajs from "kafkajs";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { kafka } from "../src/index.ts";
import { startKafka } from "./stage.ts";
import { at, atLast, defer, failure, fresh, open, read, record, records, soon, store, until } from "./stage-driver.ts";

// Some start several servers.
vi.setConfig({ testTimeout: 60_000 });

let server: RunningBroker;
beforeAll(async () => {
  server = await startKafka();
  atLast(() => server.close());
});

async function own(options: Readonly<Record<string, string>> = {}): Promise<RunningBroker> {
  const broker = await startKafka(options);
  defer(() => broker.close());
  return broker;
}

describe("capabilities", () => {
  test("are the server's: the page cache of one server, and the largest batch less what a record adds", async () => {
    const { driver, capabilities } = await open(at(server));
    expect(capabilities).toEqual({
      ...driver.capabilities,
      durabilityOnAck: "page-cache",
      message: { ...driver.capabilities.message, maxBytes: 1_048_588 - 1_024 },
    });
    expect(Object.isFrozen(capabilities)).toBe(true);
  });

  test("are narrowed by a topic's settings, and never widened", async () => {
    const { driver, capabilities } = await open(at(server));
    const of = async (config: Record<string, string>) => {
      const name = fresh();
      await driver.admin.createTopic({ name, native: { kafka: { config } } }, soon());
      return driver.describe(name, soon());
    };
    expect(await of({})).toEqual({ ...capabilities, topics: { ...capabilities.topics, partitions: 3 } });
    expect((await of({ "max.message.bytes": "50000" })).message.maxBytes).toBe(50_000 - 1_024);
    expect((await of({ "max.message.bytes": "2000000" })).message.maxBytes).toBe(capabilities.message.maxBytes);
    expect((await of({ "max.message.bytes": "500" })).message.maxBytes).toBe(0);
    expect((await of({ "flush.messages": "1", "min.insync.replicas": "2" })).durabilityOnAck).toBe("page-cache");
  });

  test("a message of the largest size is stored, whatever it is made of", async () => {
    const { driver, capabilities } = await open(at(server));
    const topic = fresh();
    await driver.admin.createTopic({ name: topic }, soon());
    const { maxBytes } = capabilities.message;
    await store(driver, [
      record(topic, "body", { key: undefined, body: Buffer.alloc(maxBytes, 1) }),
      record(topic, "i".repeat(200), { key: Buffer.alloc(1_000), headers: [["h", Buffer.alloc(maxBytes - 1_001)]], body: null }),
      record(topic, "inbox", { target: { topic, group: "g" }, body: Buffer.alloc(maxBytes - 5), failures: 3, delayMs: 5, publishedAt: 1 }),
    ]);
    const [large] = await driver.publish([record(topic, "large", { body: Buffer.alloc(1_048_588) })], soon());
    expect(large).toMatchObject({ ok: false, sent: "no" });
    expect(large?.ok === false && driver.classify(large.error).code).toBe("TOO_LARGE");
  });

  test("say fsync and replicated where the server's settings do, and a topic of one copy is not replicated", async () => {
    const [flushed, copied] = await Promise.all([
      own({ "log.flush.interval.messages": "1", "message.max.bytes": "100000" }),
      own({ "min.insync.replicas": "2" }),
    ]);
    const first = await open(at(flushed));
    expect([first.capabilities.durabilityOnAck, first.capabilities.message.maxBytes]).toEqual(["fsync", 100_000 - 1_024]);
    const second = await open(at(copied));
    expect(second.capabilities.durabilityOnAck).toBe("replicated");
    const topic = fresh();
    await second.driver.admin.createTopic({ name: topic }, soon());
    expect((await second.driver.describe(topic, soon())).durabilityOnAck).toBe("page-cache");
  });

  test("are the least where the user may not ask", async () => {
    const broker = await own({ sasl: "root:r ann:a", acl: "root", "log.flush.interval.messages": "1" });
    const as = (username: string, password: string) => at(broker, { sasl: { mechanism: "plain", username, password } });
    expect((await open(as("root", "r"))).capabilities.durabilityOnAck).toBe("fsync");
    const { driver, capabilities } = await open(as("ann", "a"));
    expect(capabilities.durabilityOnAck).toBe("page-cache");
    expect((await failure(driver, driver.admin.createTopic({ name: fresh() }, soon()))).code).toBe("FORBIDDEN");
  });
});

describe("rights", () => {
  const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } = kafkajs;

  test("that the README names are enough, and without them it is FORBIDDEN", async () => {
    const broker = await own({ sasl: "root:r ann:a bob:b", acl: "root", "offsets.topic.num.partitions": "1" });
    const as = (username: string) => at(broker, { sasl: { mechanism: "plain", username, password: username.charAt(0) } });
    const client = new kafkajs.Kafka({
      brokers: [`${broker.host}:${broker.port}`],
      logLevel: kafkajs.logLevel.NOTHING,
      sasl: { mechanism: "plain", username: "root", password: "r" },
    });
    const rules = client.admin();
    await rules.connect();
    defer(() => rules.disconnect());
    const topic = fresh();
    const allow = (resourceType: number, ...operations: number[]) =>
      operations.map((operation) => ({
        resourceType,
        resourceName: topic,
        resourcePatternType: ResourcePatternTypes.PREFIXED,
        principal: "User:ann",
        host: "*",
        operation,
        permissionType: AclPermissionTypes.ALLOW,
      }));
    const { READ, WRITE, CREATE, DELETE, DESCRIBE_CONFIGS } = AclOperationTypes;
    await rules.createAcls({
      acl: [
        ...allow(AclResourceTypes.TOPIC, READ, WRITE, CREATE, DELETE, DESCRIBE_CONFIGS),
        ...allow(AclResourceTypes.GROUP, READ, DELETE),
      ],
    });
    const { driver } = await open(as("ann"));
    const { admin } = driver;
    await admin.createTopic({ name: topic, partitions: 2 }, soon());
    await driver.describe(topic, soon());
    const { subscription, take } = await read(driver, topic, "g");
    await store(driver, [...records(topic, "1"), record(topic, "in", { target: { topic, group: "g" } })]);
    expect(await subscription.ack(await take(2))).toEqual(["confirmed", "confirmed"]);
    expect(await admin.describeTopic(topic, soon())).toMatchObject({ partitions: 2, groups: ["g"] });
    expect((await admin.lag(topic, "g", soon())).count).toBe(0);
    await subscription.close();
    const stranger = await open(as("bob"));
    const calls = [
      () => stranger.driver.describe(topic, soon()),
      () => stranger.driver.admin.describeTopic(topic, soon()),
      () => stranger.driver.admin.createTopic({ name: `${topic}-2` }, soon()),
      () => stranger.driver.admin.seek(topic, "g", { kind: "latest" }, soon()),
      () => stranger.driver.admin.deleteTopic(topic, soon()),
      () => read(stranger.driver, topic, "g"),
    ];
    for (const call of calls) expect((await failure(stranger.driver, call())).code).toBe("FORBIDDEN");
    const [refused] = await stranger.driver.publish(records(topic, "2"), soon());
    expect(refused?.ok === false && [refused.sent, stranger.driver.classify(refused.error).code]).toEqual(["no", "FORBIDDEN"]);
    await admin.seek(topic, "g", { kind: "earliest" }, soon());
    await admin.deleteGroup(topic, "g", soon());
    await admin.deleteTopic(topic, soon());
    expect(await admin.describeTopic(topic, soon())).toBeUndefined();
  });
});

describe("connecting", () => {
  test("again and at once is one connecting, and changes nothing", async () => {
    const { driver, capabilities } = await open(at(server));
    const again = await Promise.all([driver.connect(soon()), driver.connect(soon())]);
    expect(again).toEqual([capabilities, capabilities]);
    await driver.ping(soon());
  });

  test("is given up in time when its signal aborts, and can be tried again", async () => {
    const broker = await own();
    const driver = at(broker).open({ clock, down: () => {} });
    defer(() => driver.close());
    await broker.stop();
    const began = performance.now();
    const { code } = await failure(driver, driver.connect(AbortSignal.timeout(100)));
    expect(code).not.toBe("none");
    expect(ranFor(began)).toBeLessThan(1_100);
    await broker.cont();
    await driver.connect(soon());
  });

  test("heals after the server was killed: core is told, publishing fails with nothing sent, and works again", async () => {
    const broker = await own();
    const { driver, downs } = await open(at(broker));
    const topic = fresh();
    await driver.admin.createTopic({ name: topic }, soon());
    await store(driver, records(topic, "1"));
    await broker.kill();
    await until(() => downs.length > 0, "core to be told");
    expect(driver.classify(downs[0])).toEqual({ code: "UNAVAILABLE", retryable: true });
    const [result] = await driver.publish(records(topic, "2"), soon());
    expect(result).toMatchObject({ ok: false, sent: "no" });
    expect((await failure(driver, driver.connect(soon()))).code).toBe("UNAVAILABLE");
    expect((await failure(driver, driver.ping(soon()))).code).toBe("UNAVAILABLE");
    await broker.restart();
    await driver.connect(soon());
    await store(driver, records(topic, "3"));
    expect(downs).toHaveLength(1);
    await broker.kill();
    await until(() => downs.length > 1, "core to be told again");
  });

  test("a server that closes idle connections is not down", async () => {
    const broker = await own({ "connections.max.idle.ms": "500" });
    const { driver, downs } = await open(at(broker));
    const topic = fresh();
    await driver.admin.createTopic({ name: topic }, soon());
    const began = performance.now();
    // Longer than any connection lives idle.
    await until(() => performance.now() - began > 3_000, "time to pass");
    await store(driver, records(topic, "1"));
    await driver.ping(soon());
    expect(downs).toEqual([]);
  });
});

describe("closing", () => {
  test("is idempotent; nothing works after it, and nothing is sent", async () => {
    const { driver } = await open(at(server));
    const topic = fresh();
    await driver.admin.createTopic({ name: topic }, soon());
    await Promise.all([driver.close(), driver.close()]);
    await driver.close();
    expect((await failure(driver, driver.ping(soon()))).code).toBe("UNAVAILABLE");
    expect((await failure(driver, driver.admin.describeTopic(topic, soon()))).code).toBe("UNAVAILABLE");
    const [result] = await driver.publish(records(topic, "1"), soon());
    expect(result).toMatchObject({ ok: false, sent: "no" });
    const other = await open(at(server));
    expect(await other.driver.admin.position(topic, undefined, soon())).toEqual(new Map());
  });

  test("closes the readers that are open: members leave their group, and nobody waits any longer", async () => {
    const { driver } = await open(at(server));
    const topic = fresh();
    await driver.admin.createTopic({ name: topic }, soon());
    await store(driver, records(topic, "1"));
    const [member, listener] = [await read(driver, topic, "g", { from: { kind: "earliest" } }), await read(driver, topic, undefined)];
    const events = { dataLoss: () => {} };
    const cursor = await driver.replay({ topic, from: { kind: "latest" }, follow: true, events }, soon());
    await member.take(1);
    const waiting = [member.subscription, listener.subscription, cursor].map((one) => one.receive(1, 60_000, soon(60_000)).catch(() => {}));
    await driver.close();
    await Promise.all(waiting);
    const other = await open(at(server));
    await other.driver.admin.deleteGroup(topic, "g", soon());
  });

  test("works on a driver that was never connected, and ends a connecting that is under way", async () => {
    await kafka()
      .open({ clock, down: () => {} })
      .close();
    const driver = at(server).open({ clock, down: () => {} });
    const connecting = failure(driver, driver.connect(soon()));
    await driver.close();
    expect((await connecting).code).toBe("UNAVAILABLE");
  });

  test("leaves nothing that holds the process", async () => {
    const script = `
      const { kafka } = await import(${JSON.stringify(new URL("../src/index.ts", import.meta.url).href)});
      const { systemClock: clock } = await import("@brokerkit/conformance");
      const driver = kafka({ brokers: ["${server.host}:${server.port}"] }).open({ clock, down() {} });
      const soon = () => AbortSignal.timeout(10_000);
      await driver.connect(soon());
      const target = { topic: "held-" + process.pid };
      await driver.admin.createTopic({ name: target.topic }, soon());
      const common = { target, id: "1", dedupeId: "1", key: undefined, headers: [], body: Buffer.from("1"), publishedAt: Date.now() };
      await driver.publish([common], soon());
      const events = { lost() {}, state() {}, dataLoss() {} };
      const asked = { topic: target.topic, group: "g", from: { kind: "earliest" }, credit: 10, events };
      const subscription = await driver.subscribe(asked, soon());
      const got = await subscription.receive(1, 5_000, soon());
      await subscription.close();
      await driver.close();
      console.log(got.length, Date.now());`;
    const args = ["--conditions=@brokerkit/source", "--input-type=module", "-e", script];
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 25_000 });
    const [count, closedAt] = stdout.trim().split(" ").map(Number);
    expect(count).toBe(1);
    expect(Date.now() - Number(closedAt)).toBeLessThan(5_000);
  });
});
