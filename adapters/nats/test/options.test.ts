import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { systemClock as clock, ranFor } from "@brokerkit/conformance";
import { makeCertificates } from "@brokerkit/conformance/brokers";
import type { BrokerUrl } from "brokerkit/driver";
import { describe, expect, test } from "vitest";
import { nats, natsCore } from "../src/index.ts";
import { crc16, encode, signerOf } from "../src/protocol/nkeys.ts";
import { at, connecting, defer, fresh, ids, open, plain, read, records, soon, startServer, store } from "./stage.ts";

const SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";

interface Parts {
  readonly scheme?: string;
  readonly hosts?: BrokerUrl["hosts"];
  readonly path?: string;
  readonly options?: Readonly<Record<string, string>>;
  readonly username?: string;
  readonly password?: string;
}

/** As core gives it. */
function url({ scheme = "nats", hosts = [{ host: "127.0.0.1", port: 1 }], path = "", options = {}, username, password }: Parts): BrokerUrl {
  const credentials = Object.defineProperties({}, { username: { value: username }, password: { value: password } });
  return { scheme, hosts, path, options: new Map(Object.entries(options)), credentials: credentials as BrokerUrl["credentials"] };
}

/** A new key pair of a kind: operator, account, user. */
function identity(kind: number) {
  const raw = Buffer.concat([Buffer.from([(18 << 3) | (kind >> 5), (kind & 31) << 3]), randomBytes(32)]);
  const check = Buffer.alloc(2);
  check.writeUInt16LE(crc16(raw));
  const seed = encode(Buffer.concat([raw, check]));
  return { seed, ...signerOf(seed) };
}

/** A JWT as NATS signs them. */
function claims(issuer: ReturnType<typeof identity>, sub: string, nats: object): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const body = { jti: randomBytes(8).toString("hex"), iat: Math.floor(Date.now() / 1_000), iss: issuer.nkey, name: "test", sub, nats };
  const text = `${part({ typ: "JWT", alg: "ed25519-nkey" })}.${part(body)}`;
  return `${text}.${issuer.sign(text)}`;
}

async function file(text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "brokerkit-nats-"));
  defer(() => rm(folder, { recursive: true }));
  const path = join(folder, "secret");
  await writeFile(path, text);
  return path;
}

