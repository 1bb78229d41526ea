import type { Adapter, Capabilities, Coordination, Driver, WireRecord, WireStart } from "brokerkit/driver";
import { memory } from "brokerkit/memory";
import { afterEach } from "vitest";
import { BrokerHandle } from "../../../src/broker.ts";
import { defineTopic, type TopicDefinition } from "../../../src/definition.ts";
import type { Feature, Options } from "../../../src/options.ts";
import { partitioned } from "../../../src/ordering/partitions/driver.ts";
import type { Schema } from "../../../src/schema.ts";
import { VirtualClock } from "../../../src/testing/virtual-clock.ts";

export const LEASE_MS = 1_000;
export const never: AbortSignal = new AbortController().signal;
export const earliest: WireStart = { kind: "earliest" };
export const latest: WireStart = { kind: "latest" };

const anything: Schema<unknown, unknown> = { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) } };

export const define = (name: string, partitions?: number): TopicDefinition => defineTopic(name, { schema: anything, partitions });

/** Memory as a backend that has no partitions and keeps registers. */
export function like(change: Partial<Capabilities> = {}): Adapter {
  const { capabilities } = memory();
  const { topics } = capabilities;
  return memory({
    like: {
      ...capabilities,
      keyOrder: "process",
      coordination: true,
      topics: { ...topics, partitions: 1, explicit: false },
      lease: { ms: LEASE_MS, extend: true },
      ...change,
    },
  });
}

/** The adapter with members of its drivers replaced. */
export function changed(adapter: Adapter, change: (driver: Driver) => Partial<Driver>): Adapter {
  return {
    ...adapter,
    open: (context) => {
      const driver = adapter.open(context);
      const other = change(driver);
      return new Proxy(driver, {
        get: (target, name) => {
          const value: unknown = Reflect.get(other, name) ?? Reflect.get(target, name, target);
          return typeof value === "function" ? value.bind(target) : value;
        },
      });
    },
  };
}

/** A way to the registers that can be cut. */
export function reachable(adapter: Adapter): { readonly adapter: Adapter; cut: boolean } {
  const way = { cut: false };
  const cuts = changed(adapter, (driver) => ({ coordination: cuttable(driver.coordination as Coordination, () => way.cut) }));
  return Object.assign(way, { adapter: cuts });
}

function cuttable(inner: Coordination, cut: () => boolean): Coordination {
  const unless = <T>(signal: AbortSignal, call: () => Promise<T>): Promise<T> =>
    cut() ? new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true })) : call();
  return {
    read: (name, signal) => unless(signal, () => inner.read(name, signal)),
    compareAndSet: (name, expected, value, signal) => unless(signal, () => inner.compareAndSet(name, expected, value, signal)),
  };
}

const undo: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0)) await one();
});

/** A connected driver with partitions, on a clock of its own. */
export async function open(adapter: Adapter, clock: VirtualClock = new VirtualClock()): Promise<Driver> {
  const driver = partitioned(adapter).open({ clock, down: () => {} });
  await driver.connect(never);
  undo.push(() => driver.close());
  return driver;
}

/** A connected broker on this clock. */
export async function broker(
  adapter: Adapter,
  clock: VirtualClock,
  requires: readonly Feature[] = [],
  options: Options = {},
): Promise<BrokerHandle> {
  const handle = new BrokerHandle({ name: "memory", load: () => adapter, clock }, options, requires);
  undo.push(async () => {
    const closed = handle.close({ deadlineMs: 0 });
    await clock.advance(60_000);
    await closed;
  });
  await handle.connect();
  return handle;
}

let records = 0;

export function record(topic: string, key: string | undefined, body: string = key ?? "", more: Partial<WireRecord> = {}): WireRecord {
  const id = `r${++records}`;
  return {
    target: { topic },
    id,
    dedupeId: id,
    key: key === undefined ? undefined : Buffer.from(key),
    headers: [],
    body: Buffer.from(body),
    publishedAt: 0,
    ...more,
  };
}
