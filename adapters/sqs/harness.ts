import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { CreateTopicCommand, PublishCommand, SNSClient, SubscribeCommand } from "@aws-sdk/client-sns";
import {
  CreateQueueCommand,
  DeleteMessageCommand,
  DeleteQueueCommand,
  GetQueueAttributesCommand,
  type Message,
  ReceiveMessageCommand,
  SendMessageCommand,
  SetQueueAttributesCommand,
  SQSClient,
} from "@aws-sdk/client-sqs";
import {
  type AdapterHarness,
  defineHarness,
  type ForeignClient,
  type ForeignReader,
  type ForeignRecord,
  type Harness,
  type KnownGap,
  type Provocation,
  type Site,
} from "@brokerkit/conformance";
import { type BrokerRecipe, makeCertificates, type RunningBroker, startBroker } from "@brokerkit/conformance/brokers";
import type { Adapter, Capabilities } from "brokerkit/driver";
import { FAKE_ANSWERS, type FakeRule, startFakeAws } from "./fake-aws.ts";
import { elasticmq, fauxqs, isAws, REGION } from "./recipe.ts";
import { type SqsOptions, sqs, sqsFifo } from "./src/index.ts";

type Address = Pick<Site, "host" | "port">;
type Make = (options: SqsOptions) => Adapter;

interface Key {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** As short as can be: closing waits for a poll, and what is left of a lease after one has to outlast a busy machine. */
const TEST = { leaseMs: 4_000, pollMs: 1_000 } as const;
/** Emulators take any key. */
const KEY: Key = { accessKeyId: "test", secretAccessKey: "test" };

const endpoint = ({ host, port }: Address): string => `http://${host}:${port}`;

/** What a run leaves in an account is known by its name. */
const PREFIX = "brokerkit-test-";

const nameOf = (site: Address, topic: string): string => `${isAws(site) ? PREFIX : ""}${topic}`;

/** An account is found by the SDK's own search: its region by the host name, its keys by the environment. */
const regionOf = (site: Address): string => (isAws(site) ? (site.host.split(".")[1] as string) : REGION);

function at(site: Address): SqsOptions {
  return isAws(site) ? { region: regionOf(site), namePrefix: PREFIX } : { endpoint: endpoint(site), region: REGION, ...KEY };
}

type More = Readonly<Record<string, string | number | boolean>>;

function urlOf(scheme: string, site: Address, more: More = {}, { accessKeyId, secretAccessKey } = KEY): string {
  const query = Object.entries({ region: regionOf(site), ...TEST, ...more })
    .map(([name, value]) => `${name}=${value}`)
    .join("&");
  return isAws(site)
    ? `${scheme}:?${query}&namePrefix=${PREFIX}`
    : `${scheme}+http://${accessKeyId}:${secretAccessKey}@${site.host}:${site.port}?${query}`;
}

interface Plain {
  readonly sqs: SQSClient;
  readonly sns: SNSClient;
}

function plain(site: Address): Plain {
  // A copy: the SDK writes into it.
  const own = isAws(site) ? {} : { endpoint: endpoint(site), credentials: { ...KEY }, useQueueUrlAsEndpoint: false };
  const common = { region: regionOf(site), maxAttempts: 1, ...own };
  return { sqs: new SQSClient(common), sns: new SNSClient(common) };
}

/** Does one thing with plain clients. */
async function plainly<T>(site: Address, act: (clients: Plain) => Promise<T>): Promise<T> {
  const clients = plain(site);
  try {
    return await act(clients);
  } finally {
    for (const client of Object.values(clients)) client.destroy();
  }
}

function recordOf({ Body = "", MessageAttributes = {} }: Message): ForeignRecord {
  const headers = Object.entries(MessageAttributes).map(([name, { StringValue, BinaryValue }]) => [
    name,
    StringValue ?? Buffer.from(BinaryValue ?? []).toString("latin1"),
  ]);
  return { body: Buffer.from(Body), headers: Object.fromEntries(headers) as Record<string, string> };
}

/** Takes what comes into a queue, until it is told to stop. */
function drain(clients: Plain, QueueUrl: string, close: () => Promise<unknown>): ForeignReader {
  const records: ForeignRecord[] = [];
  let open = true;
  const reading = (async () => {
    while (open) {
      const ask = { QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 1, MessageAttributeNames: ["All"] };
      const { Messages = [] } = await clients.sqs.send(new ReceiveMessageCommand(ask));
      for (const message of Messages) {
        records.push(recordOf(message));
        await clients.sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle: message.ReceiptHandle }));
      }
    }
  })().catch(() => {});
  return {
    records,
    close: async () => {
      open = false;
      await reading;
      await close();
      for (const client of Object.values(clients)) client.destroy();
    },
  };
}

