import { readFile } from "node:fs/promises";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
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
import { createClient, RESP_TYPES } from "@redis/client";
import type { Adapter, Capabilities } from "brokerkit/driver";
import { type RedisConnectionOptions, redis, redisPubSub } from "./src/index.ts";

/** Asks one thing over a bare socket and resolves to the first answer. */
function ask({ host, port, options }: Pick<Endpoint, "host" | "port" | "options">, command: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = options["tls"] === undefined ? connectTcp({ host, port }) : connectTls({ host, port, rejectUnauthorized: false });
    const give = (act: () => void): void => {
      signal.removeEventListener("abort", abort);
      socket.destroy();
      act();
    };
    const abort = (): void => give(() => reject(signal.reason));
    signal.addEventListener("abort", abort, { once: true });
    let text = "";
    const password = options["password"];
    socket.on("error", (error) => give(() => reject(error)));
    socket.on("close", () => give(() => reject(new Error("the server closed the connection"))));
    socket.on("data", (data) => {
      text += data.toString("latin1");
      const answer = password === undefined ? text : text.slice(text.indexOf("\r\n") + 2);
      if (answer.includes("\r\n")) give(() => resolve(answer));
    });
    socket.write(`${password === undefined ? "" : `AUTH ${password}\r\n`}${command}\r\n`);
  });
}

/** Settings of redis.conf by option, beside `tls` (a folder with ca.pem, server.pem and server.key). */
const SETTINGS: Readonly<Record<string, string>> = {
  password: "requirepass",
  maxmemory: "maxmemory",
  user: "user",
  save: "save",
  appendonly: "appendonly",
  appendfsync: "appendfsync",
};

function settings(options: BrokerOptions): readonly string[] {
  const given: Record<string, string> = { appendonly: "yes", appendfsync: "always", save: "", ...options };
  return Object.entries(given).flatMap(([name, value]) => {
    if (name === "tls") return [];
    const setting = SETTINGS[name];
    if (setting === undefined)
      throw new Error(`Redis: there is no option "${name}" for tests; known: ${Object.keys(SETTINGS).join(", ")}, tls`);
    return [`--${setting}`, ...(name === "user" ? value.split(" ") : [value])];
  });
}

const COMMON: readonly string[] = ["--maxmemory-policy", "noeviction", "--daemonize", "no", "--protected-mode", "no"];

/** A Redis of our own: everything on disk before it is confirmed, nothing evicted. */
const recipe: BrokerRecipe = {
  name: "redis",
  variable: "REDIS_URL",
  port: 6379,
  url: ({ host, port, options }) => {
    const user = options["password"] === undefined ? "" : `:${encodeURIComponent(options["password"])}@`;
    return `${options["tls"] === undefined ? "redis" : "rediss"}://${user}${host}:${port}`;
  },
  ready: async (at, signal) => {
    const answer = await ask(at, "PING", signal);
    if (!/^(\+PONG|-NOAUTH|-NOPERM)/.test(answer)) throw new Error(answer);
  },
  version: async (at, signal) => /redis_version:(\S+)/.exec(await ask(at, "INFO server", signal))?.[1] ?? "unknown",
  readyMs: 15_000,
  container: { image: "redis:7", port: 6379, command: ({ options }) => [...settings(options), ...COMMON] },
  process: {
    binaries: ["redis-server"],
    debian: "redis-server",
    args: ({ host, port, data, options }) => {
      const folder = options["tls"];
      const listen =
        folder === undefined
          ? ["--port", String(port)]
          : [
              "--port",
              "0",
              "--tls-port",
              String(port),
              "--tls-cert-file",
              join(folder, "server.pem"),
              "--tls-key-file",
              join(folder, "server.key"),
              "--tls-ca-cert-file",
              join(folder, "ca.pem"),
              "--tls-auth-clients",
              "no",
            ];
      return [...listen, "--bind", host, "--dir", data, ...settings(options), ...COMMON];
    },
  },
};

type Plain = Awaited<ReturnType<typeof openPlain>>;

async function openPlain({ host, port }: Pick<Site, "host" | "port">) {
  const client = createClient({ socket: { host, port, reconnectStrategy: false }, RESP: 2, commandOptions: { timeout: 0 } });
  client.on("error", () => {});
  await client.connect();
  return client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
}

