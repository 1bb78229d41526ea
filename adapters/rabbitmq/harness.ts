import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import {
  type AdapterHarness,
  defineHarness,
  type ForeignReader,
  type ForeignRecord,
  type Harness,
  type Provocation,
  type Site,
} from "@brokerkit/conformance";
import { makeCertificates, type RunningBroker, startBroker } from "@brokerkit/conformance/brokers";
import { type ChannelModel, type ConfirmChannel, type ConsumeMessage, connect } from "amqplib";
import type { Adapter, Capabilities } from "brokerkit/driver";
import { recipe } from "./recipe.ts";
import { type RabbitMqOptions, rabbitmq } from "./src/index.ts";

const MIB = 1_048_576;
/** Silent links are given up soon, and a log is small enough to be filled. */
const USUAL = { heartbeatMs: 2_000, logMaxBytes: 20 * MIB } as const;

type At = Pick<Site, "host" | "port">;

/** Does one thing with a plain client. */
async function plainly<T>({ host, port }: At, act: (channel: ConfirmChannel, client: ChannelModel) => Promise<T>): Promise<T> {
  const client = await connect(`amqp://${host}:${port}`);
  // What a call rejects with says it already.
  client.on("error", () => {});
  try {
    const channel = await client.createConfirmChannel();
    channel.on("error", () => {});
    return await act(channel, client);
  } finally {
    await client.close().catch(() => {});
  }
}

function recordOf({ content, properties }: ConsumeMessage): ForeignRecord {
  const headers = Object.entries((properties.headers ?? {}) as Readonly<Record<string, unknown>>);
  return { body: content, headers: Object.fromEntries(headers.map(([name, value]) => [name, String(value)])) };
}

const logOf = (topic: string): string => `${topic}~log`;
/** What the adapter leaves in a log to find its end by; README.md says so to foreign readers. */
const MARK = "brokerkit-mark";
const isMark = ({ properties }: ConsumeMessage): boolean => properties.headers?.[MARK] !== undefined;

/** What a plain client reads: the log from its beginning, or a queue of its own from now on. */
function reads(log: boolean): (site: Site, topic: string) => Promise<ForeignReader> {
  return async ({ host, port }, topic) => {
    const client = await connect(`amqp://${host}:${port}`);
    client.on("error", () => {});
    const channel = await client.createChannel();
    const records: ForeignRecord[] = [];
    const take = (message: ConsumeMessage | null): void => {
      if (message === null) return;
      channel.ack(message);
      if (!isMark(message)) records.push(recordOf(message));
    };
    await channel.prefetch(100);
    if (log) await channel.consume(logOf(topic), take, { arguments: { "x-stream-offset": "first" } });
    else {
      const { queue } = await channel.assertQueue("", { exclusive: true });
      await channel.bindQueue(queue, topic, "#");
      await channel.consume(queue, take);
    }
    return { records, close: () => client.close() };
  };
}

async function publishPlainly(site: Site, topic: string, body: Uint8Array): Promise<void> {
  await plainly(site, async (channel) => {
    channel.publish(topic, "", Buffer.from(body), { persistent: true });
    await channel.waitForConfirms();
  });
}

/** Reads a log from its beginning until `done`, which gets each message with its offset. */
async function readLog(client: ChannelModel, log: string, done: (message: ConsumeMessage, offset: number) => boolean): Promise<void> {
  const channel = await client.createChannel();
  await channel.prefetch(100);
  await new Promise<void>((resolve, reject) => {
    const take = (message: ConsumeMessage | null): void => {
      if (message === null) return reject(new Error(`the log "${log}" was deleted`));
      channel.ack(message);
      if (done(message, Number(message.properties.headers?.["x-stream-offset"]))) resolve();
    };
    channel.consume(log, take, { arguments: { "x-stream-offset": "first" } }).catch(reject);
  });
  await channel.close();
}

/**
 * Retention takes whole segments from the front of a log that has grown too large. So what is to be left is read, the log is filled with what
 * nobody sees until all of it is gone, and what is to be left is stored again.
 */
