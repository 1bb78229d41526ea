import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { systemClock as clock, ranFor } from "@brokerkit/conformance";
import { makeCertificates } from "@brokerkit/conformance/brokers";
import type { BrokerUrl } from "brokerkit/driver";
import { describe, expect, test } from "vitest";
import { redis, redisPubSub } from "../src/index.ts";
import { connecting, defer, fresh, ids, open, plain, read, records, soon, startServer, store } from "./stage.ts";

interface Parts {
  readonly scheme?: string;
  readonly hosts?: BrokerUrl["hosts"];
  readonly path?: string;
  readonly options?: Readonly<Record<string, string>>;
  readonly username?: string;
  readonly password?: string;
}

/** As core gives it. */
function url({
  scheme = "redis",
  hosts = [{ host: "127.0.0.1", port: 1 }],
  path = "",
  options = {},
  username,
  password,
}: Parts): BrokerUrl {
  const credentials = Object.defineProperties({}, { username: { value: username }, password: { value: password } });
  return { scheme, hosts, path, options: new Map(Object.entries(options)), credentials: credentials as BrokerUrl["credentials"] };
}

describe("options", () => {
  test.each([
    [{ prot: 1 }, "prot"],
    [{ port: 0 }, "port"],
    [{ port: "6379" }, "port"],
    [{ leaseMs: 100 }, "leaseMs"],
    [{ leaseMs: 60_000 }, "leaseMs"],
    [{ dedupeMs: -1 }, "dedupeMs"],
    [{ plain: true }, "plain"],
    [{ tls: { rejectUnauthorized: false } }, "rejectUnauthorized"],
  ])("%j is refused and named", (options, name) => {
    expect(() => redis(options as never)).toThrow(name);
  });

  test.each([
    [{ leaseMs: 1_000 }, "leaseMs"],
    [{ plain: "yes" }, "plain"],
    [{ bufferBytes: 1 }, "bufferBytes"],
  ])("Pub/Sub: %j is refused and named", (options, name) => {
    expect(() => redisPubSub(options as never)).toThrow(name);
  });

  test("of a URL are read: database, user, password, names and numbers", async () => {
    const server = await startServer({ user: "ann on >p/s:w@rd ~* &* +@all" });
    const hosts = [{ host: server.host, port: server.port }];
    const more = {
      username: "ann",
      password: "p/s:w@rd",
      path: "2",
      options: { leaseMs: "1500", dedupeMs: "5000", keyPrefix: "x:", connectTimeoutMs: "3000" },
    };
    const { driver, capabilities } = await open(redis.fromUrl(url({ hosts, ...more })));
    expect([capabilities.lease.ms, capabilities.dedupe.windowMs]).toEqual([1_500, 5_000]);
    const topic = fresh();
    await driver.admin.createTopic({ name: topic }, soon());
    const client = await plain(server);
    await client.call("SELECT", "2");
    expect(await client.call("EXISTS", `x:${topic}`)).toBe(1);
    const channels = await open(
      redisPubSub.fromUrl(url({ scheme: "redis+pubsub", hosts, options: { plain: "true", bufferBytes: "100000" } })),
    );
    expect(channels.capabilities.message.headers).toBe(false);
  });

  test.each<[Parts, string]>([
    [{ options: { nonsense: "1" } }, "nonsense"],
    [{ options: { leaseMs: "soon" } }, "leaseMs"],
    [{ options: { leaseMs: "1e3" } }, "leaseMs"],
    [{ options: { password: "x" } }, "password"],
    [{ options: { ca: "/ca.pem" } }, "ca"],
    [{ scheme: "rediss", options: { ca: "/no/such/ca.pem" } }, "ENOENT"],
    [{ scheme: "redis+pubsub", options: { plain: "yes" } }, "plain"],
    [{ scheme: "redis+pubsub", options: { leaseMs: "1000" } }, "leaseMs"],
    [{ path: "orders" }, "database"],
    [{ path: "0/1" }, "database"],
    [
      {
        hosts: [
          { host: "a", port: 1 },
          { host: "b", port: 1 },
        ],
      },
      "one server",
    ],
  ])("%j of a URL is refused and said", (parts, said) => {
    const { fromUrl } = parts.scheme?.includes("pubsub") ? redisPubSub : redis;
    expect(() => fromUrl(url(parts))).toThrow(said);
  });

  test("no secret shows in an adapter, a driver or an error", async () => {
    const adapter = redis.fromUrl(url({ scheme: "redis", username: "u", password: "canary" }));
    const driver = adapter.open({ clock, down: () => {} });
    const error = await driver.connect(soon()).catch((raw: unknown) => raw);
    await driver.close();
    for (const one of [adapter, driver, error])
      expect(inspect(one, { depth: 10, showHidden: true, getters: true }) + JSON.stringify(one)).not.toContain("canary");
    expect(() => redis({ port: -1, password: "canary" })).toThrow(/^(?!.*canary)/);
  });
});