/** Does one thing with a plain client. */
async function plainly<T>(site: Pick<Site, "host" | "port">, act: (client: Plain) => Promise<T>): Promise<T> {
  const client = await openPlain(site);
  try {
    return await act(client);
  } finally {
    client.destroy();
  }
}

function recordOf(fields: readonly Buffer[]): ForeignRecord {
  const headers: Record<string, string> = {};
  let body: Uint8Array = Buffer.alloc(0);
  for (let n = 0; n + 1 < fields.length; n += 2) {
    const [name, value] = [String(fields[n]), fields[n + 1] as Buffer];
    if (name === "body") body = value;
    else headers[name] = value.toString("latin1");
  }
  return { body, headers };
}

async function readStream(site: Site, topic: string): Promise<ForeignReader> {
  const client = await openPlain(site);
  const records: ForeignRecord[] = [];
  let open = true;
  const reading = (async () => {
    for (let last = "0-0"; open; ) {
      const reply = (await client.sendCommand(["XREAD", "BLOCK", "200", "STREAMS", topic, last])) as unknown as
        | [Buffer, [Buffer, Buffer[]][]][]
        | null;
      for (const [id, fields] of reply?.[0]?.[1] ?? []) {
        last = id.toString();
        records.push(recordOf(fields));
      }
    }
  })().catch(() => {});
  return {
    records,
    close: async () => {
      open = false;
      client.destroy();
      await reading;
    },
  };
}

async function readChannel(site: Site, topic: string): Promise<ForeignReader> {
  const client = await openPlain(site);
  const records: ForeignRecord[] = [];
  await client.subscribe(topic, (body: Buffer) => void records.push({ body, headers: {} }), true);
  return { records, close: async () => client.destroy() };
}

type Make = (options: RedisConnectionOptions) => Adapter;

function provocations(make: Make, scheme: string, full: boolean): readonly Provocation[] {
  const url = (broker: RunningBroker, user = ""): string => `${scheme}://${user}${broker.host}:${broker.port}`;
  const own = (options: BrokerOptions): Promise<RunningBroker> => startBroker(recipe, { destructive: true, options });
  const provoked = (
    broker: RunningBroker,
    options: RedisConnectionOptions,
    secrets: readonly string[],
    more: Partial<Provoked> = {},
  ): Provoked => ({
    url: undefined,
    adapter: make({ host: broker.host, port: broker.port, ...options }),
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
        const broker = await own({ password: "right-2f6c" });
        const secret = "canary-wrong-91d0";
        return provoked(broker, { password: secret }, [secret, "right-2f6c"], { url: url(broker, `:${secret}@`) });
      },
    },
    {
      id: "forbidden",
      code: "FORBIDDEN",
      at: "publish",
      retryable: false,
      async setUp() {
        const secret = "canary-reader-77ab";
        const broker = await own({ user: `reader on >${secret} ~* &* +@all -evalsha -eval` });
        const more = { url: url(broker, `reader:${secret}@`) };
        return provoked(broker, { username: "reader", password: secret }, [secret], more);
      },
    },
    tls("tls-bad-ca", "127.0.0.1", "valid", "other.pem"),
    tls("tls-wrong-host", "elsewhere.test", "valid", "ca.pem"),
    tls("tls-expired", "127.0.0.1", "expired", "ca.pem"),
    {
      id: "plain-to-tls-port",
      code: "UNAVAILABLE",
      at: "connect",
      retryable: true,
      async setUp(site) {
        return provoked(await own({ tls: await makeCertificates(site.folder, "127.0.0.1") }), { connectTimeoutMs: 2_000 }, []);
      },
    },
  ];
  if (!full) return found;
  const grow = (site: Pick<Site, "host" | "port">, maxmemory: string): Promise<unknown> =>
    plainly(site, (client) => client.sendCommand(["CONFIG", "SET", "maxmemory", maxmemory]));
  return [
    ...found,
    {
      id: "full",
      code: "QUOTA_EXCEEDED",
      at: "publish",
      retryable: true,
      async setUp() {
        const broker = await own({ maxmemory: "0" });
        // Full as of the first publish: a topic is created before, and creating it needs room too.
        const adapter = make({ host: broker.host, port: broker.port });
        const filled: Adapter = {
          ...adapter,
          open(context) {
            const driver = adapter.open(context);
            const create = driver.admin.createTopic.bind(driver.admin);
            driver.admin.createTopic = async (spec, signal) => {
              const created = await create(spec, signal);
              if (!opened) await grow(broker, "1");
              return created;
            };
            return driver;
          },
        };
        let opened = false;
        const undo = async (): Promise<void> => {
          opened = true;
          await grow(broker, "0");
        };
        return { url: undefined, adapter: filled, secrets: [], undo, cleanUp: () => broker.close() };
      },
    },
  ];
}