describe("options", () => {
  test.each([
    [{ prot: 1 }, "prot"],
    [{ servers: [] }, "servers"],
    [{ servers: "a:0" }, "servers"],
    [{ servers: "nats://a" }, "servers"],
    [{ servers: "a b" }, "servers"],
    [{ servers: 4222 }, "servers"],
    [{ leaseMs: 100 }, "leaseMs"],
    [{ dedupeMs: 50 }, "dedupeMs"],
    [{ dedupeMs: -1 }, "dedupeMs"],
    [{ maxUnacked: 0 }, "maxUnacked"],
    [{ replicas: 6 }, "replicas"],
    [{ domain: "a.b" }, "domain"],
    [{ subjectPrefix: "a.>" }, "subjectPrefix"],
    [{ subjectPrefix: "$JS." }, "subjectPrefix"],
    [{ inboxPrefix: "a." }, "inboxPrefix"],
    [{ bufferBytes: 100_000 }, "bufferBytes"],
    [{ token: "t", username: "u" }, "one of"],
    [{ password: "p" }, "username"],
    [{ jwt: "j" }, "nkeySeed"],
    [{ nkeySeed: "SU" }, "seed"],
    [{ credentials: "nothing" }, "credentials"],
    [{ tls: { rejectUnauthorized: false } }, "rejectUnauthorized"],
  ])("%j is refused and named", (options, name) => {
    expect(() => nats(options as never)).toThrow(name);
  });

  test.each([
    [{ leaseMs: 1_000 }, "leaseMs"],
    [{ bufferBytes: 1 }, "bufferBytes"],
  ])("core NATS: %j is refused and named", (options, name) => {
    expect(() => natsCore(options as never)).toThrow(name);
  });

  test.each<[Parts, string]>([
    [{ options: { nonsense: "1" } }, "nonsense"],
    [{ options: { leaseMs: "soon" } }, "leaseMs"],
    [{ options: { leaseMs: "1e3" } }, "leaseMs"],
    [{ options: { password: "x" } }, "password"],
    [{ options: { token: "x" } }, "token"],
    [{ options: { ca: "/ca.pem" } }, "ca"],
    [{ options: { creds: "/no/such.creds" } }, "ENOENT"],
    [{ scheme: "nats+tls", options: { ca: "/no/such/ca.pem" } }, "ENOENT"],
    [{ scheme: "nats+core", options: { leaseMs: "1000" } }, "leaseMs"],
    [{ path: "orders" }, "path"],
  ])("%j of a URL is refused and said", (parts, said) => {
    const { fromUrl } = parts.scheme?.includes("core") ? natsCore : nats;
    expect(() => fromUrl(url(parts))).toThrow(said);
  });

  test("of a URL are read: servers, numbers and a prefix", async () => {
    const server = await startServer();
    const hosts = [
      { host: server.host, port: 1 },
      { host: server.host, port: server.port },
    ];
    const options = { leaseMs: "1500", dedupeMs: "5000", maxUnacked: "77", subjectPrefix: "app.", connectTimeoutMs: "3000" };
    const { driver, capabilities } = await open(nats.fromUrl(url({ hosts, options })));
    expect([capabilities.lease.ms, capabilities.dedupe.windowMs, capabilities.hold.maxUnacked]).toEqual([1_500, 5_000, 77]);
    const topic = fresh();
    await driver.admin.createTopic({ name: topic }, soon());
    const manager = await (await plain(server)).jetstreamManager();
    expect((await manager.streams.info(`app~${topic}`)).config.subjects).toEqual([`app.${topic}`]);
  });

  test("no secret shows in an adapter, a driver or an error", async () => {
    const credentials = `-----BEGIN NATS USER JWT-----\ncanary\n------END NATS USER JWT------\n-----BEGIN USER NKEY SEED-----\n${SEED}\n------END USER NKEY SEED------`;
    const made = [
      nats.fromUrl(url({ username: "u", password: "canary" })),
      nats.fromUrl(url({ username: "canary" })),
      natsCore({ servers: "127.0.0.1:1", nkeySeed: SEED }),
      nats({ servers: "127.0.0.1:1", credentials }),
    ];
    for (const adapter of made) {
      const driver = adapter.open({ clock, down: () => {} });
      const error = await driver.connect(soon()).catch((raw: unknown) => raw);
      await driver.close();
      for (const one of [adapter, driver, error])
        expect(inspect(one, { depth: 10, showHidden: true, getters: true }) + JSON.stringify(one)).not.toMatch(
          new RegExp(`canary|${SEED}`),
        );
    }
    for (const wrong of [{ leaseMs: -1, password: "canary" }, { nkeySeed: "SUcanary" }, { credentials: "canary" }])
      expect(() => nats(wrong as never)).toThrow(/^(?!.*canary)/);
  });
});

