import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { systemClock as clock, ranFor } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { type FaultProxy, startProcess, startProxy } from "@brokerkit/conformance/faults";
import type { Driver, PublishResult } from "brokerkit/driver";
import { beforeAll, describe, expect, test } from "vitest";
import { type RedisOptions, redis } from "../../src/index.ts";
import { connecting, defer, fresh, ids, open, plain, read, record, records, soon, startServer, store, until } from "../stage.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await startServer();
});

type At = Pick<RunningBroker, "host" | "port">;
const adapter = (at: At = server, options: RedisOptions = {}) => redis({ host: at.host, port: at.port, leaseMs: 20_000, ...options });

async function topicOn(at: At = server, options: RedisOptions = {}) {
  const opened = await open(adapter(at, options));
  const topic = fresh();
  await opened.driver.admin.createTopic({ name: topic }, soon());
  return { ...opened, topic };
}

async function proxied(): Promise<FaultProxy> {
  const proxy = await startProxy(server);
  defer(() => proxy.close());
  return proxy;
}

const outcome = (driver: Driver, [result]: readonly PublishResult[]): string =>
  result?.ok ? "ok" : `${driver.classify(result?.error).code} ${result?.sent}`;
const stored = async (topic: string): Promise<string[]> => {
  const entries = (await (await plain(server)).call("XRANGE", topic, "-", "+")) as [string, string[]][];
  return entries.map(([, fields]) => (fields[1] ?? "").split(" ").slice(2).join(" "));
};

test.each(["breaks", "falls silent"])(
  "a link that %s while it is being opened is a connect that failed, and may be tried again",
  async (how) => {
    const relay = createServer((client) => {
      const upstream = connect(server.port, server.host);
      for (const socket of [client, upstream]) socket.on("error", () => {});
      client.on("data", (bytes) => {
        if (!bytes.includes("SETNAME")) upstream.write(bytes);
        else if (how === "breaks") client.resetAndDestroy();
      });
      client.on("close", () => upstream.destroy());
      upstream.pipe(client);
    });
    defer(async () => void relay.close());
    await once(relay.listen(0, "127.0.0.1"), "listening");
    const { port } = relay.address() as AddressInfo;
    const at = { host: "127.0.0.1", port };
    expect(await connecting(adapter(at, { connectTimeoutMs: 1_000 }))).toMatchObject({ code: "UNAVAILABLE", retryable: true });
  },
);

describe("what the server can do", () => {
  test("is fsync with appendfsync always, memory with anything less, and not durable with nothing kept", async () => {
    const claims = async (options: Record<string, string>) => {
      const { capabilities } = await open(adapter(await startServer(options)));
      return [capabilities.durable, capabilities.durabilityOnAck];
    };
    expect((await open(adapter())).capabilities).toMatchObject({ durable: true, durabilityOnAck: "fsync" });
    expect(await claims({ appendfsync: "everysec" })).toEqual([true, "memory"]);
    expect(await claims({ appendonly: "no", save: "900 1" })).toEqual([true, "memory"]);
    expect(await claims({ appendonly: "no" })).toEqual([false, "memory"]);
  });

  test("counts as the least where it may not be asked, and everything works with few rights", async () => {
    const client = await plain(server);
    await client.call("ACL", "SETUSER", "few", "on", ">few", "~*", "&*", "+@all", "-@admin", "-@dangerous", "-client", "+client|setname");
    const few = { username: "few", password: "few", leaseMs: 1_000 };
    const { driver, capabilities, topic } = await topicOn(server, few);
    expect(capabilities).toMatchObject({ durable: false, durabilityOnAck: "memory" });
    const { subscription, take } = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2"));
    expect(await subscription.ack(await take(2))).toEqual(["confirmed", "confirmed"]);
    const controller = new AbortController();
    const receiving = subscription.receive(1, 20_000, controller.signal);
    await until(async () => /blocked_clients:1/.test(String(await client.call("INFO", "clients"))), "it to wait");
    const began = performance.now();
    controller.abort();
    expect(await receiving).toEqual([]);
    expect(ranFor(began)).toBeLessThan(1_000);
  });
});

