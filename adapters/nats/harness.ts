import { readFile } from "node:fs/promises";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import {
  type AdapterHarness,
  defineHarness,
  type ForeignReader,
  type ForeignRecord,
  type Harness,
  type Provocation,
  type Provoked,
  type Site,
} from "@brokerkit/conformance";
import {
  type BrokerOptions,
  type BrokerRecipe,
  type Endpoint,
  makeCertificates,
  type RunningBroker,
  startBroker,
} from "@brokerkit/conformance/brokers";
import type { Adapter, Capabilities } from "brokerkit/driver";
import { connect as connectPlain, type MsgHdrs, type NatsConnection } from "nats";
import { type NatsConnectionOptions, nats, natsCore } from "./src/index.ts";

/** What the server says to everybody who connects. */
function greeting({ host, port }: Pick<Endpoint, "host" | "port">, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connectTcp({ host, port });
    const give = (act: () => void): void => {
      signal.removeEventListener("abort", abort);
      socket.destroy();
      act();
    };
    const abort = (): void => give(() => reject(signal.reason));
    signal.addEventListener("abort", abort, { once: true });
    let text = "";
    socket.on("error", (error) => give(() => reject(error)));
    socket.on("close", () => give(() => reject(new Error("the server closed the connection"))));
    socket.on("data", (data) => {
      text += data.toString();
      if (text.includes("\r\n")) give(() => (text.startsWith("INFO ") ? resolve(text) : reject(new Error(text))));
    });
  });
}

/**
 * `user` and `password` let in, or `token`, or the public key `nkey`; `publish` and `subscribe` are what that user may do; `tls` is a folder
 * with certificates, with `verify` the client needs one too; `jetstream: "off"` is without; `lines` are added as they are.
 */
const OPTIONS = ["user", "password", "token", "nkey", "publish", "subscribe", "tls", "verify", "maxPayload", "jetstream", "lines"];

/** A configuration file: https://docs.nats.io/running-a-nats-service/configuration */
function configuration(data: string, options: BrokerOptions): string {
  for (const name of Object.keys(options))
    if (!OPTIONS.includes(name)) throw new Error(`NATS: there is no option "${name}" for tests; known: ${OPTIONS.join(", ")}`);
  const { user, password, token, nkey, publish, subscribe, tls, verify = "false", maxPayload, jetstream, lines: more } = options;
  const lines =
    jetstream === "off" ? [] : [`jetstream { store_dir: ${JSON.stringify(data)}, max_file_store: 8GB, max_memory_store: 256MB }`];
  if (maxPayload !== undefined) lines.push(`max_payload: ${maxPayload}`);
  if (token !== undefined) lines.push(`authorization { token: ${JSON.stringify(token)} }`);
  if (nkey !== undefined) lines.push(`authorization { users: [ { nkey: ${nkey} } ] }`);
  if (user !== undefined) {
    const rights = Object.entries({ publish, subscribe }).filter(([, subjects]) => subjects !== undefined);
    const permissions = rights.map(([verb, subjects]) => `${verb}: { allow: [${subjects}] }`).join(", ");
    lines.push(`authorization { users: [ { user: ${user}, password: ${JSON.stringify(password)}, permissions: { ${permissions} } } ] }`);
  }
  if (tls !== undefined) {
    const file = (name: string): string => JSON.stringify(join(tls, name));
    const files = `cert_file: ${file("server.pem")}, key_file: ${file("server.key")}, ca_file: ${file("ca.pem")}`;
    lines.push(`tls { ${files}, verify: ${verify}, timeout: 5 }`);
  }
  if (more !== undefined) lines.push(more);
  return `${lines.join("\n")}\n`;
}