describe("TLS", () => {
  async function secured(name = "127.0.0.1", days: "valid" | "expired" = "valid") {
    const folder = await mkdtemp(join(tmpdir(), "brokerkit-tls-"));
    defer(() => rm(folder, { recursive: true }));
    const pem = await makeCertificates(folder, name, days);
    return { pem, server: await startServer({ tls: pem }), file: (file: string) => readFile(join(pem, file)) };
  }

  test("works with an authority given as an option or as a file in the URL, for both drivers", async () => {
    const { pem, server, file } = await secured();
    const { driver } = await open(redis({ host: server.host, port: server.port, tls: { ca: await file("ca.pem") } }));
    const topic = fresh();
    await driver.admin.createTopic({ name: topic }, soon());
    const { take } = await read(driver, topic, "g");
    await store(driver, records(topic, "1"));
    expect(ids(await take(1))).toEqual(["1"]);
    const hosts = [{ host: server.host, port: server.port }];
    const channels = await open(redisPubSub.fromUrl(url({ scheme: "rediss+pubsub", hosts, options: { ca: join(pem, "ca.pem") } })));
    const reader = await read(channels.driver, topic, undefined);
    await store(channels.driver, records(topic, "2"));
    expect(ids(await reader.take(1))).toEqual(["2"]);
  });

  test("is refused where the certificate proves nothing: unknown authority, another name, expired", async () => {
    const refused = { code: "UNAUTHENTICATED", retryable: false };
    const good = await secured();
    const at = ({ host, port }: { host: string; port: number }) => ({ host, port });
    expect(await connecting(redis({ ...at(good.server), tls: true }))).toEqual(refused);
    expect(await connecting(redis({ ...at(good.server), tls: { ca: await good.file("other.pem") } }))).toEqual(refused);
    const other = await secured("elsewhere.test");
    expect(await connecting(redis({ ...at(other.server), tls: { ca: await other.file("ca.pem") } }))).toEqual(refused);
    expect(
      await connecting(redis({ ...at(other.server), tls: { ca: await other.file("ca.pem"), servername: "elsewhere.test" } })),
    ).toMatchObject({ code: "connected" });
    const old = await secured("127.0.0.1", "expired");
    expect(await connecting(redis({ ...at(old.server), tls: { ca: await old.file("ca.pem") } }))).toEqual(refused);
  });

  test("takes a client certificate where the server asks for one", async () => {
    const { server, file } = await secured();
    const at = { host: server.host, port: server.port };
    const [ca, cert, key] = [await file("ca.pem"), await file("server.pem"), await file("server.key")];
    const { driver } = await open(redis({ ...at, tls: { ca } }));
    const topic = fresh();
    await driver.admin.createTopic({ name: topic }, soon());
    const admin = await plain(server, { ca });
    await admin.call("CONFIG", "SET", "tls-auth-clients", "yes");
    expect((await connecting(redis({ ...at, tls: { ca } }))).code).toMatch(/^(UNAUTHENTICATED|UNAVAILABLE)$/);
    expect(await connecting(redis({ ...at, tls: { ca, cert, key } }))).toMatchObject({ code: "connected" });
  });

  test("spoken to a plain port, and plain to a TLS port, fail in time", async () => {
    const { server, file } = await secured();
    const began = performance.now();
    expect(await connecting(redis({ host: server.host, port: server.port, connectTimeoutMs: 1_000 }))).toEqual({
      code: "UNAVAILABLE",
      retryable: true,
    });
    const bare = await startServer();
    const tls = { ca: await file("ca.pem") };
    expect(await connecting(redis({ host: bare.host, port: bare.port, tls, connectTimeoutMs: 1_000 }))).toEqual({
      code: "UNAVAILABLE",
      retryable: true,
    });
    expect(ranFor(began)).toBeLessThan(10_000);
  });
});
