import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type AdapterHarness,
  defineHarness,
  type ForeignReader,
  type ForeignRecord,
  type Harness,
  type Provocation,
  type Provoked,
  Shared,
  type Site,
} from "@brokerkit/conformance";
import { type BrokerOptions, makeCertificates, type RunningBroker, startBroker } from "@brokerkit/conformance/brokers";
import type { Capabilities, ErrorCode } from "brokerkit/driver";
import client, { Kafka, type KafkaConfig, logLevel } from "kafkajs";
import { recipe } from "./recipe.ts";
import { type KafkaOptions, type KafkaSasl, kafka } from "./src/index.ts";

// Node sees only some names of the plain client's CommonJS module.
const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } = client;

type Password = Extract<KafkaSasl, { readonly password: string }>;
type Address = Pick<Site, "host" | "port">;

/** The plain client. */
function plain({ host, port }: Address, more: Partial<KafkaConfig> = {}): Kafka {
  return new Kafka({ clientId: "plain", brokers: [`${host}:${port}`], logLevel: logLevel.NOTHING, ...more });
}

async function publish(site: Site, topic: string, body: Uint8Array): Promise<void> {
  const producer = plain(site).producer();
  await producer.connect();
  try {
    await producer.send({ topic, messages: [{ value: Buffer.from(body) }] });
  } finally {
    await producer.disconnect();
  }
}

let readers = 0;

async function read(site: Site, topic: string): Promise<ForeignReader> {
  const records: ForeignRecord[] = [];
  readers += 1;
  const consumer = plain(site).consumer({ groupId: `plain-${process.pid}-${readers}` });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ message }) => {
      const headers = Object.entries(message.headers ?? {}).map(([name, value]) => [name, String(value)]);
      records.push({ body: message.value ?? Buffer.alloc(0), headers: Object.fromEntries(headers) as Record<string, string> });
    },
  });
  return { records, close: () => consumer.disconnect() };
}

/** As retention would: the beginning of the log moves. What is newest is only known where all records are in one partition. */
async function expire(site: Site, topic: string, keep: number): Promise<void> {
  const admin = plain(site).admin();
  await admin.connect();
  try {
    const filled = (await admin.fetchTopicOffsets(topic)).filter(({ high, low }) => high !== low);
    if (filled.length > 1 && keep > 0) throw new Error(`"${topic}" has records in ${filled.length} partitions: give them one key`);
    const partitions = filled.map(({ partition, high }) => ({ partition, offset: String(Math.max(0, Number(high) - keep)) }));
    await admin.deleteTopicRecords({ topic, partitions });
  } finally {
    await admin.disconnect();
  }
}

const start = (options: BrokerOptions): Promise<RunningBroker> => startBroker(recipe, { destructive: true, options });

const [ADMIN, APP, READER] = ["right-51d7", "right-2f6c", "canary-reader-77ab"];

/** Users with passwords; one of them may do everything but write. */
const guarded = new Shared(async () => {
  const broker = await start({ sasl: `admin:${ADMIN} app:${APP} reader:${READER}`, acl: "admin app" });
  await onlyRead(broker, "reader", { username: "admin", password: ADMIN });
  return { broker };
});

/** TLS with a certificate for 127.0.0.1; `folder` has its authority and another one. */
const secured = (days: "valid" | "expired") =>
  new Shared(async (site) => {
    const folder = await makeCertificates(site.folder, "127.0.0.1", days);
    return { broker: await start({ tls: folder }), folder };
  });
const valid = secured("valid");
const expired = secured("expired");

/** Lets a user do everything to the cluster, and to topics everything but write. */
async function onlyRead(broker: RunningBroker, user: string, administrator: { username: string; password: string }): Promise<void> {
  const admin = plain(broker, { sasl: { mechanism: "plain", ...administrator } }).admin();
  const all = { principal: `User:${user}`, host: "*", operation: AclOperationTypes.ALL, permissionType: AclPermissionTypes.ALLOW };
  const exactly = { resourcePatternType: ResourcePatternTypes.LITERAL };
  const topics = { resourceType: AclResourceTypes.TOPIC, resourceName: "*", ...exactly };
  const cluster = { resourceType: AclResourceTypes.CLUSTER, resourceName: "kafka-cluster", ...exactly };
  const never = { ...all, operation: AclOperationTypes.WRITE, permissionType: AclPermissionTypes.DENY };
  await admin.connect();
  try {
    await admin.createAcls({
      acl: [
        { ...cluster, ...all },
        { ...topics, ...all },
        { ...topics, ...never },
      ],
    });
  } finally {
    await admin.disconnect();
  }
}

function provoked(at: Address, options: KafkaOptions, more: Omit<Provoked, "adapter">): Provoked {
  return { adapter: kafka({ brokers: [`${at.host}:${at.port}`], ...TEST, ...options }), ...more };
}