describe("who is let in", () => {
  const refused = { code: "UNAUTHENTICATED", retryable: false };

  test("a user with a password, also percent-encoded in a URL", async () => {
    const server = await startServer({ user: "ann", password: "p/s:w@rd" });
    const hosts = [{ host: server.host, port: server.port }];
    expect(await connecting(nats.fromUrl(url({ hosts, username: "ann", password: "p/s:w@rd" })))).toMatchObject({ code: "connected" });
    for (const options of [{ username: "ann", password: "wrong" }, { username: "bob", password: "p/s:w@rd" }, { token: "ann" }, {}]) {
      expect(await connecting(nats({ ...at(server), ...options }))).toEqual(refused);
      expect(await connecting(natsCore({ ...at(server), ...options }))).toEqual(refused);
    }
  });

  test("a token, which in a URL is a user without a password", async () => {
    const server = await startServer({ token: "t0k-en" });
    const hosts = [{ host: server.host, port: server.port }];
    expect(await connecting(natsCore.fromUrl(url({ scheme: "nats+core", hosts, username: "t0k-en" })))).toMatchObject({
      code: "connected",
    });
    expect(await connecting(nats({ ...at(server), token: "t0k-em" }))).toEqual(refused);
  });

  test("an nkey, by its seed in code or in a file", async () => {
    const server = await startServer({ nkey: "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4" });
    const hosts = [{ host: server.host, port: server.port }];
    expect(await connecting(nats({ ...at(server), nkeySeed: SEED }))).toMatchObject({ code: "connected" });
    expect(await connecting(nats.fromUrl(url({ hosts, options: { nkey: await file(`${SEED}\n`) } })))).toMatchObject({ code: "connected" });
    expect(await connecting(nats({ ...at(server), username: "ann", password: "x" }))).toEqual(refused);
  });

  test("a user of an operator's account, by credentials in code or in a file", async () => {
    const [operator, account, user] = [identity(14 << 3), identity(0), identity(20 << 3)];
    const limits = { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 };
    const lines = [
      `operator: ${claims(operator, operator.nkey, { type: "operator", version: 2 })}`,
      "resolver: MEMORY",
      `resolver_preload: { ${account.nkey}: ${claims(operator, account.nkey, { limits, type: "account", version: 2 })} }`,
    ].join("\n");
    const server = await startServer({ jetstream: "off", lines });
    const jwt = claims(account, user.nkey, { pub: {}, sub: {}, subs: -1, data: -1, payload: -1, type: "user", version: 2 });
    const credentials = `-----BEGIN NATS USER JWT-----\n${jwt}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n${user.seed}\n------END USER NKEY SEED------\n`;
    const { driver } = await open(natsCore({ ...at(server), credentials }));
    const { take } = await read(driver, "a", undefined);
    await store(driver, records("a", "1"));
    expect(ids(await take(1))).toEqual(["1"]);
    const hosts = [{ host: server.host, port: server.port }];
    const inFile = url({ scheme: "nats+core", hosts, options: { creds: await file(credentials) } });
    expect(await connecting(natsCore.fromUrl(inFile))).toMatchObject({ code: "connected" });
    expect(await connecting(natsCore({ ...at(server), jwt, nkeySeed: user.seed }))).toMatchObject({ code: "connected" });
    expect(await connecting(natsCore({ ...at(server), jwt, nkeySeed: SEED }))).toEqual(refused);
  });

  test("without JetStream only core NATS works", async () => {
    const server = await startServer({ jetstream: "off" });
    expect(await connecting(nats(at(server)))).toEqual({ code: "UNSUPPORTED", retryable: false });
    expect(await connecting(natsCore(at(server)))).toMatchObject({ code: "connected" });
  });
});

