import { X509Certificate } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { makeCertificates, startBroker } from "@brokerkit/conformance/brokers";
import { until } from "@brokerkit/conformance/faults";
import { Kafka, type KafkaConfig, logLevel } from "kafkajs";
import { expect, onTestFinished, test } from "vitest";
import { recipe } from "../recipe.ts";
import { startKafka } from "./stage.ts";

async function start(options: Readonly<Record<string, string>> = {}): ReturnType<typeof startKafka> {
  const broker = await startKafka(options);
  onTestFinished(() => broker.close());
  return broker;
}

function plain({ port }: { readonly port: number }, more: Partial<KafkaConfig> = {}): Kafka {
  return new Kafka({ brokers: [`127.0.0.1:${port}`], logLevel: logLevel.NOTHING, retry: { retries: 2 }, ...more });
}

/** What the log holds, asked by an admin of the plain client; of a topic that was just created not every server knows who leads it. */
async function ends(kafka: Kafka, topic: string): Promise<readonly string[]> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    const look = async (): Promise<readonly string[]> => (await admin.fetchTopicOffsets(topic)).map(({ high }) => high);
    return await until(look, { timeoutMs: 30_000, what: `the leaders of "${topic}"` });
  } finally {
    await admin.disconnect();
  }
}

async function send(kafka: Kafka, topic: string, count: number): Promise<void> {
  const producer = kafka.producer({ allowAutoTopicCreation: false });
  await producer.connect();
  try {
    await producer.send({ topic, messages: Array.from({ length: count }, (_, n) => ({ key: `${n}`, value: `${n}` })) });
  } finally {
    await producer.disconnect();
  }
}

async function create(kafka: Kafka, topic: string, numPartitions = 1): Promise<void> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    await admin.createTopics({ topics: [{ topic, numPartitions }], waitForLeaders: true });
  } finally {
    await admin.disconnect();
  }
}

test("it serves, tells its release, and what was confirmed is there after a kill", { timeout: 60_000 }, async () => {
  const broker = await start();
  expect(broker).toMatchObject({ name: "kafka", version: "4.1", source: "process", url: `kafka://127.0.0.1:${broker.port}` });
  await create(plain(broker), "kept", 2);
  await send(plain(broker), "kept", 20);
  const before = await ends(plain(broker), "kept");
  expect(before.reduce((sum, end) => sum + Number(end), 0)).toBe(20);
  await broker.kill();
  await broker.restart();
  expect(await ends(plain(broker), "kept")).toEqual(before);
  await send(plain(broker), "kept", 1);
});

test("a topic that nobody has created is not created by asking for it", { timeout: 60_000 }, async () => {
  const broker = await start();
  await expect(send(plain(broker), "nobody", 1)).rejects.toThrow(/does not host this topic-partition/);
});

test("with certificates and users: TLS by the given chain, PLAIN and SCRAM, wrong passwords and rights refused", {
  timeout: 60_000,
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), "brokerkit-test-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const at = await makeCertificates(folder, "127.0.0.1");
  const broker = await start({ tls: at, sasl: "admin:first-secret reader:second-secret", acl: "admin" });
  expect(broker.version).toBe("4.1");

  const socket = connect({ host: "127.0.0.1", port: broker.port, ca: await readFile(join(at, "ca.pem")) });
  await new Promise((resolve, reject) => socket.once("secureConnect", () => resolve(undefined)).once("error", reject));
  const given = new X509Certificate(await readFile(join(at, "server.pem")));
  expect(socket.getPeerX509Certificate()?.fingerprint256).toBe(given.fingerprint256);
  socket.destroy();

  const ssl = { ca: [await readFile(join(at, "ca.pem"))] };
  const as = (mechanism: "plain" | "scram-sha-256" | "scram-sha-512", username: string, password: string): Kafka =>
    plain(broker, { ssl, sasl: { mechanism, username, password } as NonNullable<KafkaConfig["sasl"]> });
  await create(as("plain", "admin", "first-secret"), "mine");
  await send(as("scram-sha-512", "admin", "first-secret"), "mine", 1);
  expect(await ends(as("scram-sha-256", "admin", "first-secret"), "mine")).toEqual(["1"]);
  await expect(ends(as("plain", "admin", "second-secret"), "mine")).rejects.toThrow(/[Aa]uthentication/);
  await expect(ends(as("scram-sha-256", "admin", "second-secret"), "mine")).rejects.toThrow(/[Aa]uthentication/);
  await expect(send(as("plain", "reader", "second-secret"), "mine", 1)).rejects.toThrow(/[Nn]ot authorized/);
});

test("properties of the server are set by their own names; a misspelt option is refused", { timeout: 60_000 }, async () => {
  const broker = await start({ "num.partitions": "5", "message.max.bytes": "2000" });
  await create(plain(broker), "five", -1);
  expect(await ends(plain(broker), "five")).toHaveLength(5);
  await expect(startBroker(recipe, { destructive: true, options: { tsl: "x" } })).rejects.toThrow(/there is no option "tsl" for tests/);
});
