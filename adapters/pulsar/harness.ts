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
import type { Adapter, Capabilities } from "brokerkit/driver";
import { administrator, adminOf, recipe, tokenFor } from "./recipe.ts";
import { type PulsarOptions, pulsar } from "./src/index.ts";
import { protocolTransport } from "./src/protocol/index.ts";
import type { IncomingMessage } from "./src/transport.ts";

/**
 * Every connection by the address that was dialled, since faults stand in between; silent ones are given up soon. `PULSAR_TRANSPORT=native`
 * runs everything over the official client, where that is installed.
 */
const USUAL =
  process.env["PULSAR_TRANSPORT"] === "native" ? ({ transport: "native" } as const) : ({ tunnel: true, keepAliveMs: 5_000 } as const);
const NAMESPACE = "public/default";
const PATIENCE_MS = 30_000;

type At = Pick<Site, "host" | "port">;

function brokerOf({ broker }: Site): RunningBroker {
  if (broker === undefined) throw new Error("Pulsar's tests need a broker");
  return broker;
}

/** Speaks by the Java client that is in the broker: https://pulsar.apache.org/docs/4.0.x/client-libraries-websocket/ */
async function socketTo(
  site: Site,
  what: "producer" | "reader",
  topic: string,
  query: Readonly<Record<string, string>>,
): Promise<WebSocket> {
  const base = adminOf(brokerOf(site)).replace(/^http/, "ws");
  const path = `/ws/v2/${what}/persistent/${NAMESPACE}/${encodeURIComponent(topic)}`;
  const socket = new WebSocket(`${base}${path}?${new URLSearchParams(query)}`);
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener("open", () => resolve(), { once: true });
    socket.addEventListener("error", () => reject(new Error(`the plain ${what} of "${topic}" could not be opened`)), { once: true });
  });
  return socket;
}

const contentOf = (event: MessageEvent): Readonly<Record<string, unknown>> => JSON.parse(String(event.data)) as Record<string, unknown>;

async function publish(site: Site, topic: string, body: Uint8Array): Promise<void> {
  const socket = await socketTo(site, "producer", topic, {});
  try {
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener("message", (event) => {
        const { result, errorMsg } = contentOf(event);
        if (result === "ok") resolve();
        else reject(new Error(`the plain producer of "${topic}" was answered ${String(result)}: ${String(errorMsg)}`));
      });
      socket.addEventListener("close", () => reject(new Error(`the plain producer of "${topic}" was closed`)), { once: true });
      socket.send(JSON.stringify({ payload: Buffer.from(body).toString("base64") }));
    });
  } finally {
    socket.close();
  }
}

async function read(site: Site, topic: string): Promise<ForeignReader> {
  const records: ForeignRecord[] = [];
  const socket = await socketTo(site, "reader", topic, { messageId: "earliest" });
  socket.addEventListener("message", (event) => {
    const { messageId, payload, properties } = contentOf(event);
    records.push({ body: Buffer.from(String(payload), "base64"), headers: { ...(properties as Record<string, string>) } });
    // The next one is sent for it.
    socket.send(JSON.stringify({ messageId }));
  });
  return { records, close: async () => socket.close() };
}

/**
 * Retention takes whole ledgers. So what is to be left is read, the ledger that is written to is closed by unloading the topic, all closed ones
 * are removed, and what is to be left is stored again.
 */
async function expire(site: Site, topic: string, keep: number): Promise<void> {
  const broker = brokerOf(site);
  const name = `persistent://${NAMESPACE}/${topic}`;
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const rest = administrator({ ...broker, options: {} });
  const transport = protocolTransport({ serviceUrl: `pulsar://${broker.host}:${broker.port}` });
  try {
    await transport.connect(signal);
    const messages = await all(transport, name, signal);
    for (const part of await partsOf(rest, name, signal)) {
      await rest.unload(part, signal);
      await rest.truncate(part, signal);
    }
    const producer = await transport.producer({ topic: name }, signal);
    const again = messages.slice(Math.max(0, messages.length - keep));
    for (const result of await producer.send(again, signal)) if (!result.ok) throw result.error;
  } finally {
    await transport.close();
    rest.close();
  }
}