/** Written by hand, against what the backend can do; never taken from the adapter. */
const expectedStreams: Capabilities = {
  delivery: { group: "at-least-once", broadcast: "at-least-once", groups: Number.POSITIVE_INFINITY },
  durable: true,
  durabilityOnAck: "fsync",
  publish: { maxRecords: 500, maxBytes: 33_554_432, inFlight: 4, order: "call" },
  settle: { unit: "message", ack: "confirmed" },
  receive: { maxRecords: 1_000, concurrency: 1, maxWaitMs: 30_000 },
  redelivery: { native: true, maxDelayMs: 31_536_000_000, counted: "failures" },
  lease: { ms: 4_000, extend: true },
  hold: { maxMs: Number.POSITIVE_INFINITY, maxUnacked: 10_000, scope: "subscription" },
  keyOrder: "process",
  coordination: true,
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
  lag: { count: "exact", unit: "message", inFlight: true, oldest: true },
  places: { perDelivery: true, dense: false },
  topics: { explicit: true, partitions: 1, describe: true },
  retention: { ms: true, bytes: false, compact: false },
  message: { maxBytes: 33_554_432, maxHeaders: 1_000, key: true, headers: true, tombstone: true },
};

const expectedPubSub: Capabilities = {
  delivery: { group: "none", broadcast: "at-most-once", groups: 0 },
  durable: false,
  durabilityOnAck: "none",
  publish: { maxRecords: 1_000, maxBytes: 16_777_216, inFlight: 4, order: "call" },
  settle: { unit: "message", ack: "recorded" },
  receive: { maxRecords: 1_000, concurrency: 1, maxWaitMs: 30_000 },
  redelivery: { native: false, maxDelayMs: 0, counted: "none" },
  lease: { ms: 0, extend: false },
  hold: { maxMs: Number.POSITIVE_INFINITY, maxUnacked: 10_000, scope: "subscription" },
  keyOrder: "process",
  coordination: false,
  from: { group: [], broadcast: ["latest"], replay: [] },
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
  message: { maxBytes: 16_777_216, maxHeaders: Number.POSITIVE_INFINITY, key: true, headers: true, tombstone: true },
};

const LEASE_MS = 4_000;

async function versions({ broker }: Site): Promise<Readonly<Record<string, string>>> {
  return { client: "@redis/client 6.3.1", server: broker?.version ?? "unknown" };
}

const streams: AdapterHarness = {
  name: "redis",
  url: ({ host, port }) => `redis://${host}:${port}?leaseMs=${LEASE_MS}`,
  adapter: ({ host, port }) => redis({ host, port, leaseMs: LEASE_MS }),
  expected: expectedStreams,
  kills: 5,
  versions,
  foreign: {
    publish: (site, topic, body) =>
      plainly(site, async (client) => void (await client.sendCommand(["XADD", topic, "*", "body", Buffer.from(body)]))),
    read: readStream,
  },
  provoke: {
    errors: provocations((options) => redis({ ...options, leaseMs: LEASE_MS }), "redis", true),
    expire: (site, topic, keep) =>
      plainly(site, async (client) => void (await client.sendCommand(["XTRIM", topic, "MAXLEN", String(keep)]))),
  },
};

const channels: AdapterHarness = {
  name: "redis+pubsub",
  url: ({ host, port }) => `redis+pubsub://${host}:${port}`,
  adapter: ({ host, port }) => redisPubSub({ host, port }),
  expected: expectedPubSub,
  versions,
  foreign: {
    adapter: ({ host, port }) => redisPubSub({ host, port, plain: true }),
    publish: (site, topic, body) => plainly(site, async (client) => void (await client.sendCommand(["PUBLISH", topic, Buffer.from(body)]))),
    read: readChannel,
  },
  provoke: { errors: provocations(redisPubSub, "redis+pubsub", false) },
};

export const harness: Harness = defineHarness({ name: "redis", broker: recipe, adapters: [streams, channels] });
