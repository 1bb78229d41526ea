import { type BrokerOptions, type RunningBroker, startBroker } from "@brokerkit/conformance/brokers";
import { gather } from "@brokerkit/conformance/driver-stage";
import { type FaultProxy, startProxy, until } from "@brokerkit/conformance/faults";
import { afterAll, afterEach } from "vitest";
import { administrator, recipe } from "../../recipe.ts";
import { type ProtocolOptions, protocolTransport } from "../../src/protocol/index.ts";
import type {
  ConsumerOptions,
  IncomingMessage,
  OutgoingMessage,
  PulsarTransport,
  SendResult,
  TransportConsumer,
  TransportProducer,
} from "../../src/transport.ts";

const afterTest: (() => Promise<unknown>)[] = [];
const afterFile: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const undo of afterTest.splice(0).reverse()) await undo();
});
afterAll(async () => {
  for (const undo of afterFile.splice(0).reverse()) await undo();
});

/** Runs when the test is over, last first. */
export function defer(undo: () => Promise<unknown>): void {
  afterTest.push(undo);
}

/** The broker of this test file: a private one where options are given. */
export async function startServer(options?: BrokerOptions): Promise<RunningBroker> {
  const broker = await startBroker(recipe, options === undefined ? {} : { destructive: true, options });
  afterFile.push(() => broker.close());
  return broker;
}

export async function proxied(broker: Pick<RunningBroker, "host" | "port">): Promise<FaultProxy> {
  const proxy = await startProxy(broker);
  defer(() => proxy.close());
  return proxy;
}

export function client(at: { readonly host: string; readonly port: number }, more: Partial<ProtocolOptions> = {}): PulsarTransport {
  const transport = protocolTransport({ serviceUrl: `pulsar://${at.host}:${at.port}`, reconnect: false, tunnel: true, ...more });
  defer(() => transport.close());
  return transport;
}

export function soon(ms = 15_000): AbortSignal {
  return AbortSignal.timeout(ms);
}

let names = 0;
export function fresh(): string {
  names += 1;
  return `persistent://public/default/protocol-${process.pid}-${Date.now().toString(36)}-${names}`;
}

/** A partitioned topic. */
export async function partitioned(broker: RunningBroker, partitions: number): Promise<string> {
  const topic = fresh();
  await admin(broker, (rest) => rest.createTopic(topic, partitions, soon()));
  return topic;
}

export async function admin<T>(broker: RunningBroker, ask: (rest: ReturnType<typeof administrator>) => Promise<T>): Promise<T> {
  const rest = administrator({ ...broker, url: broker.url, host: broker.host, options: {} });
  try {
    return await ask(rest);
  } finally {
    rest.close();
  }
}

export interface Produced {
  readonly producer: TransportProducer;
  /** What `closed` said. */
  readonly ends: unknown[];
  /** Sends and fails unless all was stored. */
  store(messages: readonly OutgoingMessage[]): Promise<readonly SendResult[]>;
}

export async function produce(transport: PulsarTransport, topic: string, name?: string): Promise<Produced> {
  const ends: unknown[] = [];
  const producer = await transport.producer({ topic, name, closed: (error) => ends.push(error) }, soon());
  return {
    producer,
    ends,
    async store(messages) {
      const results = await producer.send(messages, soon());
      for (const result of results) if (!result.ok) throw result.error;
      return results;
    },
  };
}

export interface Consumed {
  readonly consumer: TransportConsumer;
  readonly ends: unknown[];
  readonly turns: (readonly [partition: number, active: boolean])[];
  /** Receives until `count` messages came. */
  take(count: number, ms?: number): Promise<IncomingMessage[]>;
}

export async function consume(transport: PulsarTransport, topic: string, more: Partial<ConsumerOptions> = {}): Promise<Consumed> {
  const ends: unknown[] = [];
  const turns: (readonly [number, boolean])[] = [];
  const events = {
    closed: (error: unknown) => void ends.push(error),
    active: (partition: number, active: boolean) => void turns.push([partition, active]),
  };
  const standard = { subscription: "group", type: "key_shared", durable: true, from: { kind: "earliest" }, credit: 1_000 } as const;
  const consumer = await transport.consumer({ topic, ...standard, events, ...more }, soon());
  return {
    consumer,
    ends,
    turns,
    take: (count, ms = 15_000) => gather(count, ms, (most, leftMs) => consumer.receive(most, leftMs, soon(ms)), texts),
  };
}

export function message(text: string, key?: string, more: Partial<OutgoingMessage> = {}): OutgoingMessage {
  return { payload: Buffer.from(text), key: key === undefined ? undefined : Buffer.from(key), properties: [], ...more };
}

/** `prefix0`, `prefix1`, … with keys in turn. */
export function messages(count: number, keys = 0, prefix = "m"): OutgoingMessage[] {
  return Array.from({ length: count }, (_, n) => message(`${prefix}${n}`, keys === 0 ? undefined : `k${n % keys}`));
}

export function texts(received: readonly IncomingMessage[]): string[] {
  return received.map(({ payload }) => Buffer.from(payload).toString());
}

/** Waits for a condition, never for a time. */
export function eventually(condition: () => boolean | Promise<boolean>, what: string): Promise<unknown> {
  return until(condition, { timeoutMs: 15_000, what });
}
