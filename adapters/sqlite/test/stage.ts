import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type {
  Clock,
  Driver,
  Place,
  ShardId,
  Subscription,
  SubscriptionEvents,
  Timer,
  WireDelivery,
  WireRecord,
  WireStart,
} from "brokerkit/driver";
import { onTestFinished } from "vitest";
import { type SqliteOptions, sqlite } from "../src/index.ts";

export const never: AbortSignal = new AbortController().signal;
export const LATEST: WireStart = { kind: "latest" };
export const EARLIEST: WireStart = { kind: "earliest" };

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  timer(ms, run) {
    const timer = setTimeout(run, Math.min(ms, 2 ** 31 - 1)).unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

/** Time that stands still until it is moved; every clock of a file shares it. */
export class ManualClock implements Clock {
  #now = 1_700_000_000_000;
  readonly #timers = new Set<{ at: number; run: () => void }>();

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#now - 1_600_000_000_000;
  }

  timer(ms: number, run: () => void): Timer {
    const timer = { at: this.#now + ms, run };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer) };
  }

  advance(ms: number): void {
    this.#now += ms;
    for (const timer of [...this.#timers].sort((a, b) => a.at - b.at)) {
      if (timer.at <= this.#now && this.#timers.delete(timer)) timer.run();
    }
  }
}

/** A folder of this test's own. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "brokerkit-sqlite-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

export function file(): string {
  return join(folder(), "orders.db");
}

export interface Opened {
  readonly driver: Driver;
  /** What the driver told core through `down`. */
  readonly downs: unknown[];
}

export async function open(options: SqliteOptions, clock: Clock = systemClock): Promise<Opened> {
  const downs: unknown[] = [];
  const driver = sqlite(options).open({ clock, down: (error) => downs.push(error) });
  onTestFinished(() => driver.close());
  await driver.connect(never);
  return { driver, downs };
}

/** A driver on a new file with one topic. */
export async function stage(options: Partial<SqliteOptions> = {}, clock: Clock = systemClock, topic = "orders"): Promise<Driver> {
  const { driver } = await open({ path: file(), ...options }, clock);
  await driver.admin.createTopic({ name: topic }, never);
  return driver;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
let ids = 0;

export const bytes = (text: string): Uint8Array => encoder.encode(text);
export const textOf = (value: Uint8Array | null | undefined): string => (value ? decoder.decode(value) : String(value));
export const bodies = (deliveries: readonly WireDelivery[]): string[] => deliveries.map(({ body }) => textOf(body));

export type Overrides = Partial<Omit<WireRecord, "key" | "body" | "target">> & { topic?: string; group?: string; key?: string | undefined };

export function record(body: string | null, { topic = "orders", group, key, ...rest }: Overrides = {}): WireRecord {
  const id = rest.id ?? `id-${ids++}`;
  const target = group === undefined ? { topic } : { topic, group };
  const base = { target, id, dedupeId: id, headers: [], publishedAt: Date.now(), key: key === undefined ? undefined : bytes(key) };
  return { ...base, body: body === null ? null : bytes(body), ...rest };
}

/** Publishes and expects all of it to be stored. */
export async function put(driver: Driver, ...records: WireRecord[]): Promise<readonly (Place | undefined)[]> {
  const results = await driver.publish(records, never);
  return results.map((result) => {
    if (!result.ok) throw result.error;
    return result.place;
  });
}

export interface Loss {
  readonly shard: ShardId;
  readonly from: Place | undefined;
  readonly to: Place | undefined;
  readonly missing: number | undefined;
}

/** Remembers what a subscription was told. */
export class Events implements SubscriptionEvents {
  readonly losts: { shard: ShardId; reason: string }[] = [];
  readonly losses: Loss[] = [];

  async releasing(): Promise<void> {}

  lost(shard: { readonly id: ShardId }, reason: string): void {
    this.losts.push({ shard: shard.id, reason });
  }

  state(): void {}

  dataLoss(shard: ShardId, from: Place | undefined, to: Place | undefined, missing: number | undefined): void {
    this.losses.push({ shard, from, to, missing });
  }
}

export function member(
  driver: Driver,
  group: string | undefined,
  from: WireStart = EARLIEST,
  events: SubscriptionEvents = new Events(),
  topic = "orders",
): Promise<Subscription> {
  return driver.subscribe({ topic, group, from, credit: 1_000, events }, never);
}

/** What is there at this moment. */
export function take(subscription: Subscription, max = 100): Promise<readonly WireDelivery[]> {
  return subscription.receive(max, 0, never);
}

/** Waits until `count` deliveries have come. */
export async function gather(subscription: Subscription, count: number): Promise<WireDelivery[]> {
  const all: WireDelivery[] = [];
  while (all.length < count) all.push(...(await subscription.receive(count - all.length, 10_000, never)));
  return all;
}

export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 10_000;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error("the condition did not come true within 10 s");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Numbers that look random and are the same in every run. */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
