import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeCertificates, type RunningBroker } from "@brokerkit/conformance/brokers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { administrator, adminOf } from "../recipe.ts";
import { type PulsarOptions, type PulsarTls, pulsar } from "../src/index.ts";
import { atLast, connecting, fresh, ids, open, read, records, replay, soon, startServer, store } from "./stage.ts";

let folder: string;
let server: RunningBroker;
let rest: ReturnType<typeof administrator>;

const file = (name: string): Promise<Buffer> => readFile(join(folder, name));

/** A certificate for a user, signed by one of the authorities. */
function certify(name: string, user: string, authority: "ca" | "other"): void {
  const openssl = (...args: readonly string[]) => execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  openssl("req", ...curve, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${user}`);
  const signed = ["-CA", `${authority}.pem`, "-CAkey", `${authority}.key`, "-CAcreateserial", "-days", "2"];
  openssl("x509", "-req", "-in", `${name}.csr`, ...signed, "-out", `${name}.pem`);
}

beforeAll(async () => {
  const parent = await mkdtemp(join(tmpdir(), "brokerkit-test-"));
  atLast(() => rm(parent, { recursive: true }));
  folder = await makeCertificates(parent, "127.0.0.1");
  certify("client", "admin", "ca");
  certify("reader", "ann", "ca");
  certify("stranger", "admin", "other");
  const provider = "org.apache.pulsar.broker.authentication.AuthenticationProvider";
  // The server's own parts come with a token, over the ports without TLS.
  const authenticationProviders = `${provider}Token,${provider}Tls`;
  const options = { tls: folder, secret: "one", authenticationProviders, tlsRequireTrustedClientCertOnConnect: "true" };
  server = await startServer({ ...options, webSocketServiceEnabled: "false" });
  rest = administrator({ ...server, options });
}, 180_000);
afterAll(() => rest?.close());

/** How somebody comes: with a certificate, or with none. */
async function as(name: string | undefined): Promise<PulsarOptions> {
  const own: PulsarTls = name === undefined ? {} : { cert: await file(`${name}.pem`), key: await file(`${name}.key`) };
  return { servers: `${server.host}:${server.port}`, adminUrl: adminOf(server), tls: { ca: await file("ca.pem"), ...own } };
}

test("a client certificate lets in, to the brokers and to their admin service, as whom it names", async () => {
  const { driver } = await open(pulsar(await as("client")));
  const topic = fresh();
  await driver.admin.createTopic({ name: topic, partitions: 2 }, soon());
  const { subscription, take } = await read(driver, topic, "g");
  await store(driver, records(topic, "1", "2"));
  expect(await subscription.ack(await take(2))).toEqual(["confirmed", "confirmed"]);
  expect(ids(await (await replay(driver, topic, { kind: "earliest" })).all())).toEqual(["1", "2"]);

  const ann = (await open(pulsar(await as("reader")))).driver;
  const [refused] = await ann.publish(records(topic, "3"), soon());
  expect(refused?.ok === false && [ann.classify(refused.error).code, refused.sent]).toEqual(["FORBIDDEN", "no"]);
  await rest.permit(`persistent://public/default/${topic}`, "ann", ["consume"], soon());
  expect(ids(await (await replay(ann, topic, { kind: "earliest" })).all())).toEqual(["1", "2"]);
});

test("without one, or with one of another authority, nobody is let in", async () => {
  const refused = { code: "UNAUTHENTICATED", retryable: false };
  for (const name of [undefined, "stranger"]) expect(await connecting(pulsar(await as(name)))).toEqual(refused);
  expect(await connecting(pulsar({ ...(await as(undefined)), adminUrl: false }))).toEqual(refused);
  // A broker calls it an error of its own: nobody can tell that from an outage.
  expect(await connecting(pulsar({ ...(await as("stranger")), adminUrl: false }))).toEqual({ code: "UNAVAILABLE", retryable: true });
});

test("a key that belongs to another certificate is an error of its own, before anything is sent", async () => {
  const [mine, theirs] = [await as("client"), await file("reader.key")];
  const tls = { ...(mine.tls as PulsarTls), key: theirs };
  expect(await connecting(pulsar({ ...mine, tls }))).toEqual({ code: "INVALID_ARGUMENT", retryable: false });
});