let readers = 0;

/** Lets a topic write to a queue; no emulator asks for it. */
function policy(Resource: string, topic: string): string {
  const who = { Effect: "Allow", Principal: { Service: "sns.amazonaws.com" }, Action: "sqs:SendMessage" };
  return JSON.stringify({ Version: "2012-10-17", Statement: [{ ...who, Resource, Condition: { ArnEquals: { "aws:SourceArn": topic } } }] });
}

/** Programs that publish to a topic of SNS, and that have a queue of their own subscribed to it. */
function topics(suffix: "" | ".fifo"): ForeignClient {
  const fifo = suffix === ".fifo";
  const create = (Name: string) => new CreateTopicCommand({ Name: `${Name}${suffix}`, Attributes: fifo ? { FifoTopic: "true" } : {} });
  return {
    publish: (site, topic, body) =>
      plainly(site, async ({ sns }) => {
        const { TopicArn } = await sns.send(create(nameOf(site, topic)));
        const order = fifo ? { MessageGroupId: "plain", MessageDeduplicationId: `plain-${Date.now()}` } : {};
        await sns.send(new PublishCommand({ TopicArn, Message: Buffer.from(body).toString(), ...order }));
      }),
    async read(site, topic) {
      const clients = plain(site);
      const { sqs: queues, sns } = clients;
      readers += 1;
      const QueueName = nameOf(site, `plain-${process.pid}-${readers}${suffix}`);
      const { QueueUrl = "" } = await queues.send(new CreateQueueCommand({ QueueName, Attributes: fifo ? { FifoQueue: "true" } : {} }));
      const { Attributes } = await queues.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ["QueueArn"] }));
      const { TopicArn = "" } = await sns.send(create(nameOf(site, topic)));
      const Endpoint = Attributes?.["QueueArn"] ?? "";
      await queues.send(new SetQueueAttributesCommand({ QueueUrl, Attributes: { Policy: policy(Endpoint, TopicArn) } }));
      const raw = { Attributes: { RawMessageDelivery: "true" } };
      await sns.send(new SubscribeCommand({ TopicArn, Protocol: "sqs", Endpoint, ...raw }));
      return drain(clients, QueueUrl, () => queues.send(new DeleteQueueCommand({ QueueUrl })));
    },
  };
}

/** Programs that send to a queue, and that receive from it. */
const queue: ForeignClient = {
  publish: (site, topic, body) =>
    plainly(site, async ({ sqs: queues }) => {
      const { QueueUrl } = await queues.send(new CreateQueueCommand({ QueueName: nameOf(site, topic) }));
      await queues.send(new SendMessageCommand({ QueueUrl, MessageBody: Buffer.from(body).toString() }));
    }),
  async read(site, topic) {
    const clients = plain(site);
    const { QueueUrl = "" } = await clients.sqs.send(new CreateQueueCommand({ QueueName: nameOf(site, topic) }));
    return drain(clients, QueueUrl, async () => {});
  },
};