test("the rights that the README names are enough, and keep to the prefix", async () => {
  const rights = "+@stream +@hash +@sortedset +@string +@keyspace +@scripting +@transaction +@connection +time -@dangerous";
  const client = await plain(server);
  await client.call("ACL", "SETUSER", "app", "on", ">app", "resetkeys", "resetchannels", "~app:*", ...rights.split(" "));
  const { driver, topic } = await topicOn(server, { username: "app", password: "app", keyPrefix: "app:", leaseMs: 1_000, dedupeMs: 1_000 });
  const { subscription, take } = await read(driver, topic, "g");
  await store(driver, [
    ...records(topic, "1", "2"),
    record(topic, "3", { delayMs: 20 }),
    record(topic, "4", { target: { topic, group: "g" } }),
  ]);
  const got = await take(4);
  expect(await subscription.extend?.(got, 5_000)).toEqual(Array(4).fill("confirmed"));
  expect(await subscription.nack?.(got.map((delivery) => ({ delivery, delayMs: 0, failures: 1 })))).toEqual(Array(4).fill("confirmed"));
  expect(await subscription.ack((await take(4)).slice(0, 2))).toEqual(["confirmed", "confirmed"]);
  const cursor = await driver.replay({ topic, from: { kind: "earliest" }, follow: false, events: { dataLoss: () => {} } }, soon());
  expect((await cursor.receive(10, 0, soon())).deliveries).toHaveLength(3);
  await cursor.close();
  await driver.admin.seek(topic, "g", { kind: "earliest" }, soon());
  await subscription.close();
  const owner = await read(driver, topic, "g", { from: { kind: "latest" }, exclusive: true });
  await owner.subscription.ack((await owner.take(4)).slice(0, 1));
  await owner.subscription.close();
  expect(await driver.coordination?.compareAndSet("lease", undefined, Buffer.from("mine"), soon())).toBeDefined();
  expect((await driver.coordination?.read("lease", soon()))?.value).toEqual(Buffer.from("mine"));
  expect((await driver.admin.lag(topic, "g", soon())).inFlight).toBe(0);
  await driver.admin.deleteTopic(topic, soon());
  expect(await client.call("KEYS", `*${topic}*`)).toEqual(Array(4).fill(expect.stringMatching(/^app:.*:dedupe:\d$/)));
});

