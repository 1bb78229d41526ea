import { inspect } from "node:util";
import { systemClock as clock, ranFor } from "@brokerkit/conformance";
import { startProxy } from "@brokerkit/conformance/faults";
import { beforeAll, describe, expect, test } from "vitest";
import { rabbitmq } from "../src/index.ts";
import { checkVersion } from "../src/protocol/link.ts";
import {
  at,
  codeOf,
  connecting,
  defer,
  ids,
  open,
  outcomes,
  plain,
  proxied,
  read,
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

const connections = async (): Promise<number> =>
  (await server.control("list_connections", "--silent", "pid")).split("\n").filter((line) => line !== "").length;

describe("connecting", () => {
  test("tries one server after the other", async () => {
    const nobody = await startProxy(server.broker);
    nobody.refuse();
    defer(() => nobody.close());
    const servers = [`127.0.0.1:${nobody.port}`, at(server.broker).servers];
    const { driver } = await open(rabbitmq({ servers, log: false }));
    await driver.ping(soon());
    expect(await connecting(rabbitmq({ servers: servers.slice(0, 1) }))).toEqual({ code: "UNAVAILABLE", retryable: true });
  });

  test("with a wrong password, or to a host of queues that is not there, fails for good and says no secret", async () => {
    expect(await connecting(rabbitmq({ ...at(server.broker), username: "guest", password: "wrong" }))).toEqual({
      code: "UNAUTHENTICATED",
      retryable: false,
    });
    const adapter = rabbitmq({ ...at(server.broker), vhost: "nowhere/at all", username: "guest", password: "guest" });
    expect(await connecting(adapter)).toEqual({ code: "FORBIDDEN", retryable: false });
    const canary = rabbitmq({ ...at(server.broker), username: "ann", password: "canary" });
    const driver = canary.open({ clock, down: () => {} });
    const error = await driver.connect(soon()).catch((raw: unknown) => raw);
    await driver.close();
    for (const one of [canary, driver, error])
      expect(inspect(one, { depth: 10, showHidden: true, getters: true }) + JSON.stringify(one)).not.toContain("canary");
  });

  test("to a server that says nothing ends with the connect timeout, or when it is told", async () => {
    const proxy = await proxied(server.broker);
    proxy.drop();
    expect(await connecting(rabbitmq({ ...at(proxy), connectTimeoutMs: 200 }))).toEqual({ code: "UNAVAILABLE", retryable: true });
    const driver = rabbitmq(at(proxy)).open({ clock, down: () => {} });
    const stop = AbortSignal.timeout(50);
    expect(await codeOf(driver, driver.connect(stop))).toBe("UNAVAILABLE");
    await driver.close();
    await proxy.heal();
    await until(() => proxy.statistics.open === 0, "the sockets to be closed");
  });

  test("again on healthy links keeps them, and replaces only what is gone", async () => {
    const { driver, downs } = await open(rabbitmq({ ...at(server.broker), log: false }));
    const before = await connections();
    await driver.connect(soon());
    expect(await connections()).toBe(before);
    const topic = await topicOn(driver);
    const { take, lost } = await read(driver, topic, "g");
    // One of the two: the other one goes on.
    const stop = new AbortController();
    const aborted = driver.publish(records(topic, "1"), stop.signal);
    setImmediate(() => stop.abort());
    const outcome = outcomes(driver, await aborted)[0];
    expect(["ok", "UNAVAILABLE maybe", "UNAVAILABLE no"]).toContain(outcome);
    await driver.connect(soon());
    await store(driver, records(topic, "2"));
    await until(async () => ids(await take(1)).includes("2"), "what was published then");
    expect(lost).toEqual([]);
    expect(downs.length).toBe(outcome === "UNAVAILABLE maybe" ? 1 : 0);
  });
});

describe("a link", () => {
  test("that the server closes is told, and everything fails until it is opened again", async () => {
    const { driver, downs } = await open(rabbitmq({ ...at(server.broker), log: false }));
    const topic = await topicOn(driver);
    await server.control("close_all_connections", "maintenance");
    await until(() => downs.length === 2, "both links to be told");
    expect(driver.classify(downs[0])).toEqual({ code: "UNAVAILABLE", retryable: true });
    for (const call of [driver.ping(soon()), driver.describe(topic, soon()), read(driver, topic, "g")])
      expect(await codeOf(driver, call)).toBe("UNAVAILABLE");
    expect(outcomes(driver, await driver.publish(records(topic, "1"), soon()))).toEqual(["UNAVAILABLE no"]);
    await driver.connect(soon());
    await store(driver, records(topic, "1"));
  });

  test("that has gone silent is given up", async () => {
    const proxy = await proxied(server.broker);
    const { downs } = await open(rabbitmq({ ...at(proxy), log: false, heartbeatMs: 1_000 }));
    proxy.drop();
    await until(() => downs.length === 2, "both links to be given up");
  });
});

describe("closing", () => {
  test("lets everything go, and says goodbye before it does", async () => {
    const before = await connections();
    const { driver } = await open(rabbitmq({ ...at(server.broker), log: false }));
    const topic = await topicOn(driver);
    const { subscription, take } = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2"));
    await subscription.ack((await take(2)).slice(0, 1));
    await Promise.all([driver.close(), driver.close()]);
    await until(async () => (await connections()) === before, "the connections to be gone");
    const channel = await (await plain(server.broker)).createChannel();
    await until(async () => (await channel.checkQueue(`${topic}.g`)).messageCount === 1, "the acknowledgement to count");
  });

  test("is bounded where the server does not answer", async () => {
    const proxy = await proxied(server.broker);
    const { driver } = await open(rabbitmq({ ...at(proxy), log: false }));
    const topic = await topicOn(driver);
    await read(driver, topic, "g");
    proxy.drop();
    const began = performance.now();
    await driver.close();
    expect(ranFor(began)).toBeLessThan(4_000);
  });
});

test.each([
  ["3.9.29", false],
  ["3.10.0", true],
  ["3.13.7", true],
  ["4.1.2", true],
  ["2.8", false],
  ["0", false],
])("a server of version %s: %s", (version, fits) => {
  if (fits) checkVersion(version);
  else expect(() => checkVersion(version)).toThrow(`RabbitMQ ${version} is too old`);
});