/** A server with TLS, for a certificate of that name; the client believes `authority`. */
function tls(make: Make, id: Provocation["id"], name: string, days: "valid" | "expired", authority: string): Provocation {
  return {
    id,
    code: "UNAUTHENTICATED",
    at: "connect",
    retryable: false,
    async setUp(site) {
      const folder = await makeCertificates(site.folder, name, days);
      const broker = await startBroker(fauxqs, { destructive: true, options: { tls: folder } });
      const ca = await readFile(join(folder, authority), "utf8");
      const adapter = make({ endpoint: `https://${broker.host}:${broker.port}`, region: REGION, ...KEY, tls: { ca } });
      return { url: undefined, adapter, secrets: [], cleanUp: () => broker.close() };
    },
  };
}

const WRITING = ["Publish", "PublishBatch", "SendMessage", "SendMessageBatch"];

/** No emulator looks at who asks, so the server's words are a fake's; what comes before and after them is not. */
function refused(
  make: Make,
  scheme: string,
  one: Pick<Provocation, "id" | "code" | "at">,
  secretAccessKey: string,
  rule: FakeRule,
): Provocation {
  return {
    ...one,
    retryable: false,
    async setUp() {
      const broker = await startBroker(fauxqs, { destructive: true });
      const fake = await startFakeAws(broker, rule);
      const key = { accessKeyId: "AKIACANARY5B1F", secretAccessKey };
      return {
        url: urlOf(scheme, fake, {}, key),
        adapter: make({ endpoint: endpoint(fake), region: REGION, ...key, ...TEST }),
        secrets: [secretAccessKey],
        cleanUp: async () => {
          await fake.close();
          await broker.close();
        },
      };
    },
  };
}

function provocations(make: Make, scheme: string): readonly Provocation[] {
  const password = { id: "wrong-password", code: "UNAUTHENTICATED", at: "connect" } as const;
  const rights = { id: "forbidden", code: "FORBIDDEN", at: "publish" } as const;
  return [
    refused(make, scheme, password, "canary-wrong-91d0", () => FAKE_ANSWERS.wrongSecret),
    refused(make, scheme, rights, "canary-reader-77ab", ({ action }) => (WRITING.includes(action) ? FAKE_ANSWERS.forbidden : undefined)),
    tls(make, "tls-bad-ca", "127.0.0.1", "valid", "other.pem"),
    tls(make, "tls-wrong-host", "elsewhere.test", "valid", "ca.pem"),
    tls(make, "tls-expired", "127.0.0.1", "expired", "ca.pem"),
    {
      id: "plain-to-tls-port",
      code: "UNAVAILABLE",
      at: "connect",
      retryable: true,
      async setUp(site) {
        const folder = await makeCertificates(site.folder, "127.0.0.1");
        const broker: RunningBroker = await startBroker(fauxqs, { destructive: true, options: { tls: folder } });
        const adapter = make({ endpoint: endpoint(broker), region: REGION, ...KEY, timeoutMs: 2_000 });
        return { url: undefined, adapter, secrets: [], cleanUp: () => broker.close() };
      },
    },
  ];
}

/** AWS promises more than an emulator whose process is killed. */
const durabilityOnAck = /\.amazonaws\.com\b/.test(process.env[fauxqs.variable] ?? "") ? "replicated" : "page-cache";

/** Written by hand, against what SQS and SNS can do under the options above; never taken from the adapter. */
const expected: Capabilities = {
  delivery: { group: "at-least-once", broadcast: "at-most-once", groups: Number.POSITIVE_INFINITY },
  durable: true,
  durabilityOnAck,
  publish: { maxRecords: 100, maxBytes: 4_194_304, inFlight: 4, order: "record" },
  settle: { unit: "message", ack: "confirmed" },
  receive: { maxRecords: 500, concurrency: 1, maxWaitMs: 20_000 },
  redelivery: { native: true, maxDelayMs: 39_600_000, counted: "deliveries" },
  lease: { ms: TEST.leaseMs, extend: true },
  hold: { maxMs: 39_600_000, maxUnacked: 10_000, scope: "group" },
  keyOrder: "none",
  coordination: false,
  from: { group: ["latest"], broadcast: ["latest"], replay: [] },
  seek: "none",
  cursorEnd: false,
  delay: { maxMs: 900_000 },
  ttl: { maxMs: 0 },
  priority: { levels: 0 },
  dedupe: { windowMs: 0 },
  groupInbox: "native",
  lag: { count: "estimate", unit: "message", inFlight: true, oldest: false },
  places: { perDelivery: false, dense: false },
  topics: { explicit: true, partitions: 1, describe: true },
  retention: { ms: false, bytes: false, compact: false },
  // SNS takes 256 KiB in all; 4 KiB are kept for the key, the id and the names of headers.
  message: { maxBytes: 258_048, maxHeaders: 100, key: true, headers: true, tombstone: true },
};

