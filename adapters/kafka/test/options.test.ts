import { mkdtemp, readFile, rm } from "node:fs/promises";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTlsServer, type TlsOptions } from "node:tls";
import { inspect } from "node:util";
import { systemClock as clock, ranFor } from "@brokerkit/conformance";
import { makeCertificates, type RunningBroker } from "@brokerkit/conformance/brokers";
import { type Adapter, type BrokerUrl, driverError } from "brokerkit/driver";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type KafkaOptions, kafka } from "../src/index.ts";
import { behaviourOf, endpointOf, optionsOf } from "../src/options.ts";
import { startKafka } from "./stage.ts";

const undo: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (const one of undo.splice(0).reverse()) await one();
});

interface Parts {
  readonly scheme?: string;
  readonly hosts?: BrokerUrl["hosts"];
  readonly path?: string;
  readonly options?: Readonly<Record<string, string>>;
  readonly username?: string;
  readonly password?: string;
}

/** As core gives it. */
function url({ scheme = "kafka", hosts = [{ host: "a", port: 1 }], path = "", options = {}, username, password }: Parts): BrokerUrl {
  const credentials = Object.defineProperties({}, { username: { value: username }, password: { value: password } });
  return { scheme, hosts, path, options: new Map(Object.entries(options)), credentials: credentials as BrokerUrl["credentials"] };
}

interface Attempt {
  readonly code: string;
  readonly retryable: boolean;
  readonly said: string;
}

/** How connecting ends. */
async function attempt(adapter: Adapter): Promise<Attempt> {
  const driver = adapter.open({ clock, down: () => {} });
  try {
    await driver.connect(AbortSignal.timeout(10_000));
    return { code: "connected", retryable: false, said: "" };
  } catch (error) {
    return { ...driver.classify(error), said: (error as Error).message };
  } finally {
    await driver.close();
  }
}

describe("options", () => {
  test.each<[object, string]>([
    [{ broker: "a:1" }, '"broker"'],
    [{ brokers: [] }, "brokers"],
    [{ brokers: ["a:b"] }, "brokers"],
    [{ brokers: ["a:70000"] }, "brokers"],
    [{ brokers: ["kafka://a:1"] }, "brokers"],
    [{ clientId: "" }, "clientId"],
    [{ connectTimeoutMs: 0 }, "connectTimeoutMs"],
    [{ compression: "brotli" }, "compression"],
    [{ groupProtocol: "share" }, "groupProtocol"],
    [{ instanceId: "a b" }, "instanceId"],
    [{ sessionTimeoutMs: 499 }, "sessionTimeoutMs"],
    [{ sessionTimeoutMs: 1_000, heartbeatMs: 501 }, "heartbeatMs"],
    [{ rebalanceTimeoutMs: 1.5 }, "rebalanceTimeoutMs"],
    [{ isolation: "none" }, "isolation"],
    [{ tunnel: "yes" }, "tunnel"],
    [{ naming: { topic: () => "" } }, "naming.topic"],
    [{ naming: { group: "orders" } }, "naming.group"],
    [{ tls: { rejectUnauthorized: false } }, "tls.rejectUnauthorized"],
    [{ tls: "yes" }, "tls"],
    [{ sasl: { mechanism: "gssapi" } }, "sasl.mechanism"],
    [{ sasl: { mechanism: "plain", username: "u" } }, "sasl.password"],
    [{ sasl: { mechanism: "plain", username: "u", password: "p", token: "t" } }, "sasl.token"],
    [{ sasl: { mechanism: "oauthbearer" } }, "sasl.token"],
    [{ sasl: { mechanism: "oauthbearer", token: "t", username: "u" } }, "sasl.username"],
    [{ sasl: { mechanism: "plain", user: "u", password: "p" } }, "sasl.user"],
  ])("%j is refused and named", (options, name) => {
    expect(() => kafka(options as never)).toThrow(expect.objectContaining({ driverCode: "INVALID_ARGUMENT" }));
    expect(() => kafka(options as never)).toThrow(name);
  });

  test("have defaults", () => {
    expect(endpointOf({})).toEqual({
      bootstrap: [{ host: "localhost", port: 9_092 }],
      clientId: "brokerkit",
      connectTimeoutMs: 5_000,
      tunnel: false,
    });
    const { groupId, ...rest } = behaviourOf({});
    expect(rest).toEqual({
      compression: "none",
      groupProtocol: "classic",
      instanceId: undefined,
      sessionTimeoutMs: 20_000,
      heartbeatMs: 2_000,
      rebalanceTimeoutMs: 60_000,
      isolation: "read-committed",
    });
    expect(groupId("orders", "billing")).toBe("orders.billing");
    expect(behaviourOf({ sessionTimeoutMs: 1_500 }).heartbeatMs).toBe(150);
    expect(behaviourOf({ sessionTimeoutMs: 500 }).heartbeatMs).toBe(50);
  });

  test("take addresses with and without a port, and IPv6", () => {
    expect(endpointOf({ brokers: ["a", "b.c:1", "[::1]:2", "127.0.0.1"] }).bootstrap).toEqual([
      { host: "a", port: 9_092 },
      { host: "b.c", port: 1 },
      { host: "::1", port: 2 },
      { host: "127.0.0.1", port: 9_092 },
    ]);
  });

  test("a naming that makes no name is refused when it is used", () => {
    expect(behaviourOf({ naming: { group: (topic, group) => `${group}@${topic}` } }).groupId("t", "g")).toBe("g@t");
    expect(() => behaviourOf({ naming: { group: () => "" } }).groupId("t", "g")).toThrow("naming.group");
  });
});

