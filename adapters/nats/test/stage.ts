import { type BrokerOptions, type RunningBroker, startBroker } from "@brokerkit/conformance/brokers";
import { type FaultProxy, startProxy } from "@brokerkit/conformance/faults";
import type {
  Adapter,
  Capabilities,
  Driver,
  PublishResult,
  Shard,
  Subscription,
  WireDelivery,
  WireRecord,
  WireStart,
} from "brokerkit/driver";
import { connect, type NatsConnection } from "nats";
import { afterAll, afterEach } from "vitest";
import { harness } from "../harness.ts";
import { clock } from "./clock.ts";

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

/** A private server of this test file. */
export async function startServer(options: BrokerOptions = {}): Promise<RunningBroker> {
  const broker = await startBroker(harness.broker as NonNullable<typeof harness.broker>, { destructive: true, options });
  afterFile.push(() => broker.close());
  return broker;
}

export async function proxied(server: Pick<RunningBroker, "host" | "port">): Promise<FaultProxy> {
  const proxy = await startProxy(server);
  defer(() => proxy.close());
  return proxy;
}

export const at = ({ host, port }: Pick<RunningBroker, "host" | "port">): { servers: string } => ({ servers: `${host}:${port}` });

export interface Opened {
  readonly driver: Driver;
  readonly capabilities: Capabilities;
  /** What the driver told core about lost links. */
  readonly downs: unknown[];
}

/** Opens a driver, which is closed when the test is over. */
export async function open(adapter: Adapter): Promise<Opened> {
  const downs: unknown[] = [];
  const driver = adapter.open({ clock, down: (error) => downs.push(error) });
  defer(() => driver.close());
  return { driver, capabilities: await driver.connect(soon()), downs };
}

/** What connecting ends in. */
export async function failure(adapter: Adapter): Promise<{ code: string; retryable: boolean }> {
  const driver = adapter.open({ clock, down: () => {} });
  defer(() => driver.close());
  return driver.connect(soon()).then(
    () => ({ code: "connected", retryable: false }),
    (error: unknown) => driver.classify(error),
  );
}

export function soon(ms = 10_000): AbortSignal {
  return AbortSignal.timeout(ms);
}

let names = 0;
export function fresh(): string {
  names += 1;
  return `t-${process.pid}-${names}`;
}

export function record(topic: string, id: string, more: Partial<WireRecord> = {}): WireRecord {
  return {
    target: { topic },
    id,
    dedupeId: id,
    key: undefined,
    headers: [],
    body: Buffer.from(id),
    publishedAt: Date.now(),
    ...more,
  };
}

export function records(topic: string, ...ids: string[]): WireRecord[] {
  return ids.map((id) => record(topic, id));
}

/** Publishes and fails unless all was stored. */
export async function store(driver: Driver, batch: readonly WireRecord[]): Promise<readonly PublishResult[]> {
  const results = await driver.publish(batch, soon());
  for (const result of results) if (!result.ok) throw result.error;
  return results;
}

/** `ok`, or a code and whether it may have been sent. */
export function outcomes(driver: Driver, results: readonly PublishResult[]): string[] {
  return results.map((result) => (result.ok ? "ok" : `${driver.classify(result.error).code} ${result.sent}`));
}

/** A subscription with everything that it told. */
export interface Reader {
  readonly subscription: Subscription;
  readonly lost: Shard[];
  /** Shard, first and last place, how many. */
  readonly losses: (readonly unknown[])[];
  readonly states: string[];
  /** Receives until `count` deliveries came. */
  take(count: number, ms?: number): Promise<WireDelivery[]>;
}

export async function read(
  driver: Driver,
  topic: string,
  group: string | undefined,
  from: WireStart = { kind: "latest" },
): Promise<Reader> {
  const [lost, losses, states]: [Shard[], (readonly unknown[])[], string[]] = [[], [], []];
  const events = {
    releasing: async () => {},
    lost: (shard: Shard) => void lost.push(shard),
    state: (_: string, state: string) => void states.push(state),
    dataLoss: (...loss: readonly unknown[]) => void losses.push(loss),
  };
  const subscription = await driver.subscribe({ topic, group, from, credit: 1_000, events }, soon());
  defer(() => subscription.close());
  return {
    subscription,
    lost,
    losses,
    states,
    async take(count, ms = 10_000) {
      const taken: WireDelivery[] = [];
      const deadline = performance.now() + ms;
      while (taken.length < count && performance.now() < deadline) {
        taken.push(...(await subscription.receive(count - taken.length, Math.max(1, deadline - performance.now()), soon(ms + 5_000))));
      }
      if (taken.length < count) throw new Error(`${taken.length} of ${count} deliveries came within ${ms} ms: ${ids(taken).join()}`);
      return taken;
    },
  };
}

export function ids(deliveries: readonly WireDelivery[]): (string | undefined)[] {
  return deliveries.map((delivery) => delivery.id);
}

/** Waits for a condition, never for a time. */
export async function until(condition: () => boolean | Promise<boolean>, what: string, ms = 10_000): Promise<void> {
  for (const deadline = performance.now() + ms; !(await condition()); ) {
    if (performance.now() > deadline) throw new Error(`Waited ${ms} ms in vain for ${what}.`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A client that knows nothing of brokerkit. */
export async function plain({ host, port }: Pick<RunningBroker, "host" | "port">): Promise<NatsConnection> {
  const client = await connect({ servers: `${host}:${port}`, reconnect: false });
  defer(() => client.close());
  return client;
}

/** One call of JetStream's API, by hand. */
export async function api(client: NatsConnection, call: string, body: object = {}): Promise<Record<string, unknown>> {
  return (await client.request(`$JS.API.${call}`, JSON.stringify(body))).json<Record<string, unknown>>();
}
