import { ranFor } from "@brokerkit/conformance";
import type { WireRecord } from "brokerkit/driver";
import { beforeAll, describe, expect, test } from "vitest";
import { rabbitmq } from "../src/index.ts";
import { queueOf } from "../src/mapping.ts";
import {
  at,
  fresh,
  ids,
  open,
  outcomes,
  plain,
  proxied,
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

/** A driver with a topic of its own; without a log, so that only what a test makes keeps messages. */
async function opened(where = server.broker) {
  const made = await open(rabbitmq({ ...at(where), log: false }));
  return { ...made, topic: await topicOn(made.driver) };
}

async function waiting(queue: string): Promise<number> {
  const channel = await (await plain(server.broker)).createChannel();
  return (await channel.checkQueue(queue)).messageCount;
}

describe("records", () => {
  test("come back whole, through the topic and through a group's inbox", async () => {
    const { driver, topic } = await opened();
    const { take } = await read(driver, topic, "g");
    const headers: WireRecord["headers"] = [
      ["text", Buffer.from("é")],
      ["bytes", Buffer.from([0, 255])],
    ];
    const sent = [
      record(topic, "1", { key: Buffer.from([0, 159]), headers, body: Buffer.from([0, 159]), publishedAt: 1_700_000_000_001 }),
      record(topic, "2", { body: null }),
      record(topic, "3", { body: Buffer.alloc(200_000, 7), target: { topic, group: "g" }, failures: 4 }),
    ];
    await store(driver, sent);
    const got = await take(3);
    expect(
      got.map(({ id, key, headers: own, body, publishedAt, inbox, failures }) => [id, key, own, body, publishedAt, inbox, failures]),
    ).toEqual(
      sent.map(({ id, key, headers: own, body, publishedAt, failures = 0 }, n) => [id, key, own, body, publishedAt, n === 2, failures]),
    );
  });

  test("of every size around a frame's come back as they were, in order", async () => {
    const { driver, topic } = await opened();
    const { take } = await read(driver, topic, "g");
    const frame = 131_072;
    const sizes = [0, 1, frame - 9, frame - 8, frame - 7, frame, 2 * (frame - 8), 2 * (frame - 8) + 1, 3];
    const bodies = sizes.map((size, n) => Buffer.alloc(size, `${n}-`));
    await store(
      driver,
      bodies.map((body, n) => record(topic, `${n}`, { body })),
    );
    const got = await take(sizes.length);
    expect(got.map(({ id, body }) => [id, body?.length])).toEqual(sizes.map((size, n) => [`${n}`, size]));
    expect(got.every(({ body }, n) => bodies[n]?.equals(body ?? Buffer.alloc(0)))).toBe(true);
  });

  test("of the largest calls side by side are all stored", async () => {
    const { driver, topic, capabilities } = await opened();
    await driver.admin.createGroup(topic, "g", { kind: "latest" }, soon());
    const { maxRecords, inFlight } = capabilities.publish;
    const calls = Array.from({ length: inFlight }, (_, call) => Array.from({ length: maxRecords }, (_, n) => `${call}-${n}`));
    await Promise.all(calls.map((names) => store(driver, records(topic, ...names))));
    await until(async () => (await waiting(queueOf(topic, "g"))) === maxRecords * inFlight, "all to be there");
  });

  test("of several targets in one call are answered one by one", async () => {
    const { driver, topic } = await opened();
    const missing = fresh();
    const nobody = { topic, group: "nobody" };
    const batch = [
      record(topic, "1"),
      record(missing, "2"),
      record(topic, "3", { target: nobody }),
      // The same id once more, for the same queue.
      record(topic, "3", { target: nobody }),
      record(topic, "4", { target: nobody, delayMs: 50 }),
      record(missing, "5", { delayMs: 50 }),
      record(topic, "6", { headers: [["a", Buffer.alloc(66_000)]] }),
      record(topic, "7"),
    ];
    const expected = ["ok", ...Array.from({ length: 5 }, () => "NOT_FOUND no"), "TOO_LARGE no", "ok"];
    expect(outcomes(driver, await driver.publish(batch, soon()))).toEqual(expected);
  });

  test("for a topic that somebody deletes meanwhile are in doubt together with what was under way, and the next go through", async () => {
    const { driver, topic } = await opened();
    const other = await topicOn(driver);
    await store(driver, [record(topic, "1"), record(other, "1")]);
    await (await (await plain(server.broker)).createChannel()).deleteExchange(topic);
    const results = await driver.publish([record(other, "2"), record(topic, "3"), record(other, "4")], soon());
    expect(outcomes(driver, results)[1]).toBe("NOT_FOUND maybe");
    expect(outcomes(driver, results)[2]).toBe("UNAVAILABLE maybe");
    expect(["ok", "UNAVAILABLE maybe"]).toContain(outcomes(driver, results)[0]);
    expect(outcomes(driver, await driver.publish([record(other, "5"), record(topic, "6")], soon()))).toEqual(["ok", "NOT_FOUND no"]);
  });

  test("whose delay is over come then and not before, to all groups or to one", async () => {
    const { driver, topic } = await opened();
    const { take } = await read(driver, topic, "g");
    const other = await read(driver, topic, "h");
    const began = performance.now();
    await store(driver, [record(topic, "all", { delayMs: 700 }), record(topic, "one", { target: { topic, group: "g" }, delayMs: 300 })]);
    expect(ids(await take(1))).toEqual(["one"]);
    expect(performance.now() - began).toBeGreaterThanOrEqual(300);
    expect(ids([...(await take(1)), ...(await other.take(1))])).toEqual(["all", "all"]);
    expect(performance.now() - began).toBeGreaterThanOrEqual(700);
    // The queues where they waited go by themselves.
    const queues = (await server.control("list_queues", "--silent", "name", "arguments")).split("\n");
    const delays = queues.filter((line) => line.startsWith(topic) && line.includes("x-message-ttl"));
    expect(delays).toHaveLength(2);
    for (const line of delays) expect(line).toContain("x-expires");
  });

  test("whose time to live ends with a delay before it are not seen after that", async () => {
    const { driver, topic } = await opened();
    const { take } = await read(driver, topic, "g");
    const publishedAt = Date.now() - 60_000;
    await store(driver, [
      record(topic, "late", { delayMs: 20, ttlMs: 1_000, publishedAt }),
      record(topic, "good", { delayMs: 20, ttlMs: 60_000 }),
    ]);
    expect(ids(await take(1))).toEqual(["good"]);
  });
});

describe("refusals", () => {
  test("a full queue refuses with QUOTA_EXCEEDED, in doubt for a topic and not for an inbox, and takes again when there is room", async () => {
    const { driver, topic } = await opened();
    await driver.admin.createGroup(topic, "g", { kind: "latest" }, soon());
    await server.control("set_policy", "--apply-to", "queues", topic, `^${topic}`, '{"max-length":1,"overflow":"reject-publish"}');
    // A policy reaches the queue a moment later, and a full queue takes some more before it says so.
    const target = { topic, group: "g" };
    const full = async (more: object): Promise<string> =>
      outcomes(driver, await driver.publish([record(topic, "x", more)], soon()))[0] ?? "";
    await until(async () => (await full({})) === "QUOTA_EXCEEDED maybe", "the queue to be full");
    expect(await full({ target })).toBe("QUOTA_EXCEEDED no");
    const { subscription, take } = await read(driver, topic, "g");
    await subscription.ack(await take(1));
    await until(async () => {
      await subscription.ack(await subscription.receive(100, 20, soon()));
      return (await full({})) === "ok";
    }, "room");
  });

  test("a topic that the user may not write to is FORBIDDEN, and others go on", async () => {
    await server.control("add_user", "ann", "secret");
    await server.control("set_permissions", "ann", ".*", "^open", ".*");
    const { driver } = await open(rabbitmq({ ...at(server.broker), username: "ann", password: "secret", log: false }));
    for (const name of ["open", "closed"]) await driver.admin.createTopic({ name }, soon());
    expect(outcomes(driver, await driver.publish([record("closed", "1")], soon()))).toEqual(["FORBIDDEN no"]);
    await store(driver, records("open", "1"));
  });

  test("an alarm holds publishes back until it is over, or refuses them by name when their time is", async () => {
    const { driver, topic } = await opened();
    const { take } = await read(driver, topic, "g");
    await server.control("set_vm_memory_high_watermark", "0.000001");
    try {
      // The server says so once something is published.
      const first = driver.publish(records(topic, "1"), soon(20_000));
      const refused = async (): Promise<string> => {
        const [result] = await driver.publish(records(topic, "2"), AbortSignal.timeout(50));
        return result?.ok === false ? `${driver.classify(result.error).code} ${result.sent} ${result.error}` : "stored";
      };
      let last = "";
      await until(async () => {
        last = await refused();
        return last.startsWith("QUOTA_EXCEEDED");
      }, "the alarm to be known");
      expect(last).toMatch(/QUOTA_EXCEEDED (no|maybe) .*memory/);
      // Whoever consumes goes on meanwhile.
      await driver.ping(soon());
      await server.control("set_vm_memory_high_watermark", "0.4");
      await first;
    } finally {
      await server.control("set_vm_memory_high_watermark", "0.4");
    }
    await until(async () => {
      await driver.connect(soon());
      return outcomes(driver, await driver.publish(records(topic, "3"), soon()))[0] === "ok";
    }, "publishing to go on");
    await until(async () => ids(await take(1)).includes("3"), "what was published then");
  });
});

describe("a broken link", () => {
  test("after the write is in doubt; while it is down everything fails at once as not sent; then it goes on", async () => {
    const proxy = await proxied(server.broker);
    const { driver, topic, downs } = await opened({ ...server.broker, host: proxy.host, port: proxy.port });
    await driver.admin.createGroup(topic, "g", { kind: "latest" }, soon());
    await store(driver, records(topic, "1"));
    proxy.drop("down");
    const lost = driver.publish(records(topic, "2"), soon());
    await until(async () => (await waiting(queueOf(topic, "g"))) === 2, "the write to arrive");
    proxy.refuse();
    proxy.reset();
    expect(outcomes(driver, await lost)).toEqual(["UNAVAILABLE maybe"]);
    await until(() => downs.length > 0, "the driver to notice");
    expect(outcomes(driver, await driver.publish(records(topic, "3"), soon()))).toEqual(["UNAVAILABLE no"]);
    await proxy.accept();
    await proxy.heal();
    await driver.connect(soon());
    await store(driver, records(topic, "2", "3"));
  });

  test("an abort settles at once, in doubt, and nothing of it is sent afterwards", async () => {
    const proxy = await proxied(server.broker);
    const { driver, topic, downs } = await opened({ ...server.broker, host: proxy.host, port: proxy.port });
    await driver.admin.createGroup(topic, "g", { kind: "latest" }, soon());
    await store(driver, records(topic, "1"));
    proxy.drop("up");
    const stop = new AbortController();
    const aborted = driver.publish(records(topic, "2"), stop.signal);
    setImmediate(() => stop.abort());
    const began = performance.now();
    expect(outcomes(driver, await aborted)).toEqual(["UNAVAILABLE maybe"]);
    expect(ranFor(began)).toBeLessThan(1_000);
    expect(downs).toHaveLength(1);
    await proxy.heal();
    await driver.connect(soon());
    await store(driver, records(topic, "3"));
    expect(await waiting(queueOf(topic, "g"))).toBe(2);
  });

  test("an abort before anything is sent sends nothing, and keeps the link", async () => {
    const { driver, topic, downs } = await opened();
    expect(outcomes(driver, await driver.publish(records(topic, "1"), AbortSignal.abort()))).toEqual(["UNAVAILABLE no"]);
    await store(driver, records(topic, "2"));
    expect(downs).toEqual([]);
  });
});