/** A server of our own with JetStream in its own folder. */
const recipe: BrokerRecipe = {
  name: "nats",
  variable: "NATS_URL",
  port: 4222,
  url: ({ host, port, options: { user, password, token, tls } }) => {
    const who = user === undefined ? token : `${user}:${encodeURIComponent(password ?? "")}`;
    return `${tls === undefined ? "nats" : "nats+tls"}://${who === undefined ? "" : `${who}@`}${host}:${port}`;
  },
  ready: async (at, signal) => void (await greeting(at, signal)),
  version: async (at, signal) => /"version":"([^"]+)"/.exec(await greeting(at, signal))?.[1] ?? "unknown",
  readyMs: 15_000,
  container: {
    image: "nats:2.12",
    port: 4222,
    command: ({ options: { user, password, token } }) => [
      "-js",
      ...(user === undefined ? [] : ["--user", user, "--pass", password ?? ""]),
      ...(token === undefined ? [] : ["--auth", token]),
    ],
  },
  process: {
    binaries: ["nats-server"],
    debian: "nats-server",
    files: ({ data, options }) => ({ "nats.conf": configuration(data, options) }),
    args: ({ host, port, conf }) => ["-a", host, "-p", String(port), "-c", join(conf, "nats.conf")],
  },
};

const streamOf = (topic: string): string => topic.replaceAll(".", "~");

/** Does one thing with a plain client. */
async function plainly<T>({ host, port }: Pick<Site, "host" | "port">, act: (client: NatsConnection) => Promise<T>): Promise<T> {
  const client = await connectPlain({ servers: `${host}:${port}`, reconnect: false });
  try {
    return await act(client);
  } finally {
    await client.close();
  }
}

/** One call of JetStream's API, by hand. */
async function api(client: NatsConnection, call: string, body: object = {}): Promise<Record<string, unknown>> {
  const answer = (await client.request(`$JS.API.${call}`, JSON.stringify(body))).json<Record<string, unknown>>();
  if (answer["error"] !== undefined) throw new Error(`${call}: ${JSON.stringify(answer["error"])}`);
  return answer;
}

function recordOf(data: Uint8Array, headers: MsgHdrs | undefined): ForeignRecord {
  const found: Record<string, string> = {};
  for (const [name, values] of headers ?? []) found[name] = values[0] ?? "";
  return { body: Buffer.from(data), headers: found };
}

async function readStream({ host, port }: Site, topic: string): Promise<ForeignReader> {
  const client = await connectPlain({ servers: `${host}:${port}`, reconnect: false });
  const records: ForeignRecord[] = [];
  const consumer = await client.jetstream().consumers.get(streamOf(topic));
  const messages = await consumer.consume({ callback: (message) => void records.push(recordOf(message.data, message.headers)) });
  return {
    records,
    close: async () => {
      messages.stop();
      await client.close();
    },
  };
}

async function readSubject({ host, port }: Site, topic: string): Promise<ForeignReader> {
  const client = await connectPlain({ servers: `${host}:${port}`, reconnect: false });
  const records: ForeignRecord[] = [];
  client.subscribe(topic, { callback: (_, message) => void records.push(recordOf(message.data, message.headers)) });
  await client.flush();
  return { records, close: () => client.close() };
}

type Make = (options: NatsConnectionOptions) => Adapter;