async function expire(site: Site, topic: string, keep: number): Promise<void> {
  const log = logOf(topic);
  const mark = { persistent: true, headers: { [MARK]: "" } };
  const messageId = `expire-${Math.random()}`;
  await plainly(site, async (channel, client) => {
    channel.sendToQueue(log, Buffer.alloc(0), { ...mark, messageId });
    await channel.waitForConfirms();
    const messages: ConsumeMessage[] = [];
    let end = 0;
    await readLog(client, log, (message, offset) => {
      if (!isMark(message)) messages.push(message);
      end = offset;
      return message.properties.messageId === messageId;
    });
    for (let filled = 0; filled <= USUAL.logMaxBytes * 1.5; filled += MIB) {
      channel.sendToQueue(log, Buffer.alloc(MIB), mark);
      await channel.waitForConfirms();
    }
    for (const { content, properties } of messages.slice(messages.length - keep)) channel.sendToQueue(log, content, properties);
    await channel.waitForConfirms();
    // Segments are removed beside the publishing.
    for (let first = 0; first <= end; )
      await readLog(client, log, (_, offset) => {
        first = offset;
        return true;
      });
  });
}

type Own = (options?: RabbitMqOptions) => Adapter;

interface Certified {
  readonly port: number;
  /** The folder of its certificates. */
  readonly folder: string;
  giveBack(): Promise<void>;
}

/** A server with TLS for those who need it at once, as starting takes longer than using it: the first one starts it, the last one ends it. */
function certified(days: "valid" | "expired"): (site: Site) => Promise<Certified> {
  let users = 0;
  let started: Promise<readonly [broker: RunningBroker, folder: string]> | undefined;
  const start = async (site: Site): Promise<readonly [RunningBroker, string]> => {
    const tls = await makeCertificates(site.folder, "127.0.0.1", days);
    return [await startBroker(recipe, { destructive: true, options: { tls } }), tls];
  };
  return async (site) => {
    users += 1;
    started ??= start(site);
    const [broker, folder] = await started;
    return {
      port: broker.port,
      folder,
      async giveBack() {
        users -= 1;
        if (users > 0) return;
        started = undefined;
        await broker.close();
      },
    };
  };
}

function provocations(make: Own): readonly Provocation[] {
  const [valid, expired] = [certified("valid"), certified("expired")];
  const tls = (id: Provocation["id"], lend: typeof valid, host: string, authority: string): Provocation => ({
    id,
    code: "UNAUTHENTICATED",
    at: "connect",
    retryable: false,
    async setUp(site) {
      const { port, folder, giveBack } = await lend(site);
      const ca = await readFile(`${folder}/${authority}`);
      return { url: undefined, adapter: make({ servers: `${host}:${port}`, tls: { ca } }), secrets: [], cleanUp: giveBack };
    },
  });
  return [
    {
      id: "wrong-password",
      code: "UNAUTHENTICATED",
      at: "connect",
      retryable: false,
      async setUp({ host, port }) {
        const password = "canary-wrong-91d0";
        const adapter = make({ servers: `${host}:${port}`, username: "guest", password });
        return { url: `amqp://guest:${password}@${host}:${port}`, adapter, secrets: [password], cleanUp: async () => {} };
      },
    },
    {
      // May make topics and their logs, and publish to none.
      id: "forbidden",
      code: "FORBIDDEN",
      at: "publish",
      retryable: false,
      async setUp() {
        const [username, password] = ["reader", "canary-reader-77ab"];
        const options = { user: username, password, write: "~|^amq[.]default$" };
        const broker = await startBroker(recipe, { destructive: true, options });
        const at = `${broker.host}:${broker.port}`;
        return {
          url: `amqp://${username}:${password}@${at}`,
          adapter: make({ servers: at, username, password }),
          secrets: [password],
          cleanUp: () => broker.close(),
        };
      },
    },
    tls("tls-bad-ca", valid, "127.0.0.1", "other.pem"),
    tls("tls-wrong-host", valid, "localhost", "ca.pem"),
    tls("tls-expired", expired, "127.0.0.1", "ca.pem"),
    {
      // The server ends what is no greeting of TLS, and so does one that is being stopped.
      id: "plain-to-tls-port",
      code: "UNAVAILABLE",
      at: "connect",
      retryable: true,
      async setUp(site) {
        const { port, giveBack } = await valid(site);
        return { url: undefined, adapter: make({ servers: `127.0.0.1:${port}` }), secrets: [], cleanUp: giveBack };
      },
    },
    {
      // A queue bound to the topic that takes nothing and says so.
      id: "full",
      code: "QUOTA_EXCEEDED",
      at: "publish",
      retryable: true,
      async setUp(site) {
        const adapter = make({ servers: `${site.host}:${site.port}` });
        const queues: string[] = [];
        let full = true;
        const fill = (topic: string): Promise<void> =>
          plainly(site, async (channel) => {
            const full = { "x-max-length": 0, "x-overflow": "reject-publish" };
            const { queue } = await channel.assertQueue(`${topic}~full`, { durable: true, arguments: full });
            queues.push(queue);
            await channel.bindQueue(queue, topic, "#");
          });
        const empty = (): Promise<void> =>
          plainly(site, async (channel) => {
            full = false;
            for (const queue of queues.splice(0)) await channel.deleteQueue(queue);
          });
        const filled: Adapter = {
          ...adapter,
          open(context) {
            const driver = adapter.open(context);
            const create = driver.admin.createTopic.bind(driver.admin);
            driver.admin.createTopic = async (spec, signal) => {
              const created = await create(spec, signal);
              if (full) await fill(spec.name);
              return created;
            };
            return driver;
          },
        };
        return { url: undefined, adapter: filled, secrets: [], undo: empty, cleanUp: empty };
      },
    },
  ];
}

