import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import type { BrokerUrl } from "brokerkit/driver";
import { describe, expect, onTestFinished, test } from "vitest";
import { checkOptions, endpointOf, optionsOf, type PulsarOptions, settingsOf } from "../src/options.ts";

interface Parts {
  readonly scheme?: string;
  readonly hosts?: BrokerUrl["hosts"];
  readonly path?: string;
  readonly options?: Readonly<Record<string, string>>;
  readonly username?: string;
  readonly password?: string;
}

/** As core gives it. */
function url({ scheme = "pulsar", hosts = [], path = "", options = {}, username, password }: Parts): BrokerUrl {
  const credentials = Object.defineProperties({}, { username: { value: username }, password: { value: password } });
  return { scheme, hosts, path, options: new Map(Object.entries(options)), credentials: credentials as BrokerUrl["credentials"] };
}

const CANARY = "canary-5f0e";

function thrown(act: () => void): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  return undefined;
}

async function shown(options: PulsarOptions): Promise<string | undefined> {
  const data = await endpointOf(options).auth?.data();
  return data === undefined ? undefined : Buffer.from(data).toString();
}

describe("options", () => {
  test.each([
    [{ prot: 1 }, "prot"],
    [{ servers: [] }, "servers"],
    [{ servers: "a:0" }, "servers"],
    [{ servers: ["a", "b:x"] }, "servers"],
    [{ tenant: "a/b" }, "tenant"],
    [{ namespace: "" }, "namespace"],
    [{ token: "" }, "token"],
    [{ token: 5 }, "token"],
    [{ tokenFile: 5 }, "tokenFile"],
    [{ username: "ann" }, "password"],
    [{ password: CANARY }, "username"],
    [{ username: "a:b", password: CANARY }, "colon"],
    [{ token: CANARY, tokenFile: "/t" }, "Only one"],
    [{ token: CANARY, username: "ann", password: CANARY }, "Only one"],
    [{ tls: { rejectUnauthorized: false } }, "always verified"],
    [{ tls: { cert: CANARY } }, "tls.key"],
    [{ tls: 1 }, "tls"],
    [{ adminUrl: true }, "adminUrl"],
    [{ adminUrl: "a:8080" }, "adminUrl"],
    [{ adminUrl: `http://ann:${CANARY}@a:8080` }, "adminUrl"],
    [{ adminUrl: "http://a:8080/admin" }, "adminUrl"],
    [{ adminUrl: "http://a:8080", tls: true }, "https"],
    [{ subscriptionType: "exclusive" }, "key_shared"],
    [{ batching: true }, "batching"],
    [{ compression: "lz4" }, "compression"],
    [{ transport: "websocket" }, "protocol"],
    [{ connectTimeoutMs: 0 }, "connectTimeoutMs"],
    [{ keepAliveMs: 1.5 }, "keepAliveMs"],
    [{ tunnel: "yes" }, "tunnel"],
  ])("%j are refused and named, and no value is printed", (options, name) => {
    const error = thrown(() => checkOptions(options as never));
    expect(error).toMatchObject({ driverCode: "INVALID_ARGUMENT", message: expect.stringContaining(name) });
    expect(inspect(error)).not.toContain(CANARY);
  });

  test("have their defaults", () => {
    expect(endpointOf({})).toMatchObject({
      servers: [{ host: "localhost", port: 6650 }],
      connectTimeoutMs: 5_000,
      keepAliveMs: 30_000,
      tunnel: false,
    });
    expect([endpointOf({}).auth, endpointOf({}).tls]).toEqual([undefined, undefined]);
    expect(settingsOf({})).toEqual({
      namespace: "public/default",
      subscriptionType: "key_shared",
      batching: "lane",
      compression: "none",
      transport: "protocol",
      admin: "http://localhost:8080",
    });
  });

  test("with TLS ports and the admin service's URL are others, and client certificates let in", () => {
    expect(endpointOf({ tls: true, servers: ["a", "[::1]:7"] }).servers).toEqual([
      { host: "a", port: 6651 },
      { host: "::1", port: 7 },
    ]);
    expect(settingsOf({ tls: true, servers: ["[::1]:7", "a"] }).admin).toBe("https://[::1]:8443");
    expect(settingsOf({ adminUrl: false }).admin).toBeUndefined();
    const { auth, tls } = endpointOf({ tls: { cert: new Uint8Array([65]), key: "key", servername: "a" } });
    expect(auth?.method).toBe("tls");
    expect(tls).toEqual({ cert: new Uint8Array([65]), key: "key", servername: "a" });
  });

  test("let in by a token, a function, a file or a password, which nothing prints", async () => {
    const folder = await mkdtemp(join(tmpdir(), "brokerkit-test-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    await writeFile(join(folder, "token"), `${CANARY}\n`);
    expect(await shown({ token: CANARY })).toBe(CANARY);
    expect(await shown({ token: async () => CANARY })).toBe(CANARY);
    expect(await shown({ tokenFile: join(folder, "token") })).toBe(CANARY);
    expect(await shown({ username: "ann", password: CANARY })).toBe(`ann:${CANARY}`);
    for (const options of [{ token: CANARY }, { username: "ann", password: CANARY }, { tls: { key: CANARY, cert: CANARY } }]) {
      const endpoint = endpointOf(options);
      expect(`${inspect(endpoint, { depth: 9 })} ${JSON.stringify(endpoint)}`).not.toContain(CANARY);
    }
  });
});

describe("a URL", () => {
  test("says servers, tenant and namespace, and options", () => {
    const hosts = [
      { host: "a", port: undefined },
      { host: "::1", port: 7 },
    ];
    const given = { adminUrl: "http://a:1", compression: "zstd", keepAliveMs: "900", tunnel: "true" };
    const options = optionsOf(url({ hosts, path: "shop/orders", options: given }));
    expect(options).toEqual({
      ...{ servers: ["a", "[::1]:7"], tenant: "shop", namespace: "orders" },
      ...{ adminUrl: "http://a:1", compression: "zstd", keepAliveMs: 900, tunnel: true },
    });
    expect(() => checkOptions(options)).not.toThrow();
    expect(optionsOf(url({ options: { adminUrl: "false" } }))).toEqual({ adminUrl: false });
  });

  test("says a token, or user and password", () => {
    expect(optionsOf(url({ username: "tok" }))).toEqual({ token: "tok" });
    expect(optionsOf(url({ username: "ann", password: "pw" }))).toEqual({ username: "ann", password: "pw" });
  });

  test("names files for TLS, which must be there", async () => {
    const folder = await mkdtemp(join(tmpdir(), "brokerkit-test-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    await writeFile(join(folder, "ca.pem"), "pem");
    expect(optionsOf(url({ scheme: "pulsar+ssl", options: { ca: join(folder, "ca.pem"), servername: "a" } }))).toEqual({
      tls: { ca: Buffer.from("pem"), servername: "a" },
    });
    expect(() => optionsOf(url({ scheme: "pulsar+ssl", options: { ca: join(folder, "none") } }))).toThrow('"ca" can\'t be read (ENOENT)');
  });

  test.each([
    [{ path: "shop" }, "/tenant/namespace"],
    [{ path: "shop/orders/x" }, "/tenant/namespace"],
    [{ options: { ca: "x" } }, '"ca" for pulsar:'],
    [{ options: { token: CANARY } }, '"token"'],
  ])("%j is refused", (parts, text) => {
    expect(() => optionsOf(url(parts))).toThrow(text);
  });

  test.each([{ keepAliveMs: "soon" }, { tunnel: "1" }, { subscriptionType: "" }])("%j does not pass the check", (options) => {
    expect(() => checkOptions(optionsOf(url({ options })))).toThrow("must be");
  });
});