describe("TLS", () => {
  async function secured(name = "127.0.0.1", days: "valid" | "expired" = "valid", more: Readonly<Record<string, string>> = {}) {
    const folder = await mkdtemp(join(tmpdir(), "brokerkit-tls-"));
    defer(() => rm(folder, { recursive: true }));
    const pem = await makeCertificates(folder, name, days);
    return { pem, server: await startServer({ tls: pem, ...more }), file: (one: string) => readFile(join(pem, one)) };
  }
  const refused = { code: "UNAUTHENTICATED", retryable: false };

  test("works with an authority given as an option or as a file in the URL, for both drivers", async () => {
    const { pem, server, file: pemOf } = await secured();
    const { driver } = await open(nats({ ...at(server), tls: { ca: await pemOf("ca.pem") } }));
    const topic = fresh();
    await driver.admin.createTopic({ name: topic }, soon());
    const { take } = await read(driver, topic, "g");
    await store(driver, records(topic, "1"));
    expect(ids(await take(1))).toEqual(["1"]);
    const hosts = [{ host: server.host, port: server.port }];
    for (const scheme of ["nats+tls", "tls"])
      expect(await connecting(nats.fromUrl(url({ scheme, hosts, options: { ca: join(pem, "ca.pem") } })))).toMatchObject({
        code: "connected",
      });
    const live = await open(natsCore.fromUrl(url({ scheme: "nats+core+tls", hosts, options: { ca: join(pem, "ca.pem") } })));
    const reader = await read(live.driver, topic, undefined);
    await store(live.driver, records(topic, "2"));
    expect(ids(await reader.take(1))).toEqual(["2"]);
  });

  test("is refused where the certificate proves nothing: unknown authority, another name, expired", async () => {
    const good = await secured();
    expect(await connecting(nats({ ...at(good.server), tls: true }))).toEqual(refused);
    expect(await connecting(nats(at(good.server)))).toEqual(refused);
    expect(await connecting(nats({ ...at(good.server), tls: { ca: await good.file("other.pem") } }))).toEqual(refused);
    const other = await secured("elsewhere.test");
    const ca = await other.file("ca.pem");
    expect(await connecting(nats({ ...at(other.server), tls: { ca } }))).toEqual(refused);
    expect(await connecting(nats({ ...at(other.server), tls: { ca, servername: "elsewhere.test" } }))).toMatchObject({ code: "connected" });
    const old = await secured("127.0.0.1", "expired");
    expect(await connecting(nats({ ...at(old.server), tls: { ca: await old.file("ca.pem") } }))).toEqual(refused);
  });

  test("takes a client certificate where the server asks for one", async () => {
    const { server, file: pemOf } = await secured("127.0.0.1", "valid", { verify: "true" });
    const [ca, cert, key] = [await pemOf("ca.pem"), await pemOf("server.pem"), await pemOf("server.key")];
    expect((await connecting(nats({ ...at(server), tls: { ca } }))).code).toMatch(/^(UNAUTHENTICATED|UNAVAILABLE)$/);
    expect(await connecting(nats({ ...at(server), tls: { ca, cert, key } }))).toMatchObject({ code: "connected" });
  });

  test("is not done without: a server that has none is refused", async () => {
    const server = await startServer();
    expect(await connecting(nats({ ...at(server), tls: true }))).toEqual({ code: "UNAVAILABLE", retryable: true });
  });
});

describe("connecting", () => {
  test("nothing listening, somebody who never answers, and somebody who speaks something else are UNAVAILABLE in time", async () => {
    const began = performance.now();
    expect(await connecting(nats({ servers: "127.0.0.1:1" }))).toEqual({ code: "UNAVAILABLE", retryable: true });
    const open_ = new Set<{ destroy(): void }>();
    const listen = (greeting: string): Promise<number> =>
      new Promise((resolve) => {
        const server = createServer((socket) => {
          open_.add(socket);
          socket.on("error", () => {});
          socket.write(greeting);
        });
        defer(async () => {
          for (const socket of open_) socket.destroy();
          server.close();
        });
        server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port));
      });
    const silent = await listen("");
    expect(await connecting(nats({ servers: `127.0.0.1:${silent}`, connectTimeoutMs: 500 }))).toEqual({
      code: "UNAVAILABLE",
      retryable: true,
    });
    const web = await listen("HTTP/1.1 400 Bad Request\r\n\r\n");
    expect(await connecting(nats({ servers: `127.0.0.1:${web}`, connectTimeoutMs: 500 }))).toEqual({
      code: "UNAVAILABLE",
      retryable: true,
    });
    const injected = await listen('INFO {"version":"2.9.10","tls_required":true,"headers":true,"max_payload":1}\r\nPONG\r\n');
    expect((await connecting(nats({ servers: `127.0.0.1:${injected}`, connectTimeoutMs: 500 }))).code).not.toBe("connected");
    expect(ranFor(began)).toBeLessThan(10_000);
  });

  test("an aborted attempt ends at once and leaves no socket behind", async () => {
    let closed = 0;
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.on("close", () => closed++);
    });
    await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
    defer(async () => server.close());
    const driver = nats({ servers: `127.0.0.1:${(server.address() as { port: number }).port}` }).open({ clock, down: () => {} });
    const controller = new AbortController();
    const connecting = driver.connect(controller.signal).catch((error: unknown) => driver.classify(error).code);
    await new Promise<void>((resolve) => void server.once("connection", () => resolve()));
    const began = performance.now();
    controller.abort();
    expect(await connecting).toBe("UNAVAILABLE");
    expect(ranFor(began)).toBeLessThan(1_000);
    await expect.poll(() => closed).toBe(1);
    await driver.close();
  });
});
