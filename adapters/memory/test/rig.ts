import type {
  Adapter,
  Capabilities,
  Driver,
  Place,
  PublishResult,
  Shard,
  ShardId,
  Subscription,
  SubscriptionEvents,
  TopicSpec,
  WireDelivery,
  WireRecord,
  WireStart,
} from "brokerkit/driver";
import { capabilities } from "../src/capabilities.ts";
import { type MemoryOptions, memory } from "../src/index.ts";
import { VirtualClock } from "./virtual-clock.ts";

export const never: AbortSignal = new AbortController().signal;
export const latest: WireStart = { kind: "latest" };
export const earliest: WireStart = { kind: "earliest" };

/** A record of nested properties that differ from memory's own. */
export type Changes = { readonly [K in keyof Capabilities]?: Capabilities[K] extends object ? Partial<Capabilities[K]> : Capabilities[K] };

export function recordWith(changes: Changes): Capabilities {
  const entries = Object.entries(capabilities.memory).map(([name, value]) => {
    const change = changes[name as keyof Capabilities];
    return [name, typeof value === "object" && !Array.isArray(value) ? { ...value, ...(change as object | undefined) } : (change ?? value)];
  });
  return Object.fromEntries(entries) as Capabilities;
}

export const text = (bytes: Uint8Array | null | undefined): string => (bytes ? new TextDecoder().decode(bytes) : String(bytes));
export const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);
export const bodies = (deliveries: readonly WireDelivery[]): string[] => deliveries.map(({ body }) => text(body));

export interface Loss {
  readonly shard: ShardId;
  readonly from: Place | undefined;
  readonly to: Place | undefined;
  readonly missing: number | undefined;
}

export class Events implements SubscriptionEvents {
  readonly shardsLost: Shard[] = [];
  readonly losses: Loss[] = [];

  async releasing(): Promise<void> {}

  lost(shard: Shard): void {
    this.shardsLost.push(shard);
  }

  state(): void {}

  dataLoss(shard: ShardId, from: Place | undefined, to: Place | undefined, missing: number | undefined): void {
    this.losses.push({ shard, from, to, missing });
  }
}

export interface MemberRig {
  readonly subscription: Subscription;
  readonly events: Events;
  /** What can be had at once. */
  take(max?: number): Promise<readonly WireDelivery[]>;
}

/** One driver on a clock of its own, with an application's few verbs. */
export class Rig {
  readonly clock: VirtualClock = new VirtualClock();
  readonly adapter: Adapter;
  readonly driver: Driver;
  readonly topic = "orders";
  #count = 0;

  private constructor(options: MemoryOptions) {
    this.adapter = memory(options as MemoryOptions);
    this.driver = this.adapter.open({ clock: this.clock, down: () => {} });
  }

  /** Connected, and with the topic made. */
  static async open(options: MemoryOptions = {}, spec: Partial<TopicSpec> = {}): Promise<Rig> {
    const rig = new Rig(options);
    await rig.driver.connect(never);
    await rig.driver.admin.createTopic({ name: rig.topic, ...spec }, never);
    return rig;
  }

  static like(changes: Changes, spec: Partial<TopicSpec> = {}): Promise<Rig> {
    return Rig.open({ like: recordWith(changes), likeName: "test" }, spec);
  }

  /** A second connection to the same topics. */
  async second(): Promise<Driver> {
    const driver = this.adapter.open({ clock: this.clock, down: () => {} });
    await driver.connect(never);
    return driver;
  }

  record(body: string, more: Partial<WireRecord> & { readonly on?: string } = {}): WireRecord {
    const id = `m${++this.#count}`;
    const { on, ...rest } = more;
    const key = on === undefined ? undefined : bytes(on);
    return { target: { topic: this.topic }, id, dedupeId: id, key, headers: [], body: bytes(body), publishedAt: this.clock.now(), ...rest };
  }

  publishRecords(...records: WireRecord[]): Promise<readonly PublishResult[]> {
    return this.driver.publish(records, never);
  }

  /** Publishes bodies; `a:1` has the key "a", `-1` has none. Rejects if one is not stored. */
  async publish(...texts: readonly string[]): Promise<void> {
    for (const one of texts) {
      const colon = one.indexOf(":");
      const [result] = await this.publishRecords(this.record(one, colon > 0 ? { on: one.slice(0, colon) } : {}));
      if (result?.ok !== true) throw result?.error;
    }
  }

  async join(group: string | undefined = "billing", from: WireStart = latest, driver: Driver = this.driver): Promise<MemberRig> {
    const events = new Events();
    const subscription = await driver.subscribe({ topic: this.topic, group, from, credit: 1_000, events }, never);
    return { subscription, events, take: (max = 1_000) => subscription.receive(max, 0, never) };
  }

  broadcast(from: WireStart = latest): Promise<MemberRig> {
    const events = new Events();
    return this.driver
      .subscribe({ topic: this.topic, group: undefined, from, credit: 1_000, events }, never)
      .then((subscription) => ({ subscription, events, take: (max = 1_000) => subscription.receive(max, 0, never) }));
  }

  /** Everything a bounded replay gives, and the losses it told of. */
  async replay(from: WireStart = earliest, to?: WireStart): Promise<{ deliveries: WireDelivery[]; events: Events }> {
    const events = new Events();
    const cursor = await this.driver.replay({ topic: this.topic, from, to, follow: false, events }, never);
    const deliveries: WireDelivery[] = [];
    for (;;) {
      const batch = await cursor.receive(100, 1_000, never);
      deliveries.push(...batch.deliveries);
      if (batch.atEnd) break;
    }
    await cursor.close();
    return { deliveries, events };
  }
}