async function partsOf(rest: ReturnType<typeof administrator>, name: string, signal: AbortSignal): Promise<readonly string[]> {
  const partitions = await rest.partitions(name, signal);
  return partitions === 0 ? [name] : Array.from({ length: partitions }, (_, n) => `${name}-partition-${n}`);
}

/** What a topic holds, oldest first. */
async function all(
  transport: ReturnType<typeof protocolTransport>,
  topic: string,
  signal: AbortSignal,
): Promise<readonly IncomingMessage[]> {
  const consumer = await transport.consumer(
    {
      ...{ topic, subscription: "expire", type: "exclusive", durable: false, from: { kind: "earliest" }, credit: 1_000 },
      events: { closed: () => {} },
    },
    signal,
  );
  try {
    const left = new Map((await consumer.lastMessageIds(signal)).map((id) => [id.partition, id]));
    const messages: IncomingMessage[] = [];
    while (left.size > 0) {
      const some = await consumer.receive(1_000, 1_000, signal);
      signal.throwIfAborted();
      for (const { id } of some) {
        const last = left.get(id.partition);
        if (last !== undefined && id.ledger === last.ledger && id.entry === last.entry && id.batchIndex >= last.batchIndex)
          left.delete(id.partition);
      }
      messages.push(...some);
    }
    return messages.sort((a, b) => a.publishTime - b.publishTime);
  } finally {
    await consumer.close();
  }
}

const start = (options: BrokerOptions): Promise<RunningBroker> =>
  startBroker(recipe, { destructive: true, options: { webSocketServiceEnabled: "false", ...options } });

const [SECRET, READER] = ["right-51d7", "canary-reader-77ab"];

/** TLS with a certificate for 127.0.0.1; `folder` has its authority and another one. */
const secured = (days: "valid" | "expired", options: BrokerOptions) =>
  new Shared(async (site) => {
    const folder = await makeCertificates(site.folder, "127.0.0.1", days);
    return { broker: await start({ tls: folder, ...options }), folder };
  });
/** Tokens and passwords are asked for as well; one user may consume only. */
const valid = secured("valid", { secret: SECRET, users: `reader:${READER}` });
const expired = secured("expired", {});

function dialled({ host, port }: At, adminUrl: string, options: PulsarOptions): Adapter {
  return pulsar({ servers: `${host}:${port}`, adminUrl, ...USUAL, ...options });
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
      const adapter = dialled({ host, port: broker.port }, adminOf(broker).replace("127.0.0.1", host), { tls: { ca } });
      return { adapter, url: undefined, secrets: [], cleanUp: () => server.release() };
    },
  };
}

/** Topics are made by somebody who may, and who lets a user consume them. */
function withTopicsOf(adapter: Adapter, owner: Adapter, permit: (topic: string) => Promise<void>): Adapter {
  return {
    ...adapter,
    open(context) {
      const driver = adapter.open(context);
      driver.admin.createTopic = async (spec, signal) => {
        const other = owner.open(context);
        try {
          await other.connect(signal);
          const made = await other.admin.createTopic(spec, signal);
          await permit(spec.name);
          return made;
        } finally {
          await other.close();
        }
      };
      return driver;
    },
  };
}