function login(id: Provocation["id"], code: ErrorCode, at: Provocation["at"], sasl: Password): Provocation {
  return {
    id,
    code,
    at,
    retryable: false,
    async setUp(site) {
      const { broker } = await guarded.take(site);
      const url = `kafka://${sasl.username}:${sasl.password}@${broker.host}:${broker.port}?sasl=${sasl.mechanism}`;
      return provoked(broker, { sasl }, { url, secrets: [ADMIN, APP, READER, sasl.password], cleanUp: () => guarded.release() });
    },
  };
}

function tls(id: Provocation["id"], server: typeof valid, host: string, authority: string): Provocation {
  return {
    id,
    code: "UNAUTHENTICATED",
    at: "connect",
    retryable: false,
    async setUp(site) {
      const { broker, folder } = await server.take(site);
      const ca = await readFile(join(folder, authority));
      return provoked({ host, port: broker.port }, { tls: { ca } }, { url: undefined, secrets: [], cleanUp: () => server.release() });
    },
  };
}

const provocations: readonly Provocation[] = [
  login("wrong-password", "UNAUTHENTICATED", "connect", { mechanism: "scram-sha-256", username: "app", password: "canary-wrong-91d0" }),
  login("forbidden", "FORBIDDEN", "publish", { mechanism: "plain", username: "reader", password: READER }),
  tls("tls-bad-ca", valid, "127.0.0.1", "other.pem"),
  tls("tls-wrong-host", valid, "localhost", "ca.pem"),
  tls("tls-expired", expired, "127.0.0.1", "ca.pem"),
  {
    id: "plain-to-tls-port",
    code: "UNAVAILABLE",
    at: "connect",
    retryable: true,
    async setUp(site) {
      const { broker } = await valid.take(site);
      return provoked(broker, { connectTimeoutMs: 2_000 }, { url: undefined, secrets: [], cleanUp: () => valid.release() });
    },
  },
];

/** Written by hand, against what the backend can do under one node and the options below; never taken from the adapter. */
const expected: Capabilities = {
  delivery: { group: "at-least-once", broadcast: "at-least-once", groups: Number.POSITIVE_INFINITY },
  durable: true,
  durabilityOnAck: "page-cache",
  publish: { maxRecords: 5_000, maxBytes: 33_554_432, inFlight: 1, order: "call" },
  settle: { unit: "prefix", ack: "confirmed" },
  receive: { maxRecords: 5_000, concurrency: 1, maxWaitMs: 30_000 },
  redelivery: { native: false, maxDelayMs: 0, counted: "none" },
  lease: { ms: 0, extend: false },
  hold: { maxMs: Number.POSITIVE_INFINITY, maxUnacked: 10_000, scope: "shard" },
  keyOrder: "members",
  coordination: false,
  from: {
    group: ["latest", "earliest", "time", "position"],
    broadcast: ["latest", "earliest", "time", "position"],
    replay: ["earliest", "time", "position"],
  },
  seek: "idle",
  cursorEnd: true,
  delay: { maxMs: 0 },
  ttl: { maxMs: 0 },
  priority: { levels: 0 },
  dedupe: { windowMs: 0 },
  groupInbox: "stream",
  lag: { count: "upper-bound", unit: "message", inFlight: false, oldest: true },
  places: { perDelivery: true, dense: false },
  topics: { explicit: true, partitions: 10_000, describe: true },
  retention: { ms: true, bytes: true, compact: true },
  message: {
    // message.max.bytes is 1,048,588 unless it is set; 1,024 are kept for what a batch holds besides.
    maxBytes: 1_047_564,
    maxHeaders: Number.POSITIVE_INFINITY,
    key: true,
    headers: true,
    tombstone: true,
  },
};

/** Sessions as short as tests like them; every connection by the address that was dialled, since faults stand in between. */
const TEST = { tunnel: true, sessionTimeoutMs: 1_500, heartbeatMs: 300, rebalanceTimeoutMs: 5_000 };

const query = Object.entries(TEST)
  .map(([name, value]) => `${name}=${value}`)
  .join("&");

const adapter: AdapterHarness = {
  name: "kafka",
  url: ({ host, port }) => `kafka://${host}:${port}?${query}`,
  adapter: ({ host, port }) => kafka({ brokers: [`${host}:${port}`], ...TEST }),
  expected,
  kills: 5,
  versions: async ({ broker }) => ({ client: "@platformatic/kafka 2.12.1", server: broker?.version ?? "unknown" }),
  collides: (name, other) => name.replaceAll(".", "_") === other.replaceAll(".", "_"),
  foreign: { publish, read },
  provoke: { errors: provocations, expire },
};

export const harness: Harness = defineHarness({ name: "kafka", broker: recipe, adapters: [adapter] });