describe("being let in", () => {
  const refusal = async (at: At, options: RedisOptions) => {
    const driver = adapter(at, options).open({ clock, down: () => {} });
    const error: unknown = await driver.connect(soon()).then(
      () => undefined,
      (raw: unknown) => raw,
    );
    await driver.close();
    return driver.classify(error);
  };

  test("a wrong password, a missing one and an unknown user are UNAUTHENTICATED", async () => {
    const locked = await startServer({ password: "right" });
    const unauthenticated = { code: "UNAUTHENTICATED", retryable: false };
    expect(await refusal(locked, { password: "wrong" })).toEqual(unauthenticated);
    expect(await refusal(locked, {})).toEqual(unauthenticated);
    expect(await refusal(locked, { username: "nobody", password: "right" })).toEqual(unauthenticated);
    expect((await open(adapter(locked, { password: "right" }))).capabilities.durable).toBe(true);
  });

  test("a database that is not there is INVALID_ARGUMENT; others are apart", async () => {
    expect(await refusal(server, { db: 16 })).toEqual({ code: "INVALID_ARGUMENT", retryable: false });
    const { driver, topic } = await topicOn(server, { db: 3 });
    await store(driver, records(topic, "1"));
    expect(await (await plain(server)).call("EXISTS", topic)).toBe(0);
  });

  test("a command that the account may not use is FORBIDDEN, and nothing was sent", async () => {
    const { driver: owner, topic } = await topicOn();
    await (await plain(server)).call("ACL", "SETUSER", "writer", "on", ">writer", "~other*", "+@all");
    const { driver } = await open(adapter(server, { username: "writer", password: "writer" }));
    expect(outcome(driver, await driver.publish(records(topic, "1"), soon()))).toBe("FORBIDDEN no");
    expect(driver.classify(await read(driver, topic, "g").catch((error: unknown) => error)).code).toBe("FORBIDDEN");
    await store(owner, records(topic, "2"));
    expect(await stored(topic)).toEqual(["2"]);
  });

  test("nothing listening, and somebody who listens but never answers, are UNAVAILABLE in time", async () => {
    const proxy = await proxied();
    proxy.drop();
    const began = performance.now();
    expect(await refusal(proxy, { connectTimeoutMs: 500 })).toEqual({ code: "UNAVAILABLE", retryable: true });
    proxy.refuse();
    expect(await refusal(proxy, {})).toEqual({ code: "UNAVAILABLE", retryable: true });
    expect(ranFor(began)).toBeLessThan(3_000);
    expect(await refusal({ host: "no-such-host.invalid", port: 6_379 }, {})).toEqual({ code: "UNAVAILABLE", retryable: true });
  });

  test("an aborted attempt ends at once and leaves no connection behind", async () => {
    const proxy = await proxied();
    proxy.latency(200);
    const driver = adapter(proxy).open({ clock, down: () => {} });
    const connecting = driver.connect(soon(100)).catch((error: unknown) => driver.classify(error).code);
    expect(await connecting).toBe("UNAVAILABLE");
    await until(() => proxy.statistics.open === 0, "the connection to be closed");
    await driver.close();
  });
});

describe("a full server", () => {
  test("refuses what would be stored with QUOTA_EXCEEDED, stores nothing of it, and goes on when there is room", async () => {
    const full = await startServer();
    const { driver, topic } = await topicOn(full);
    const { subscription, take } = await read(driver, topic, "g");
    await store(driver, [...records(topic, "1", "2", "3", "4"), record(topic, "d", { delayMs: 10 })]);
    const client = await plain(full);
    await client.call("CONFIG", "SET", "maxmemory", "1");
    const refused = await driver.publish([...records(topic, "no-1", "no-2"), record(topic, "no-3", { delayMs: 5 })], soon());
    expect(refused.map((result) => outcome(driver, [result]))).toEqual(Array(3).fill("QUOTA_EXCEEDED no"));
    expect(driver.classify(refused[0]?.ok === false && refused[0].error)).toEqual({ code: "QUOTA_EXCEEDED", retryable: true });
    // What is stored goes on: read, give back, acknowledge, extend, hand back, join.
    const [one, two, three] = (await take(3)) as never[];
    expect(await subscription.nack?.([{ delivery: one as never, delayMs: 0, failures: 1 }])).toEqual(["confirmed"]);
    expect(await subscription.ack([two as never])).toEqual(["confirmed"]);
    expect(await subscription.extend?.([three as never], 60_000)).toEqual(["confirmed"]);
    await subscription.close();
    const again = await read(driver, topic, "g");
    expect(ids(await again.take(4))).toEqual(["1", "3", "4", "d"]);
    await client.call("CONFIG", "SET", "maxmemory", "0");
    await store(driver, records(topic, "5"));
    expect(ids(await again.take(1))).toEqual(["5"]);
    expect(again.losses).toEqual([]);
  });
});