const provocations: readonly Provocation[] = [
  {
    id: "wrong-password",
    code: "UNAUTHENTICATED",
    at: "connect",
    retryable: false,
    async setUp(site): Promise<Provoked> {
      const { broker, folder } = await valid.take(site);
      const [password, authority] = ["canary-wrong-91d0", join(folder, "ca.pem")];
      const query = `adminUrl=${encodeURIComponent(adminOf(broker))}&ca=${encodeURIComponent(authority)}`;
      return {
        adapter: dialled(broker, adminOf(broker), { username: "reader", password, tls: { ca: await readFile(authority) } }),
        url: `pulsar+ssl://reader:${password}@${broker.host}:${broker.port}/${NAMESPACE}?${query}`,
        secrets: [SECRET, READER, password],
        cleanUp: () => valid.release(),
      };
    },
  },
  {
    id: "forbidden",
    code: "FORBIDDEN",
    at: "publish",
    retryable: false,
    async setUp(site): Promise<Provoked> {
      const { broker, folder } = await valid.take(site);
      const token = tokenFor(SECRET, "admin");
      const tls = { ca: await readFile(join(folder, "ca.pem")) };
      const as = (who: PulsarOptions): Adapter => dialled(broker, adminOf(broker), { ...who, tls });
      const permit = async (topic: string): Promise<void> => {
        const rest = administrator({ ...broker, options: { secret: SECRET, tls: folder } });
        try {
          await rest.permit(`persistent://${NAMESPACE}/${topic}`, "reader", ["consume"], AbortSignal.timeout(PATIENCE_MS));
        } finally {
          rest.close();
        }
      };
      return {
        adapter: withTopicsOf(as({ username: "reader", password: READER }), as({ token }), permit),
        url: undefined,
        secrets: [SECRET, READER, token],
        cleanUp: () => valid.release(),
      };
    },
  },
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
      const adapter = dialled(broker, adminOf(broker).replace("https:", "http:"), { connectTimeoutMs: 2_000 });
      return { adapter, url: undefined, secrets: [], cleanUp: () => valid.release() };
    },
  },
];

/** Written by hand, against what the backend can do under one node and the options of the recipe; never taken from the adapter. */
const expected: Capabilities = {
  delivery: { group: "at-least-once", broadcast: "at-least-once", groups: Number.POSITIVE_INFINITY },
  durable: true,
  durabilityOnAck: "fsync",
  publish: { maxRecords: 5_000, maxBytes: 8_388_608, inFlight: 4, order: "call" },
  settle: { unit: "message", ack: "confirmed" },
  receive: { maxRecords: 5_000, concurrency: 1, maxWaitMs: 30_000 },
  redelivery: { native: false, maxDelayMs: 0, counted: "none" },
  lease: { ms: 0, extend: false },
  // maxUnackedMessagesPerConsumer is 50,000 unless it is set; some of it is for what waits to be received.
  hold: { maxMs: Number.POSITIVE_INFINITY, maxUnacked: 40_000, scope: "subscription" },
  keyOrder: "members",
  coordination: false,
  from: {
    group: ["latest", "earliest", "time", "position"],
    broadcast: ["latest", "earliest", "time", "position"],
    replay: ["earliest", "time", "position"],
  },
  seek: "live",
  cursorEnd: true,
  delay: { maxMs: 31_536_000_000 },
  ttl: { maxMs: 0 },
  priority: { levels: 0 },
  dedupe: { windowMs: 0 },
  groupInbox: "stream",
  lag: { count: "estimate", unit: "message", inFlight: true, oldest: true },
  places: { perDelivery: true, dense: false },
  topics: { explicit: true, partitions: 10_000, describe: true },
  retention: { ms: true, bytes: true, compact: false },
  // maxMessageSize is 5,242,880 unless it is set; 4,096 are kept for what a message has besides.
  message: { maxBytes: 5_238_784, maxHeaders: Number.POSITIVE_INFINITY, key: true, headers: true, tombstone: true },
};

/** A site without a broker is asked for the form of its URL only. */
const adminFor = ({ broker, host }: Site): string => adminOf(broker ?? { url: "", host });

const adapter: AdapterHarness = {
  name: "pulsar",
  url: (site) => {
    const query = { adminUrl: adminFor(site), ...USUAL };
    const pairs = Object.entries(query).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
    return `pulsar://${site.host}:${site.port}/${NAMESPACE}?${pairs.join("&")}`;
  },
  adapter: (site) => dialled(site, adminFor(site), {}),
  expected,
  versions: async ({ broker }) => ({ client: "its own", server: broker?.version ?? "unknown" }),
  foreign: { publish, read },
  provoke: {
    errors: provocations,
    expire,
    unreadStays: "retention takes nothing that a group has not acknowledged, and what an operator truncates is acknowledged for all groups",
    slowRetention: "it is counted in minutes",
  },
};

export const harness: Harness = defineHarness({ name: "pulsar", broker: recipe, adapters: [adapter] });
