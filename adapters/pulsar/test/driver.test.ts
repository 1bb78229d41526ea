import { ranFor, systemClock } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { beforeAll, describe, expect, test } from "vitest";
import { adminOf } from "../recipe.ts";
import { capabilities } from "../src/capabilities.ts";
import { pulsar } from "../src/index.ts";
import { frontOf } from "./admin-front.ts";
import {
  at,
  connecting,
  failure,
  fresh,
  ids,
  open,
  proxied,
  read,
  records,
  replay,
  soon,
  startServer,
  store,
  topicOn,
  until,
} from "./stage.ts";

/** As brokers are when nobody has set anything: batches are acknowledged as a whole, and what is acknowledged is gone. */
const USUAL = {
  acknowledgmentAtBatchIndexLevelEnabled: "false",
  defaultRetentionTimeInMinutes: "0",
  defaultRetentionSizeInMB: "0",
  managedLedgerDefaultMarkDeleteRateLimit: "0.1",
};
let server: RunningBroker;
beforeAll(async () => {
  server = await startServer(USUAL);
}, 180_000);

describe("a broker as it comes", () => {
  test("acknowledges whole batches, syncs one copy, and takes 5 MiB", async () => {
    const { capabilities: record } = await open(pulsar(at(server)));
    expect(record).toEqual({
      ...capabilities.pulsar,
      durabilityOnAck: "fsync",
      settle: { unit: "entry", ack: "recorded" },
      publish: { ...capabilities.pulsar.publish, maxBytes: 8_388_608 },
      message: { ...capabilities.pulsar.message, maxBytes: 5_242_880 - 4_096 },
    });
  });

  test("gives back what a batch still has, all of it when the member leaves", async () => {
    const { driver, topic } = await topicOn(at(server));
    const { subscription, take } = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2", "3"));
    const got = await take(3);
    expect(await subscription.ack(got.slice(0, 1))).toEqual(["recorded"]);
    await subscription.close();
    const next = await read(driver, topic, "g");
    const again = await next.take(3);
    expect(ids(again)).toEqual(["1", "2", "3"]);
    await next.subscription.ack(again.slice(0, 2));
    expect(await next.subscription.ack(again.slice(2))).toEqual(["confirmed"]);
    await next.subscription.close();
    expect(await (await read(driver, topic, "g")).subscription.receive(10, 300, soon())).toEqual([]);
  });

  test("keeps what topics that are made here get, seven days", async () => {
    const { driver, topic } = await topicOn(at(server));
    expect((await driver.admin.describeTopic(topic, soon()))?.retention).toEqual({ ms: 604_800_000 });
    expect((await driver.describe(topic, soon())).from.replay).toEqual(["earliest", "time", "position"]);
  });

  test("keeps nothing of others' topics, so that there is nothing to replay", async () => {
    const { driver } = await open(pulsar(at(server)));
    const { driver: maker, topic } = await topicOn(at(server));
    await maker.admin.createGroup(topic, "g", { kind: "latest" }, soon());
    // A group's inbox is made without retention.
    const record = await driver.describe(`${topic}.g.retry`, soon());
    expect(record.from).toEqual({ ...capabilities.pulsar.from, broadcast: ["latest"], replay: [] });
    expect(record.delivery.broadcast).toBe("at-most-once");
  });
});