function provocations(make: Make, scheme: string, full: boolean): readonly Provocation[] {
  const url = (broker: RunningBroker, user = ""): string => `${scheme}://${user}${broker.host}:${broker.port}`;
  const own = (options: BrokerOptions): Promise<RunningBroker> => startBroker(recipe, { destructive: true, options });
  const provoked = (
    broker: RunningBroker,
    options: NatsConnectionOptions,
    secrets: readonly string[],
    more: Partial<Provoked> = {},
  ): Provoked => ({
    url: undefined,
    adapter: make({ servers: `${broker.host}:${broker.port}`, ...options }),
    secrets,
    cleanUp: () => broker.close(),
    ...more,
  });
  const tls = (id: Provocation["id"], name: string, days: "valid" | "expired", authority: string): Provocation => ({
    id,
    code: "UNAUTHENTICATED",
    at: "connect",
    retryable: false,
    async setUp(site) {
      const folder = await makeCertificates(site.folder, name, days);
      return provoked(await own({ tls: folder }), { tls: { ca: await readFile(join(folder, authority)) } }, []);
    },
  });
  const found: Provocation[] = [
    {
      id: "wrong-password",
      code: "UNAUTHENTICATED",
      at: "connect",
      retryable: false,
      async setUp() {
        const broker = await own({ user: "app", password: "right-2f6c" });
        const secret = "canary-wrong-91d0";
        return provoked(broker, { username: "app", password: secret }, [secret, "right-2f6c"], { url: url(broker, `app:${secret}@`) });
      },
    },
    {
      id: "forbidden",
      code: "FORBIDDEN",
      at: "publish",
      retryable: false,
      async setUp() {
        const secret = "canary-reader-77ab";
        const broker = await own({ user: "reader", password: secret, publish: '"$JS.>", "_INBOX.>"' });
        return provoked(broker, { username: "reader", password: secret }, [secret], { url: url(broker, `reader:${secret}@`) });
      },
    },
    tls("tls-bad-ca", "127.0.0.1", "valid", "other.pem"),
    tls("tls-wrong-host", "elsewhere.test", "valid", "ca.pem"),
    tls("tls-expired", "127.0.0.1", "expired", "ca.pem"),
    {
      // The server asks for TLS in its greeting and gets it, so what is missing is the authority.
      id: "plain-to-tls-port",
      code: "UNAUTHENTICATED",
      at: "connect",
      retryable: false,
      async setUp(site) {
        return provoked(await own({ tls: await makeCertificates(site.folder, "127.0.0.1") }), {}, []);
      },
    },
  ];
  if (!full) return found;
  return [
    ...found,
    {
      id: "full",
      code: "QUOTA_EXCEEDED",
      at: "publish",
      retryable: true,
      async setUp() {
        const broker = await own({});
        const topics = new Set<string>();
        let full = true;
        const limit = (topic: string, max_bytes: number): Promise<unknown> =>
          plainly(broker, async (client) => {
            const { config } = await api(client, `STREAM.INFO.${streamOf(topic)}`);
            await api(client, `STREAM.UPDATE.${streamOf(topic)}`, { ...(config as object), max_bytes, discard: "new" });
          });
        // Full as of the first publish: the stream takes not even one message.
        const adapter = make({ servers: `${broker.host}:${broker.port}` });
        const filled: Adapter = {
          ...adapter,
          open(context) {
            const driver = adapter.open(context);
            const create = driver.admin.createTopic.bind(driver.admin);
            driver.admin.createTopic = async (spec, signal) => {
              const created = await create(spec, signal);
              if (full) await limit(spec.name, 1);
              if (full) topics.add(spec.name);
              return created;
            };
            return driver;
          },
        };
        const undo = async (): Promise<void> => {
          full = false;
          for (const topic of topics) await limit(topic, -1);
        };
        return { url: undefined, adapter: filled, secrets: [], undo, cleanUp: () => broker.close() };
      },
    },
  ];
}

/** Written by hand, against what the backend can do; never taken from the adapter. */
const expectedJetStream: Capabilities = {
  delivery: { group: "at-least-once", broadcast: "at-least-once", groups: Number.POSITIVE_INFINITY },
  durable: true,
  durabilityOnAck: "page-cache",
  publish: { maxRecords: 1_000, maxBytes: 8_388_608, inFlight: 4, order: "record" },
  settle: { unit: "message", ack: "confirmed" },
  receive: { maxRecords: 1_000, concurrency: 1, maxWaitMs: 30_000 },
  redelivery: { native: true, maxDelayMs: 31_536_000_000, counted: "deliveries" },
  lease: { ms: 2_500, extend: true },
  hold: { maxMs: Number.POSITIVE_INFINITY, maxUnacked: 10_000, scope: "group" },
  keyOrder: "none",
  coordination: true,
  from: {
    group: ["latest", "earliest", "time", "position"],
    broadcast: ["latest", "earliest", "time", "position"],
    replay: ["earliest", "time", "position"],
  },
  seek: "live",
  cursorEnd: true,
  delay: { maxMs: 0 },
  ttl: { maxMs: 0 },
  priority: { levels: 0 },
  dedupe: { windowMs: 120_000 },
  groupInbox: "stream",
  lag: { count: "exact", unit: "message", inFlight: true, oldest: true },
  places: { perDelivery: true, dense: true },
  topics: { explicit: true, partitions: 1, describe: true },
  retention: { ms: true, bytes: true, compact: false },
  message: { maxBytes: 1_044_480, maxHeaders: Number.POSITIVE_INFINITY, key: true, headers: true, tombstone: true },
};