describe("publishing in doubt", () => {
  test("an abort while the server stands still answers at once, in doubt; what follows comes behind or not at all", async () => {
    const frozen = await startServer();
    const { driver, topic, downs } = await topicOn(frozen);
    await store(driver, records(topic, "before"));
    await frozen.stop();
    const controller = new AbortController();
    const publishing = driver.publish(records(topic, "doubtful"), controller.signal);
    const began = performance.now();
    setImmediate(() => setImmediate(() => controller.abort()));
    expect(outcome(driver, await publishing)).toBe("UNAVAILABLE maybe");
    expect(ranFor(began)).toBeLessThan(1_000);
    expect(downs).toHaveLength(1);
    expect(outcome(driver, await driver.publish(records(topic, "down"), soon()))).toBe("UNAVAILABLE no");
    await frozen.cont();
    await driver.connect(soon());
    await store(driver, records(topic, "after"));
    const client = await plain(frozen);
    const names = async () =>
      ((await client.call("XRANGE", topic, "-", "+")) as [string, string[]][]).map(([, fields]) => fields[1]?.split(" ")[2]);
    expect((await names()).filter((name) => name !== "doubtful")).toEqual(["before", "after"]);
    expect((await names()).at(-1)).toBe("after");
  });

  test("a connection that was given up is closed on the server before another one publishes", async () => {
    const proxy = await proxied();
    const { driver, topic } = await topicOn(proxy);
    await store(driver, records(topic, "before"));
    const client = await plain(server);
    const names = async () => [...String(await client.call("CLIENT", "LIST")).matchAll(/name=(brokerkit:\S+)/g)].map(([, name]) => name);
    const known = await names();
    // Answers and bytes of the old connection are held back; new connections get through.
    proxy.pause("up");
    const publishing = driver.publish(records(topic, "late"), soon(50));
    expect(outcome(driver, await publishing)).toBe("UNAVAILABLE maybe");
    proxy.resume();
    await driver.connect(soon());
    await store(driver, records(topic, "after"));
    expect((await names()).filter((name) => known.includes(name))).toHaveLength(known.length - 1);
    expect((await stored(topic)).at(-1)).toBe("after");
  });

  test("a link that breaks after the write is in doubt; while it is down everything fails at once as not sent", async () => {
    const proxy = await proxied();
    const { driver, topic, downs } = await topicOn(proxy);
    await store(driver, records(topic, "before"));
    proxy.drop("down");
    const publishing = driver.publish(records(topic, "1"), soon());
    await until(async () => (await stored(topic)).includes("1"), "it to be stored");
    proxy.reset();
    expect(outcome(driver, await publishing)).toBe("UNAVAILABLE maybe");
    await until(() => downs.length > 0, "the driver to tell");
    expect(outcome(driver, await driver.publish(records(topic, "2"), soon()))).toBe("UNAVAILABLE no");
    expect(await driver.ping(soon()).catch((error: unknown) => driver.classify(error).code)).toBe("UNAVAILABLE");
    await proxy.heal();
    await driver.connect(soon());
    await store(driver, records(topic, "3"));
    expect(await stored(topic)).toEqual(["before", "1", "3"]);
  });

  test("several calls under way when the link breaks are all in doubt or stored, and what is stored is in order", async () => {
    const proxy = await proxied();
    const { driver, topic } = await topicOn(proxy);
    await store(driver, records(topic, "before"));
    const calls = Array.from({ length: 4 }, (_, n) =>
      driver.publish(records(topic, ...Array.from({ length: 400 }, (__, m) => `${n}-${m}`)), soon()),
    );
    void proxy.cutWhen({ direction: "up", bytes: 20_000 });
    const results = (await Promise.all(calls)).flat();
    expect(results.some((result) => !result.ok)).toBe(true);
    expect(new Set(results.flatMap((result) => (result.ok ? [] : [result.sent])))).toEqual(new Set(["maybe"]));
    const there = (await stored(topic)).slice(1);
    expect(there).toEqual(Array.from({ length: there.length }, (_, n) => `${Math.floor(n / 400)}-${n % 400}`));
    expect(there.length % 400).toBe(0);
  });
});