/** Written by hand, against what the backend can do; never taken from the adapter. Quorum queues, and a log. */
const expectedQuorum: Capabilities = {
  delivery: { group: "at-least-once", broadcast: "at-least-once", groups: Number.POSITIVE_INFINITY },
  durable: true,
  durabilityOnAck: "page-cache",
  publish: { maxRecords: 1_000, maxBytes: 67_108_864, inFlight: 4, order: "record" },
  settle: { unit: "message", ack: "written" },
  receive: { maxRecords: 1_000, concurrency: 1, maxWaitMs: 30_000 },
  redelivery: { native: false, maxDelayMs: 0, counted: "deliveries" },
  lease: { ms: 0, extend: false },
  hold: { maxMs: 1_200_000, maxUnacked: 1_000, scope: "subscription" },
  keyOrder: "process",
  coordination: true,
  from: {
    group: ["latest"],
    broadcast: ["latest", "earliest", "time", "position"],
    replay: ["earliest", "time", "position"],
  },
  seek: "none",
  cursorEnd: true,
  delay: { maxMs: 2_592_000_000 },
  ttl: { maxMs: 2_592_000_000 },
  priority: { levels: 0 },
  dedupe: { windowMs: 0 },
  groupInbox: "native",
  lag: { count: "estimate", unit: "message", inFlight: false, oldest: false },
  places: { perDelivery: false, dense: false },
  topics: { explicit: true, partitions: 1, describe: true },
  retention: { ms: true, bytes: true, compact: false },
  message: { maxBytes: 16_777_216, maxHeaders: 250, key: true, headers: true, tombstone: true },
};

/** Classic queues with priorities, and no log. */
const expectedClassic: Capabilities = {
  ...expectedQuorum,
  delivery: { group: "at-least-once", broadcast: "at-most-once", groups: Number.POSITIVE_INFINITY },
  redelivery: { native: false, maxDelayMs: 0, counted: "none" },
  from: { group: ["latest"], broadcast: ["latest"], replay: [] },
  cursorEnd: false,
  priority: { levels: 5 },
  retention: { ms: false, bytes: false, compact: false },
};

const manifest = createRequire(import.meta.url)("./package.json") as { readonly dependencies: { readonly amqplib: string } };

/** One way to set the adapter up, under a name of its own for reports. */
function entry(name: string, expected: Capabilities, own: RabbitMqOptions): AdapterHarness {
  const log = own.log !== false;
  const options = { ...USUAL, ...own };
  const query = new URLSearchParams(Object.entries(options).map(([option, value]): [string, string] => [option, String(value)]));
  const make: Own = (more) => ({ ...rabbitmq({ ...options, ...more }), name });
  return {
    name,
    expected,
    url: ({ host, port }) => `amqp://${host}:${port}?${query}`,
    adapter: ({ host, port }) => make({ servers: `${host}:${port}` }),
    versions: async ({ broker }) => ({ client: `amqplib ${manifest.dependencies.amqplib}`, server: broker?.version ?? "unknown" }),
    foreign: { publish: publishPlainly, read: reads(log) },
    provoke: { errors: provocations(make), ...(log ? { expire } : {}) },
  };
}

export const harness: Harness = defineHarness({
  name: "rabbitmq",
  broker: recipe,
  adapters: [
    entry("rabbitmq", expectedQuorum, {}),
    entry("rabbitmq-classic", expectedClassic, { queueType: "classic", priorities: 5, log: false }),
  ],
});