const expectedCore: Capabilities = {
  delivery: { group: "at-most-once", broadcast: "at-most-once", groups: Number.POSITIVE_INFINITY },
  durable: false,
  durabilityOnAck: "none",
  publish: { maxRecords: 1_000, maxBytes: 8_388_608, inFlight: 4, order: "call" },
  settle: { unit: "message", ack: "recorded" },
  receive: { maxRecords: 1_000, concurrency: 1, maxWaitMs: 30_000 },
  redelivery: { native: false, maxDelayMs: 0, counted: "none" },
  lease: { ms: 0, extend: false },
  hold: { maxMs: Number.POSITIVE_INFINITY, maxUnacked: 10_000, scope: "subscription" },
  keyOrder: "process",
  coordination: false,
  from: { group: ["latest"], broadcast: ["latest"], replay: [] },
  seek: "none",
  cursorEnd: false,
  delay: { maxMs: 0 },
  ttl: { maxMs: 0 },
  priority: { levels: 0 },
  dedupe: { windowMs: 0 },
  groupInbox: "none",
  lag: { count: "none", unit: "message", inFlight: false, oldest: false },
  places: { perDelivery: false, dense: false },
  topics: { explicit: false, partitions: 1, describe: false },
  retention: { ms: false, bytes: false, compact: false },
  message: { maxBytes: 1_044_480, maxHeaders: Number.POSITIVE_INFINITY, key: true, headers: true, tombstone: true },
};

/** Shorter than that of others: its cases run one at a time. */
const LEASE_MS = 2_500;

async function versions({ broker }: Site): Promise<Readonly<Record<string, string>>> {
  return { client: "brokerkit's own", server: broker?.version ?? "unknown" };
}

const jetstream: AdapterHarness = {
  name: "nats",
  url: ({ host, port }) => `nats://${host}:${port}?leaseMs=${LEASE_MS}`,
  adapter: ({ host, port }) => nats({ servers: `${host}:${port}`, leaseMs: LEASE_MS }),
  expected: expectedJetStream,
  // nats-server 2.9.10 can panic in its JetStream API (processServiceImport) when many connections call it at once on a busy machine.
  beside: 1,
  kills: 5,
  versions,
  foreign: {
    publish: (site, topic, body) => plainly(site, async (client) => void (await client.jetstream().publish(topic, body))),
    read: readStream,
  },
  provoke: {
    errors: provocations((options) => nats({ ...options, leaseMs: LEASE_MS }), "nats", true),
    // As retention does it: a purge would move the groups along. A limit of none is no limit, so only then it is one.
    expire: (site, topic, keep) =>
      plainly(site, async (client) => {
        if (keep === 0) return void (await api(client, `STREAM.PURGE.${streamOf(topic)}`));
        const { config } = await api(client, `STREAM.INFO.${streamOf(topic)}`);
        await api(client, `STREAM.UPDATE.${streamOf(topic)}`, { ...(config as object), max_msgs: keep });
        await api(client, `STREAM.UPDATE.${streamOf(topic)}`, config as object);
      }),
  },
};

const core: AdapterHarness = {
  name: "nats+core",
  url: ({ host, port }) => `nats+core://${host}:${port}`,
  adapter: ({ host, port }) => natsCore({ servers: `${host}:${port}` }),
  expected: expectedCore,
  versions,
  foreign: {
    publish: (site, topic, body) =>
      plainly(site, async (client) => {
        client.publish(topic, body);
        await client.flush();
      }),
    read: readSubject,
  },
  provoke: { errors: provocations(natsCore, "nats+core", false) },
};

export const harness: Harness = defineHarness({ name: "nats", broker: recipe, adapters: [jetstream, core] });