describe("links that break under readers", () => {
  test("a member loses its shards, its receive rejects, and the next member of this process has everything at once", async () => {
    const proxy = await proxied();
    const { driver, topic } = await topicOn(proxy);
    const one = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2", "3"));
    await one.subscription.ack((await one.take(3)).slice(0, 1));
    const receiving = one.subscription.receive(10, 20_000, soon()).catch((error: unknown) => driver.classify(error));
    proxy.cut();
    expect(await receiving).toEqual({ code: "UNAVAILABLE", retryable: true });
    expect(one.lost).toHaveLength(2);
    await one.subscription.close();
    await driver.connect(soon());
    const two = await read(driver, topic, "g");
    // The lease is 20 s: nobody waits for it.
    expect((await two.take(2, 3_000)).map(({ id, deliveries }) => [id, deliveries])).toEqual([
      ["2", 2],
      ["3", 2],
    ]);
  });

  test("acks that can't be sent say so, and count once the connection is back", async () => {
    const proxy = await proxied();
    const { driver, topic } = await topicOn(proxy);
    const { subscription, take } = await read(driver, topic, "g");
    await store(driver, records(topic, "1"));
    const got = await take(1);
    const client = await plain(server);
    const [control] = String(await client.call("CLIENT", "LIST"))
      .split("\n")
      .filter((line) => line.includes("cmd=evalsha") || line.includes("cmd=eval "));
    expect(control).toBeDefined();
    for (const line of String(await client.call("CLIENT", "LIST")).split("\n")) {
      if (line.includes("name=brokerkit:") && !line.includes("cmd=xreadgroup") && !line.includes("cmd=exec"))
        await client.call("CLIENT", "KILL", "ID", /id=(\d+)/.exec(line)?.[1] ?? "");
    }
    await until(async () => typeof (await subscription.ack(got))[0] === "object", "the ack to fail");
    await driver.connect(soon());
    expect(await subscription.ack(got)).toEqual(["confirmed"]);
  });

  test("a cursor and a broadcast reader reject, and go on from where they were", async () => {
    const proxy = await proxied();
    const { driver, topic, downs } = await topicOn(proxy);
    const { subscription } = await read(driver, topic, undefined);
    const cursor = await driver.replay({ topic, from: { kind: "earliest" }, follow: true, events: { dataLoss: () => {} } }, soon());
    const waits = [subscription.receive(1, 20_000, soon()), cursor.receive(1, 20_000, soon())].map((wait) =>
      wait.catch((error: unknown) => driver.classify(error).code),
    );
    proxy.reset();
    expect(await Promise.all(waits)).toEqual(["UNAVAILABLE", "UNAVAILABLE"]);
    await cursor.close();
    await until(() => downs.length === 2, "the other two to be noticed");
    await driver.connect(soon());
    await store(driver, records(topic, "1"));
    const resumed = await read(driver, topic, undefined, { from: { kind: "position", cut: subscription.start as never } });
    expect(ids(await resumed.take(1))).toEqual(["1"]);
  });

  test("a server that stands still is noticed within seconds, without an answer to wait for", async () => {
    const frozen = await startServer();
    const { driver, topic, downs } = await topicOn(frozen);
    const { subscription } = await read(driver, topic, "g");
    await frozen.stop();
    const lagging = driver.admin.lag(topic, "g", soon(20_000)).catch((error: unknown) => driver.classify(error).code);
    expect(await lagging).toBe("UNAVAILABLE");
    expect(downs.length).toBeGreaterThan(0);
    const began = performance.now();
    await driver.close();
    expect(ranFor(began)).toBeLessThan(3_000);
    await frozen.cont();
    await subscription.close();
  });
});

