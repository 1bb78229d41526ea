import type { RunningBroker } from "@brokerkit/conformance/brokers";
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
import { afterAll, afterEach } from "vitest";
import { type KafkaOptions, kafka } from "../src/index.ts";
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

/** Runs when the file is over, last first. */
export function atLast(undo: () => Promise<unknown>): void {
  afterFile.push(undo);
}

/** Sessions that end soon. */
export const QUICK: KafkaOptions = { sessionTimeoutMs: 1_500, heartbeatMs: 150, connectTimeoutMs: 2_000 };

export function at({ host, port }: Pick<RunningBroker, "host" | "port">, options: KafkaOptions = {}): Adapter {
  return kafka({ brokers: [`${host}:${port}`], ...QUICK, ...options });
}

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
    key: Buffer.from(id),
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

/** A member or broadcast reader with what it was told. */
export interface Reader {
  readonly subscription: Subscription;
  readonly lost: Shard[];
  /** Receives until `count` deliveries came. */
  take(count: number, ms?: number): Promise<WireDelivery[]>;
}

export async function read(
  driver: Driver,
  topic: string,
  group: string | undefined,
  from: WireStart = { kind: "latest" },
): Promise<Reader> {
  const lost: Shard[] = [];
  const events = { releasing: async () => {}, lost: (shard: Shard) => void lost.push(shard), state: () => {}, dataLoss: () => {} };
  const subscription = await driver.subscribe({ topic, group, from, credit: 1_000, events }, soon());
  defer(() => subscription.close());
  return {
    subscription,
    lost,
    async take(count, ms = 10_000) {
      const taken: WireDelivery[] = [];
      const deadline = performance.now() + ms;
      while (taken.length < count && performance.now() < deadline) {
        taken.push(...(await subscription.receive(count - taken.length, Math.max(1, deadline - performance.now()), soon(ms + 5_000))));
      }
      if (taken.length < count) throw new Error(`${taken.length} of ${count} deliveries came within ${ms} ms`);
      return taken;
    },
  };
}

export function ids(deliveries: readonly WireDelivery[]): (string | undefined)[] {
  return deliveries.map((delivery) => delivery.id);
}

/** How a call ends that should not succeed. */
export async function failure(driver: Driver, call: Promise<unknown>): Promise<{ readonly code: string; readonly error: Error }> {
  try {
    return { code: "none", error: new Error(`it succeeded: ${String(await call)}`) };
  } catch (error) {
    return { code: driver.classify(error).code, error: error as Error };
  }
}

/** Waits for a condition, never for a time. */
export async function until(condition: () => boolean | Promise<boolean>, what: string, ms = 10_000): Promise<void> {
  for (const deadline = performance.now() + ms; !(await condition()); ) {
    if (performance.now() > deadline) throw new Error(`Waited ${ms} ms in vain for ${what}.`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
