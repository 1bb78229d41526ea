import type { Driver, PublishResult, Shard, Subscription, WireDelivery, WireRecord, WireStart } from "brokerkit/driver";
import { fail } from "./assert.ts";
import { now, pass } from "./wait.ts";

/** A record as no `publish` of core would make it: foreign keys, repeated headers, bodies that are no JSON. */
export function rawRecord(topic: string, body: Uint8Array | string | null, more: Partial<WireRecord> = {}): WireRecord {
  const id = more.id ?? `raw-${Math.random().toString(36).slice(2)}`;
  return {
    target: { topic },
    id,
    dedupeId: id,
    key: undefined,
    headers: [],
    body: typeof body === "string" ? Buffer.from(body) : body,
    publishedAt: Date.now(),
    ...more,
  };
}

/** Stores records through the driver alone; fails when one was not stored. */
export async function rawPublish(driver: Driver, records: readonly WireRecord[]): Promise<readonly PublishResult[]> {
  const results = await driver.publish(records, AbortSignal.timeout(10_000));
  for (const result of results) if (!result.ok) fail(`driver.publish did not store a record: ${String(result.error)}`);
  return results;
}

/** One member of a group (or, without one, a broadcast reader) without core: nothing keeps its leases alive, nothing settles for it. */
export interface RawMember {
  readonly subscription: Subscription;
  readonly got: readonly WireDelivery[];
  readonly lost: readonly Shard[];
  /** Receives until `count` deliveries are there in all. */
  takes(count: number, ms: number): Promise<void>;
  /** Receives for `ms` and answers what came. */
  listens(ms: number): Promise<readonly WireDelivery[]>;
}

export async function rawMember(
  driver: Driver,
  topic: string,
  group: string | undefined,
  from: WireStart = { kind: "latest" },
): Promise<RawMember> {
  const got: WireDelivery[] = [];
  const lost: Shard[] = [];
  const subscription = await driver.subscribe(
    {
      topic,
      group,
      from,
      credit: 100,
      events: { releasing: async () => {}, lost: (shard) => lost.push(shard), state: () => {}, dataLoss: () => {} },
    },
    AbortSignal.timeout(10_000),
  );
  const receive = async (ms: number): Promise<readonly WireDelivery[]> => {
    const wait = Math.ceil(ms);
    const some = await subscription.receive(Math.min(100, driver.capabilities.receive.maxRecords), wait, AbortSignal.timeout(wait + 5_000));
    // One that is closed answers at once, and asking it again and again would leave no time for anything else.
    if (some.length === 0) await pass(1);
    got.push(...some);
    return some;
  };
  return {
    subscription,
    got,
    lost,
    async takes(count, ms) {
      const deadline = now() + ms;
      while (got.length < count && now() < deadline) await receive(Math.min(200, driver.capabilities.receive.maxWaitMs));
      if (got.length < count) fail(`A member waited ${ms} ms for ${count} deliveries and got ${got.length}.`);
    },
    async listens(ms) {
      const deadline = now() + ms;
      const before = got.length;
      while (now() < deadline) await receive(Math.max(1, Math.min(200, deadline - now(), driver.capabilities.receive.maxWaitMs)));
      return got.slice(before);
    },
  };
}