describe("options", () => {
  test("members that share keep no order of keys", async () => {
    const { capabilities: record } = await open(pulsar({ ...at(server), subscriptionType: "shared" }));
    expect(record.keyOrder).toBe("none");
  });

  test("members of which one is served alone have no delay", async () => {
    const { capabilities: record } = await open(pulsar({ ...at(server), subscriptionType: "failover" }));
    expect(record.delay.maxMs).toBe(0);
  });

  test("without the admin service there is no lag, no seek and no retention, and messages flow", async () => {
    const { topic } = await topicOn(at(server));
    const { driver, capabilities: record } = await open(pulsar({ ...at(server), adminUrl: false }));
    expect(record).toMatchObject({
      seek: "none",
      groupInbox: "none",
      lag: { count: "none" },
      topics: { describe: false },
      retention: { ms: false, bytes: false },
      from: { group: ["latest", "earliest"] },
      durabilityOnAck: "page-cache",
    });
    const { subscription, take } = await read(driver, topic, "g");
    await store(driver, records(topic, "1"));
    expect(ids(await take(1))).toEqual(["1"]);
    await subscription.close();
    expect(ids(await (await replay(driver, topic, { kind: "earliest" })).all())).toEqual(["1"]);
    expect((await failure(driver, driver.admin.createTopic({ name: fresh() }, soon()))).code).toBe("UNSUPPORTED");
  });

  test("an admin service that is not there fails the connect, to be tried again", async () => {
    const proxy = await proxied(server);
    proxy.refuse();
    const options = { ...at(server), adminUrl: `http://127.0.0.1:${proxy.port}` };
    expect(await connecting(pulsar(options))).toEqual({ code: "UNAVAILABLE", retryable: true });
  });
});

describe("a connection", () => {
  test("that is lost is told, and opened again by the next connect", async () => {
    const proxy = await proxied(server);
    const { driver, topic, downs } = await topicOn(at(server, proxy));
    await store(driver, records(topic, "1"));
    proxy.cut();
    await until(() => downs.length > 0, "the loss to be told");
    expect(driver.classify(downs[0])).toEqual({ code: "UNAVAILABLE", retryable: true });
    await driver.connect(soon());
    await driver.ping(soon());
    await store(driver, records(topic, "2"));
  });

  test("that is opened again is to a broker that may do less, which is told, or more, which is not used", async () => {
    const proxy = await proxied(server);
    let [held, acks] = ["1000", "false"];
    const change = (path: string, text: string): string => {
      if (!path.endsWith("/configuration/runtime")) return text;
      const told = { ...JSON.parse(text), maxUnackedMessagesPerConsumer: held, acknowledgmentAtBatchIndexLevelEnabled: acks };
      return JSON.stringify(told);
    };
    const adminUrl = await frontOf(adminOf(server), { change });
    const { driver, downs, capabilities: first } = await open(pulsar({ ...at(server, proxy), adminUrl }));
    expect(first).toMatchObject({ hold: { maxUnacked: 800 }, settle: { unit: "entry" } });
    [held, acks] = ["500", "true"];
    expect((await driver.connect(soon())).hold.maxUnacked).toBe(800);
    proxy.cut();
    await until(() => downs.length > 0, "the loss to be told");
    expect(await driver.connect(soon())).toEqual({ ...first, hold: { ...first.hold, maxUnacked: 400 } });
  });

  test("that is healthy is kept by another connect", async () => {
    const proxy = await proxied(server);
    const { driver } = await open(pulsar(at(server, proxy)));
    const before = proxy.statistics.open;
    await Promise.all([driver.connect(soon()), driver.connect(soon())]);
    expect(proxy.statistics.open).toBe(before);
  });
});

describe("closing", () => {
  test("lets everything go, and gives back what was not settled", async () => {
    const proxy = await proxied(server);
    const { driver, topic } = await topicOn(at(server, proxy));
    const { take } = await read(driver, topic, "g");
    await store(driver, records(topic, "1"));
    await take(1);
    await Promise.all([driver.close(), driver.close()]);
    await until(() => proxy.statistics.open === 0, "the sockets to be closed");
    expect(ids(await (await read((await open(pulsar(at(server)))).driver, topic, "g")).take(1))).toEqual(["1"]);
  });

  test("is bounded where the broker does not answer", async () => {
    const proxy = await proxied(server);
    const { driver, topic } = await topicOn(at(server, proxy));
    await read(driver, topic, "g");
    await store(driver, records(topic, "1"));
    proxy.drop();
    const began = performance.now();
    await driver.close();
    expect(ranFor(began)).toBeLessThan(5_000);
  });

  test("a driver that was never connected does nothing", async () => {
    const driver = pulsar(at(server)).open({ clock: systemClock, down: () => {} });
    expect((await failure(driver, driver.ping(soon()))).code).toBe("UNAVAILABLE");
    await driver.close();
  });
});
