import type {
  Adapter,
  Capabilities,
  Driver,
  DriverContext,
  Nack,
  PublishResult,
  SettleResult,
  Shard,
  SubscribeRequest,
  Subscription,
  WireDelivery,
  WireRecord,
} from "brokerkit/driver";
import { memory } from "brokerkit/memory";
import { featuresOf } from "../src/capability/features.ts";

/** Decides one publish call of the fake driver. */
export type Script = (batch: readonly WireRecord[], signal: AbortSignal, call: number) => PublishResult[] | Promise<PublishResult[]>;

/** Memory with its publish (and, where given, its connect and subscribe) replaced by a script: for failures that no real backend gives on command. */
export function fakeAdapter(o: {
  publish?: Script;
  connect?: (attempt: number) => Promise<void>;
  subscribe?: (request: SubscribeRequest) => Subscription | Promise<Subscription>;
  replay?: Driver["replay"];
  capabilities?: (record: Capabilities) => Capabilities;
}): { adapter: Adapter; calls: string[][]; context: () => DriverContext } {
  const base = memory();
  const record = o.capabilities?.(base.capabilities) ?? base.capabilities;
  const calls: string[][] = [];
  let connects = 0;
  let given: DriverContext | undefined;
  const adapter: Adapter = {
    ...base,
    capabilities: record,
    features: featuresOf(record),
    open: (context) => {
      given = context;
      const real = base.open(context);
      const changed: Partial<Driver> = {
        capabilities: record,
        connect: async (signal) => {
          await o.connect?.(++connects);
          await real.connect(signal);
          return record;
        },
        // Every topic has one shard.
        describe: async () => ({ ...record, topics: { ...record.topics, partitions: 1 } }),
        ...(o.subscribe === undefined
          ? {}
          : { subscribe: async (request) => (o.subscribe as (r: SubscribeRequest) => Subscription)(request) }),
        ...(o.replay === undefined ? {} : { replay: o.replay }),
        publish: async (batch, signal) => {
          if (o.publish === undefined) return real.publish(batch, signal);
          calls.push(batch.map((one) => one.id));
          return o.publish(batch, signal, calls.length);
        },
      };
      return new Proxy(real, {
        get: (target, name) => {
          const value: unknown = Reflect.get(changed, name) ?? Reflect.get(target, name, target);
          return typeof value === "function" ? value.bind(target) : value;
        },
      });
    },
  };
  return { adapter, calls, context: () => given as DriverContext };
}

export const stored = (batch: readonly WireRecord[]): PublishResult[] => batch.map(() => ({ ok: true }));

export function failure(code: "UNAVAILABLE" | "FORBIDDEN", sent: "no" | "maybe"): PublishResult {
  return { ok: false, error: Object.assign(new Error(code), { driverCode: code }), sent };
}

/** One member of a group in the test's hands: it gives out what `deliver` was given, and writes down what is settled. */
export class FakeSubscription implements Subscription {
  readonly created: boolean = true;
  readonly acked: string[] = [];
  readonly nacked: string[] = [];
  readonly paused = new Set<string>();
  closed = 0;
  /** Answers an ack; the default confirms at once. */
  answer: (deliveries: readonly WireDelivery[]) => Promise<readonly SettleResult[]> = async (deliveries) =>
    deliveries.map(() => "confirmed");
  readonly #waiting: WireDelivery[] = [];
  #receive: (() => void) | undefined;
  #error: unknown;

  deliver(...deliveries: readonly WireDelivery[]): void {
    this.#waiting.push(...deliveries);
    this.#receive?.();
  }

  break(error: unknown): void {
    this.#error = error;
    this.#receive?.();
  }

  async receive(max: number, _waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    while (!signal.aborted && this.#error === undefined && this.#next(max, false).length === 0) {
      await new Promise<void>((resolve) => {
        this.#receive = resolve;
        signal.addEventListener("abort", () => resolve(), { once: true });
      });
    }
    if (this.#error !== undefined) throw this.#error;
    return this.#next(max, true);
  }

  pause(shards: readonly string[]): void {
    for (const shard of shards) this.paused.add(shard);
  }

  resume(shards: readonly string[]): void {
    for (const shard of shards) this.paused.delete(shard);
    this.#receive?.();
  }

  async ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    const results = await this.answer(deliveries);
    deliveries.forEach((delivery, n) => {
      if (typeof results[n] === "string" && results[n] !== "lost") this.acked.push(delivery.id as string);
    });
    return results;
  }

  async nack(items: readonly Nack[]): Promise<readonly SettleResult[]> {
    this.nacked.push(...items.map((item) => item.delivery.id as string));
    return items.map(() => "confirmed");
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {
    this.closed++;
  }

  #next(max: number, take: boolean): WireDelivery[] {
    const given = this.#waiting.filter((delivery) => !this.paused.has(delivery.shard.id)).slice(0, max);
    if (take) for (const delivery of given) this.#waiting.splice(this.#waiting.indexOf(delivery), 1);
    return given;
  }
}

/** A delivery of a JSON number, named `<shard>.<n>` unless it is given an id. */
export function delivery(n: number, o: Partial<WireDelivery> = {}, shard: Shard = SHARD): WireDelivery {
  return {
    shard,
    place: `${shard.id}:${n}` as WireDelivery["place"],
    id: `${shard.id}.${n}`,
    key: undefined,
    headers: [],
    body: Buffer.from(String(n)),
    publishedAt: 0,
    deliveries: 1,
    failures: 0,
    inbox: false,
    leaseUntil: Number.POSITIVE_INFINITY,
    ...o,
  };
}

export const SHARD: Shard = { id: "a" };