describe("a URL", () => {
  test("is read: hosts, user, password, names, numbers and switches", () => {
    const hosts = [
      { host: "a", port: 1 },
      { host: "::1", port: undefined },
    ];
    const options = { sasl: "SCRAM-SHA-512", compression: "zstd", sessionTimeoutMs: "1500", tunnel: "true", naming: "group" };
    const read = optionsOf(url({ hosts, options, username: "ann", password: "p/s:w@rd" }));
    expect(read).toMatchObject({
      brokers: ["a:1", "[::1]:9092"],
      sasl: { mechanism: "scram-sha-512", username: "ann", password: "p/s:w@rd" },
      compression: "zstd",
      sessionTimeoutMs: 1_500,
      tunnel: true,
    });
    expect(behaviourOf(read).groupId("orders", "billing")).toBe("billing");
    expect(endpointOf(read).tls).toBeUndefined();
    expect(endpointOf(optionsOf(url({ scheme: "kafkas", options: { servername: "b" } }))).tls).toEqual({ servername: "b" });
    expect(endpointOf(optionsOf(url({ hosts: [] }))).bootstrap).toEqual([{ host: "localhost", port: 9_092 }]);
  });

  test.each<[Parts, string]>([
    [{ options: { nonsense: "1" } }, "nonsense"],
    [{ options: { brokers: "b:1" } }, "brokers"],
    [{ options: { password: "x" } }, "password"],
    [{ options: { sessionTimeoutMs: "soon" } }, "sessionTimeoutMs"],
    [{ options: { sessionTimeoutMs: "1e3" } }, "sessionTimeoutMs"],
    [{ options: { tunnel: "yes" } }, "tunnel"],
    [{ options: { naming: "topic" } }, "naming"],
    [{ options: { ca: "/ca.pem" } }, "ca"],
    [{ scheme: "kafkas", options: { ca: "/no/such/ca.pem" } }, "ENOENT"],
    [{ path: "orders" }, "path"],
    [{ options: { sasl: "gssapi" }, username: "u", password: "p" }, "scram-sha-512"],
    [{ options: { sasl: "oauthbearer" }, username: "u", password: "p" }, "token"],
    [{ options: { sasl: "plain" } }, "user"],
    [{ options: { sasl: "plain" }, username: "u" }, "password"],
    [{ username: "u", password: "p" }, "sasl"],
    [{ scheme: "kafkas", username: "u", password: "p" }, "sasl"],
  ])("%j is refused and said", (parts, said) => {
    expect(() => kafka.fromUrl(url(parts))).toThrow(expect.objectContaining({ driverCode: "INVALID_ARGUMENT" }));
    expect(() => kafka.fromUrl(url(parts))).toThrow(said);
  });
});