const expectedFifo: Capabilities = {
  ...expected,
  keyOrder: "members",
  delay: { maxMs: 0 },
  dedupe: { windowMs: 300_000 },
};

const TELLS_NOTHING = {
  reason: "it is stored once, but SNS confirms a duplicate as it does the first; test/publisher.test.ts counts what is stored",
  issue: "https://docs.aws.amazon.com/sns/latest/dg/fifo-message-dedup.html",
};

const gapsFifo: readonly KnownGap[] = ["dedupe/window", "dedupe/other-connection"].map((id) => ({ case: id, ...TELLS_NOTHING }));

/** One queue, no topic: SQS by itself takes 1 MiB, and has no broadcast. */
const expectedQueue: Capabilities = {
  ...expected,
  durable: false,
  durabilityOnAck: "memory",
  delivery: { group: "at-least-once", broadcast: "none", groups: 1 },
  from: { ...expected.from, broadcast: [] },
  message: { ...expected.message, maxBytes: 1_044_480 },
};

async function versions({ broker }: Site): Promise<Readonly<Record<string, string>>> {
  return { client: "@aws-sdk 3.1169.0", server: broker?.version ?? "unknown" };
}

/** One factory over one emulator. `more`: options beside those of every test; AWS needs no word on how it keeps messages. */
function entry(
  make: Make,
  scheme: string,
  more: Pick<SqsOptions, "fanout" | "durability">,
  own: Omit<AdapterHarness, "url" | "adapter" | "versions">,
): AdapterHarness {
  const options = (site: Address): typeof more => (isAws(site) ? { ...more, durability: undefined } : more);
  return {
    ...own,
    versions,
    url: (site) =>
      urlOf(scheme, site, Object.fromEntries(Object.entries(options(site)).filter(([, value]) => value !== undefined)) as More),
    adapter: (site) => ({ ...make({ ...at(site), ...TEST, ...options(site) }), name: own.name }),
  };
}

export const harness: Harness = defineHarness({
  name: "sqs",
  broker: fauxqs,
  adapters: [
    entry(
      sqs,
      "sqs",
      { durability: "page-cache" },
      { name: "sqs", expected, foreign: topics(""), provoke: { errors: provocations(sqs, "sqs") } },
    ),
    entry(
      sqsFifo,
      "sqs+fifo",
      { durability: "page-cache" },
      {
        name: "sqs+fifo",
        expected: expectedFifo,
        gaps: gapsFifo,
        foreign: topics(".fifo"),
        provoke: { errors: provocations(sqsFifo, "sqs+fifo") },
      },
    ),
  ],
});

/** The recipe with everything in memory. */
function inMemory(recipe: BrokerRecipe): BrokerRecipe {
  const { process } = recipe;
  const files = process?.files;
  if (process === undefined || files === undefined) return recipe;
  return { ...recipe, process: { ...process, files: (place) => files({ ...place, options: { ...place.options, data: "memory" } }) } };
}

/**
 * The same adapter without SNS, over the other emulator; its report has a name of its own. All that this one needs for a message comes to a
 * millisecond or two, so it keeps them in memory and serves few cases at a time.
 */
export const queueHarness: Harness = defineHarness({
  name: "elasticmq",
  broker: inMemory(elasticmq),
  adapters: [
    entry(
      sqs,
      "sqs",
      { fanout: false, durability: "memory" },
      { name: "sqs-queue", beside: 3, expected: expectedQueue, foreign: queue, provoke: { errors: provocations(sqs, "sqs") } },
    ),
  ],
});