describe("processes that die", () => {
  test("what a SIGKILLed consumer had comes to another member when its lease is over", async () => {
    const { driver, topic } = await topicOn(server, { leaseMs: 1_000 });
    await driver.admin.createGroup(topic, "g", { kind: "latest" }, soon());
    await store(driver, records(topic, "1", "2", "3"));
    const child = await startProcess({
      command: process.execPath,
      args: [
        "--conditions=@brokerkit/source",
        fileURLToPath(new URL("../consumer.ts", import.meta.url)),
        String(server.port),
        topic,
        "g",
        "1000",
      ],
    });
    defer(() => child.kill());
    await until(async () => (await driver.admin.lag(topic, "g", soon())).inFlight === 3, "the consumer to have them", 15_000);
    await child.kill();
    const { take } = await read(driver, topic, "g");
    expect((await take(3)).map(({ id, deliveries }) => [id, deliveries])).toEqual([
      ["1", 2],
      ["2", 2],
      ["3", 2],
    ]);
  });

  test("a server killed with publishes under way has everything that it confirmed, and nothing is taken for lost", async () => {
    const mortal = await startServer();
    const { driver, topic } = await topicOn(mortal, { leaseMs: 1_000 });
    const before = await read(driver, topic, "g");
    const confirmed: string[] = [];
    const [acked, asked] = [new Set<string | undefined>(), new Set<string | undefined>()];
    let stopping = false;
    const publishing = [0, 1, 2, 3].map(async (lane) => {
      for (let n = 0; !stopping; n++) {
        const names = Array.from({ length: 50 }, (_, m) => `${lane}-${n}-${m}`);
        const results = await driver.publish(records(topic, ...names), soon());
        for (const [m, result] of results.entries()) if (result.ok) confirmed.push(names[m] as string);
        if (results.some((result) => !result.ok)) return;
      }
    });
    const consuming = (async () => {
      for (;;) {
        const got = await before.subscription.receive(500, 1_000, soon());
        const half = got.slice(0, got.length / 2);
        for (const { id } of half) asked.add(id);
        const results = await before.subscription.ack(half);
        for (const [n, result] of results.entries()) if (result === "confirmed") acked.add(got[n]?.id);
      }
    })().catch(() => {});
    await until(() => confirmed.length >= 5_000 && acked.size > 1_000, "load");
    await mortal.kill();
    stopping = true;
    await Promise.all([...publishing, consuming]);
    await mortal.restart();
    await before.subscription.close();
    await driver.connect(soon());
    const after = await read(driver, topic, "g");
    // An ack that was cut off may have counted or not; one that was confirmed has.
    const seen = new Set(asked);
    await until(
      async () => {
        const got = await after.subscription.receive(1_000, 200, soon());
        expect(got.filter(({ id }) => acked.has(id))).toEqual([]);
        for (const { id } of got) seen.add(id);
        await after.subscription.ack(got);
        return confirmed.every((id) => seen.has(id));
      },
      "all that was confirmed",
      20_000,
    );
    expect([...before.losses, ...after.losses]).toEqual([]);
    await until(async () => {
      await after.subscription.ack(await after.subscription.receive(1_000, 50, soon()));
      return (await driver.admin.lag(topic, "g", soon())).count === 0;
    }, "lag to be 0");
  });
});

test("closing ends everything, twice, at once, and leaves no connection behind", async () => {
  const proxy = await proxied();
  const { driver, topic } = await topicOn(proxy);
  const { subscription } = await read(driver, topic, "g");
  const cursor = await driver.replay({ topic, from: { kind: "earliest" }, follow: true, events: { dataLoss: () => {} } }, soon());
  const waits = [subscription.receive(1, 20_000, soon()), cursor.receive(1, 20_000, soon()), driver.publish(records(topic, "1"), soon())];
  const settled = Promise.allSettled(waits);
  await Promise.all([driver.close(), driver.close()]);
  expect((await settled).slice(0, 2).map(({ status }) => status)).toEqual(["fulfilled", "fulfilled"]);
  await until(() => proxy.statistics.open === 0, "all connections to be closed");
});
