import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeCertificates } from "@brokerkit/conformance/brokers";
import type { BrokerUrl } from "brokerkit/driver";
import { describe, expect, test } from "vitest";
import { rabbitmq } from "../src/index.ts";
import { endpointOf, optionsOf, settingsOf } from "../src/options.ts";
import { connecting, defer, open, soon, startServer } from "./stage.ts";

interface Parts {
  readonly scheme?: string;
  readonly hosts?: BrokerUrl["hosts"];
  readonly path?: string;
  readonly options?: Readonly<Record<string, string>>;
  readonly username?: string;
  readonly password?: string;
}

/** As core gives it. */
function url({ scheme = "amqp", hosts = [], path = "", options = {}, username, password }: Parts): BrokerUrl {
  const credentials = Object.defineProperties({}, { username: { value: username }, password: { value: password } });
  return { scheme, hosts, path, options: new Map(Object.entries(options)), credentials: credentials as BrokerUrl["credentials"] };
}

describe("options", () => {
  test.each([
    [{ prot: 1 }, "prot"],
    [{ servers: [] }, "servers"],
    [{ servers: "a:0" }, "servers"],
    [{ servers: ["a", "b:x"] }, "servers"],
    [{ vhost: "" }, "vhost"],
    [{ password: "x" }, "username"],
    [{ heartbeatMs: 10 }, "heartbeatMs"],
    [{ queueType: "stream" }, "queueType"],
    [{ log: "yes" }, "log"],
    [{ logMaxAgeMs: 1.5 }, "logMaxAgeMs"],
    [{ prefetch: 0 }, "prefetch"],
    [{ priorities: 5 }, "classic"],
    [{ priorities: 1, queueType: "classic" }, "priorities"],
    [{ tls: { rejectUnauthorized: false } }, "rejectUnauthorized"],
  ])("%j is refused and named", (options, name) => {
    expect(() => rabbitmq(options as never)).toThrow(name);
  });

  test("have their defaults", () => {
    expect(endpointOf({})).toMatchObject({ servers: [{ host: "localhost", port: 5672 }], vhost: "/", heartbeatMs: 5_000 });
    expect(endpointOf({ tls: true, servers: ["a", "[::1]:7"] }).servers).toEqual([
      { host: "a", port: 5671 },
      { host: "::1", port: 7 },
    ]);
    expect([endpointOf({}).username, endpointOf({}).password, endpointOf({ username: "a" }).password]).toEqual(["guest", "guest", ""]);
    expect(settingsOf({})).toEqual({
      queueType: "quorum",
      log: true,
      logMaxAgeMs: 604_800_000,
      logMaxBytes: 1_073_741_824,
      prefetch: 1_000,
      priorities: 0,
    });
  });

  test("narrow the record and the features before anything is connected", () => {
    const plain = rabbitmq({ queueType: "classic", log: false, priorities: 4, prefetch: 7 });
    expect(plain.features.replay).toBe(false);
    expect(plain.capabilities).toMatchObject({
      delivery: { broadcast: "at-most-once" },
      redelivery: { counted: "none" },
      priority: { levels: 4 },
      hold: { maxUnacked: 7 },
      from: { broadcast: ["latest"], replay: [] },
    });
    expect([rabbitmq().features.replay, rabbitmq().capabilities.priority.levels]).toEqual([true, 0]);
  });
});

describe("a URL", () => {
  test("says where, as whom, to which host of queues, and how", () => {
    const hosts = [
      { host: "a", port: 1 },
      { host: "::1", port: undefined },
    ];
    const options = { queueType: "classic", log: "false", heartbeatMs: "2000", name: "orders" };
    expect(optionsOf(url({ hosts, path: "/", username: "u", password: "p", options }))).toEqual({
      servers: ["a:1", "[::1]"],
      vhost: "/",
      username: "u",
      password: "p",
      queueType: "classic",
      log: false,
      heartbeatMs: 2_000,
      name: "orders",
    });
    expect(optionsOf(url({ path: "staging" }))).toEqual({ vhost: "staging" });
    expect(optionsOf(url({ scheme: "amqps", options: { servername: "mq" } }))).toEqual({ tls: { servername: "mq" } });
  });

  test.each<[Parts, string]>([
    [{ options: { nonsense: "1" } }, "nonsense"],
    [{ options: { heartbeatMs: "soon" } }, "heartbeatMs"],
    [{ options: { log: "1" } }, "log"],
    [{ options: { password: "x" } }, "password"],
    [{ options: { ca: "/ca.pem" } }, "ca"],
    [{ scheme: "amqps", options: { ca: "/no/such/ca.pem" } }, "ENOENT"],
  ])("%j is refused and said", (parts, said) => {
    expect(() => rabbitmq.fromUrl(url(parts))).toThrow(said);
  });
});

test("TLS is verified, and a certificate of one's own is shown where the server asks for it", async () => {
  const folder = await mkdtemp(join(tmpdir(), "brokerkit-tls-"));
  defer(() => rm(folder, { recursive: true }));
  const tls = await makeCertificates(folder, "127.0.0.1");
  const { broker } = await startServer({ tls });
  const hosts = [{ host: broker.host, port: broker.port }];
  const { driver } = await open(rabbitmq.fromUrl(url({ scheme: "amqps", hosts, options: { ca: join(tls, "ca.pem"), log: "false" } })));
  await driver.ping(soon());
  expect(await connecting(rabbitmq({ servers: `${broker.host}:${broker.port}`, tls: true }))).toEqual({
    code: "UNAUTHENTICATED",
    retryable: false,
  });
});