describe("secrets", () => {
  const sasl = { mechanism: "plain", username: "u", password: "canary" } as const;
  const shown = (one: unknown) => inspect(one, { depth: 12, showHidden: true, getters: true }) + JSON.stringify(one);

  test.each<[string, KafkaOptions]>([
    ["a password", { sasl }],
    ["a token", { sasl: { mechanism: "oauthbearer", token: "canary" } }],
    ["a key", { tls: { key: "canary", cert: "canary" } }],
  ])("%s shows in no adapter, driver or error", async (_, options) => {
    const adapter = kafka({ brokers: ["127.0.0.1:1"], ...options });
    const driver = adapter.open({ clock, down: () => {} });
    const error = await driver.connect(AbortSignal.timeout(5_000)).catch((raw: unknown) => raw);
    await driver.close();
    expect(error).toBeInstanceOf(Error);
    for (const one of [adapter, driver, error]) expect(shown(one)).not.toContain("canary");
  });

  test("show in no refusal", () => {
    expect(() => kafka({ clientId: "", sasl })).toThrow(/^(?!.*canary)/);
    expect(() => kafka({ sasl: { ...sasl, username: "" } })).toThrow(/^(?!.*canary)/);
    expect(() => kafka.fromUrl(url({ username: "u", password: "canary" }))).toThrow(/^(?!.*canary)/);
  });
});

const REFUSED = { code: "UNAUTHENTICATED", retryable: false };
const OUTAGE = { code: "UNAVAILABLE", retryable: true };
const CONNECTED = { code: "connected" };

async function certificates(name = "127.0.0.1", days: "valid" | "expired" = "valid") {
  const folder = await mkdtemp(join(tmpdir(), "brokerkit-tls-"));
  undo.push(() => rm(folder, { recursive: true }));
  const pem = await makeCertificates(folder, name, days);
  return { pem, file: (file: string) => readFile(join(pem, file)) };
}

type Certificates = Awaited<ReturnType<typeof certificates>>;

function reach({ host, port }: { readonly host: string; readonly port: number }): KafkaOptions {
  return { brokers: [`${host}:${port}`], connectTimeoutMs: 3_000 };
}

async function listening(server: Server): Promise<{ readonly host: string; readonly port: number }> {
  server.listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  undo.push(async () => server.close());
  return { host: "127.0.0.1", port: (server.address() as { port: number }).port };
}

