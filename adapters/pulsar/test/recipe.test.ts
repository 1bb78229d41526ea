import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeCertificates } from "@brokerkit/conformance/brokers";
import { expect, onTestFinished, test } from "vitest";
import { administrator, adminOf, recipe, tokenFor } from "../recipe.ts";
import { classify } from "../src/errors.ts";
import { basicAuth, tokenAuth } from "../src/protocol/auth.ts";
import { protocolTransport } from "../src/protocol/index.ts";
import { Rest } from "../src/protocol/rest.ts";
import { startServer, until } from "./stage.ts";

const soon = (): AbortSignal => AbortSignal.timeout(30_000);
const TOPIC = "persistent://public/default/kept";

test("it serves, and what was confirmed is there after a kill", { timeout: 300_000 }, async () => {
  const broker = await startServer();
  expect(broker).toMatchObject({ name: "pulsar", version: "4.0.6", source: "process" });
  expect(broker.url).toBe(`pulsar://127.0.0.1:${broker.port}/public/default?adminUrl=${adminOf(broker)}`);
  const rest = administrator({ ...broker, options: {} });
  onTestFinished(() => rest.close());
  await rest.createTopic(TOPIC, 0, soon());
  await rest.createSubscription(TOPIC, "g", "earliest", soon());
  const transport = protocolTransport({ serviceUrl: `pulsar://127.0.0.1:${broker.port}`, reconnect: false });
  onTestFinished(() => transport.close());
  const producer = await transport.producer({ topic: TOPIC }, soon());
  const messages = Array.from({ length: 200 }, (_, n) => ({ payload: Buffer.from(`${n}`), properties: [] }));
  const results = await producer.send(messages, soon());
  expect(results.every(({ ok }) => ok)).toBe(true);

  await broker.kill();
  await broker.restart();
  // A broker that serves may have to wait for its bookie until it can open a topic that is there already.
  const kept = (): Promise<number> => rest.analyzeBacklog(TOPIC, "g", soon()).then(({ messages }) => messages);
  await until(
    () =>
      kept().then(
        () => true,
        () => false,
      ),
    "the topic to be open",
  );
  expect(await kept()).toBe(200);
});

test("with TLS, tokens and passwords it lets in who may", { timeout: 240_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), "brokerkit-test-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const tls = await makeCertificates(folder, "127.0.0.1");
  const options = { tls, secret: "one", users: "ann:right bob:other", webSocketServiceEnabled: "false" };
  const broker = await startServer(options);
  expect(broker.url).toMatch(/^pulsar\+ssl:\/\/127\.0\.0\.1:\d+\/public\/default\?adminUrl=https:\/\/127\.0\.0\.1:\d+$/);
  const rest = administrator({ ...broker, options });
  onTestFinished(() => rest.close());
  await rest.createTopic(TOPIC, 0, soon());
  await rest.permit(TOPIC, "ann", ["consume"], soon());
  const ca = await readFile(join(tls, "ca.pem"));
  const asks = async (token: string): Promise<string> => {
    const asking = new Rest(adminOf(broker), { auth: tokenAuth(token), tls: { ca } });
    onTestFinished(() => asking.close());
    return asking.partitions(TOPIC, soon()).then(
      () => "may",
      (error: unknown) => classify(error).code,
    );
  };
  expect(await asks(tokenFor("one", "admin"))).toBe("may");
  expect(await asks(tokenFor("one", "ann"))).toBe("may");
  expect(await asks(tokenFor("one", "carl"))).toBe("FORBIDDEN");
  expect(await asks(tokenFor("two", "admin"))).toBe("UNAUTHENTICATED");
  expect(await asks(tokenFor("one", "admin", Math.floor(Date.now() / 1_000) - 60))).toBe("UNAUTHENTICATED");

  const subscribes = async (password: string): Promise<string> => {
    const auth = basicAuth("ann", password);
    const transport = protocolTransport({ serviceUrl: `pulsar+ssl://127.0.0.1:${broker.port}`, auth, tls: { ca }, reconnect: false });
    onTestFinished(() => transport.close());
    const from = { kind: "latest" } as const;
    const events = { closed: () => {} };
    return transport.consumer({ topic: TOPIC, subscription: "g", type: "shared", durable: false, from, credit: 1, events }, soon()).then(
      () => "may",
      (error: unknown) => classify(error).code,
    );
  };
  expect(await subscribes("right")).toBe("may");
  expect(await subscribes("other")).toBe("UNAUTHENTICATED");
});

test("an option that is none is refused before anything starts", async () => {
  const place = { port: 1, extraPorts: [2, 3, 4, 5], data: "", conf: "", binary: "", home: "", library: "", host: "127.0.0.1" };
  const files = recipe.process?.files;
  expect(() => files?.({ ...place, options: { Secret: "x" } })).toThrow('there is no option "Secret"');
  expect(() => files?.({ ...place, options: { users: "a:b" } })).toThrow('"users" needs "secret"');
});