describe("being let in", () => {
  /** One server asks for a user over TLS, the other for nothing. */
  let own: Certificates;
  let strict: RunningBroker;
  let bare: RunningBroker;
  beforeAll(async () => {
    own = await certificates();
    const module = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule";
    const asking = {
      tls: own.pem,
      sasl: "ann:p/s-w@rd",
      "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
      "listener.name.client.oauthbearer.sasl.jaas.config": `${module} required unsecuredLoginStringClaim_sub="server";`,
    };
    [strict, bare] = await Promise.all([startKafka(asking), startKafka()]);
    undo.push(
      () => strict.close(),
      () => bare.close(),
    );
  });

  /** TLS of another kind before the server that asks for nothing. */
  async function behindTls({ file }: Certificates, more: TlsOptions = {}) {
    const [ca, cert, key] = await Promise.all(["ca.pem", "server.pem", "server.key"].map(file));
    const server = createTlsServer({ ca, cert, key, ...more } as TlsOptions, (socket) => {
      const inner = connect(bare.port, bare.host);
      for (const [one, other] of [
        [socket, inner],
        [inner, socket],
      ] as const) {
        one.on("error", () => other.destroy()).on("close", () => other.destroy());
        one.pipe(other);
      }
    });
    const address = await listening(server);
    return { address, at: { ...reach(address), tunnel: true }, ca, cert, key };
  }

  test("users: what is right works, what is wrong is UNAUTHENTICATED, and none is said to be missing", async () => {
    const at = { ...reach(strict), tls: { ca: await own.file("ca.pem") } };
    const user = { username: "ann", password: "p/s-w@rd" };
    for (const mechanism of ["plain", "scram-sha-256", "scram-sha-512"] as const) {
      expect(await attempt(kafka({ ...at, sasl: { mechanism, ...user } }))).toMatchObject(CONNECTED);
      const wrong = await attempt(kafka({ ...at, sasl: { mechanism, ...user, password: "canary" } }));
      expect(wrong).toMatchObject(REFUSED);
      expect(wrong.said).not.toContain("canary");
    }
    const nobody = await attempt(kafka(at));
    expect(nobody).toMatchObject(OUTAGE);
    expect(nobody.said).toContain("sasl");
    const unasked = await attempt(kafka({ ...reach(bare), sasl: { mechanism: "plain", ...user } }));
    expect(unasked).toMatchObject(REFUSED);
    expect(unasked.said).toContain("leave sasl out");
  });

  test("a token may come from a function; one that is refused, or that can't be had, is an error", async () => {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
    // Not signed: what this server takes, and no real one.
    const made = (exp: number) => `${part({ alg: "none" })}.${part({ sub: "ann", iat: exp - 7_200, exp })}.`;
    const now = Math.floor(Date.now() / 1_000);
    const tls = { ca: await own.file("ca.pem") };
    const bearing = (token: string | (() => Promise<string>)) =>
      kafka({ ...reach(strict), tls, sasl: { mechanism: "oauthbearer", token } });
    expect(await attempt(bearing(async () => made(now + 3_600)))).toMatchObject(CONNECTED);
    expect(await attempt(bearing(made(now + 3_600)))).toMatchObject(CONNECTED);
    expect(await attempt(bearing(made(now - 3_600)))).toMatchObject(REFUSED);
    expect(await attempt(bearing(() => Promise.reject(new Error("no token"))))).toMatchObject(REFUSED);
    const down = driverError("UNAVAILABLE", "The token server is down.");
    expect(await attempt(bearing(() => Promise.reject(down)))).toMatchObject(OUTAGE);
  });

  test("certificates that prove nothing are refused: unknown authority, another name, expired; a name may be given", async () => {
    const sasl = { mechanism: "plain", username: "ann", password: "p/s-w@rd" } as const;
    expect(await attempt(kafka({ ...reach(strict), tls: true, sasl }))).toMatchObject(REFUSED);
    expect(await attempt(kafka({ ...reach(strict), tls: { ca: await own.file("other.pem") }, sasl }))).toMatchObject(REFUSED);
    const { at, ca } = await behindTls(await certificates("elsewhere.test"));
    expect(await attempt(kafka({ ...at, tls: { ca } }))).toMatchObject(REFUSED);
    expect(await attempt(kafka({ ...at, tls: { ca, servername: "elsewhere.test" } }))).toMatchObject(CONNECTED);
    const old = await behindTls(await certificates("127.0.0.1", "expired"));
    expect(await attempt(kafka({ ...old.at, tls: { ca: old.ca } }))).toMatchObject(REFUSED);
  });

  test("a client certificate is shown where one is asked for, by option and by URL", async () => {
    const { at, address, ca, cert, key } = await behindTls(own, { requestCert: true, rejectUnauthorized: true });
    expect(await attempt(kafka({ ...at, tls: { ca } }))).toMatchObject(REFUSED);
    expect(await attempt(kafka({ ...at, tls: { ca, cert, key } }))).toMatchObject(CONNECTED);
    const files = { ca: join(own.pem, "ca.pem"), cert: join(own.pem, "server.pem"), key: join(own.pem, "server.key") };
    const parts = { scheme: "kafkas", hosts: [address], options: { ...files, tunnel: "true" } };
    expect(await attempt(kafka.fromUrl(url(parts)))).toMatchObject(CONNECTED);
  });

  test("TLS to a plain port and plain to a TLS port end in time and say what to do", async () => {
    const began = performance.now();
    const toTls = await attempt(kafka(reach(strict)));
    expect(toTls).toMatchObject(OUTAGE);
    expect(toTls.said).toContain("kafkas:");
    const toPlain = await attempt(kafka({ ...reach(bare), tls: { ca: await own.file("ca.pem") } }));
    expect(toPlain).toMatchObject(OUTAGE);
    expect(toPlain.said).toContain("TLS");
    expect(ranFor(began)).toBeLessThan(10_000);
  });

  test("nobody there, or nobody who answers, is UNAVAILABLE in time; one address that answers is enough", async () => {
    const silent = await listening(createServer((socket) => socket.resume()));
    expect(await attempt(kafka({ brokers: ["127.0.0.1:1"] }))).toMatchObject(OUTAGE);
    const began = performance.now();
    const unanswered = await attempt(kafka({ ...reach(silent), connectTimeoutMs: 300 }));
    expect(unanswered).toMatchObject(OUTAGE);
    expect(unanswered.said).toContain("300 ms");
    expect(ranFor(began)).toBeLessThan(3_000);
    expect(await attempt(kafka({ brokers: ["127.0.0.1:1", `${bare.host}:${bare.port}`] }))).toMatchObject(CONNECTED);
  });
});
