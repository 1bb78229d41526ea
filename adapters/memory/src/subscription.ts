import {
  type Clock,
  type Cut,
  driverError,
  type Nack,
  type SettleResult,
  type ShardId,
  type Subscription,
  type WireDelivery,
} from "brokerkit/driver";
import { beyond } from "./errors.ts";
import { Delivery } from "./scripts/delivery.ts";
import type { Group } from "./scripts/group.ts";
import type { Member } from "./scripts/queue.ts";
import type { Source } from "./scripts/source.ts";
import type { World } from "./scripts/world.ts";

interface Wiring {
  readonly world: World;
  readonly member: Member;
  readonly source: Source;
  /** `undefined`: broadcast. */
  readonly group: Group | undefined;
  readonly created: boolean;
  readonly start: Cut | undefined;
  readonly closed: (subscription: MemorySubscription) => void;
}

/** One member of a group, or one broadcast reader. */
export class MemorySubscription implements Subscription {
  readonly created: boolean;
  readonly start: Cut | undefined;
  readonly nack?: (items: readonly Nack[]) => Promise<readonly SettleResult[]>;
  readonly extend?: (deliveries: readonly WireDelivery[], ms: number) => Promise<readonly SettleResult[]>;
  readonly #wiring: Wiring;
  readonly #source: Source;
  readonly #member: Member;
  readonly #clock: Clock;
  readonly #ack: SettleResult;
  #receiving = 0;
  #closed = false;

  constructor(wiring: Wiring) {
    const { world, group, member } = wiring;
    const { redelivery, lease, settle } = world.record;
    this.created = wiring.created;
    this.start = wiring.start;
    this.#wiring = wiring;
    this.#source = wiring.source;
    this.#member = member;
    this.#clock = world.clock;
    this.#ack = settle.ack;
    if (group === undefined) return;
    if (redelivery.native) {
      this.nack = async (items) => {
        for (const { delayMs } of items) if (delayMs > redelivery.maxDelayMs) throw beyond(`nack for ${delayMs} ms`);
        return this.#each(
          items,
          (delivery, now, { failures, delayMs }) => group.nack(member, delivery, failures, now + delayMs, now),
          "confirmed",
        );
      };
    }
    if (lease.ms > 0 && lease.extend) {
      this.extend = async (deliveries, ms) =>
        this.#each(deliveries, (delivery, now) => group.extend(member, delivery, ms, now), "confirmed");
    }
  }

  receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    const { receive } = this.#wiring.world.record;
    if (max > receive.maxRecords || waitMs > receive.maxWaitMs) return Promise.reject(beyond(`receive(${max}, ${waitMs})`));
    if (this.#receiving >= receive.concurrency) return Promise.reject(beyond(`more than ${receive.concurrency} receives at once`));
    if (this.#closed) return Promise.reject(driverError("CLOSED", "The subscription is closed. Subscribe again."));
    if (this.#source.error !== undefined) return Promise.reject(this.#source.error);
    if (signal.aborted) return Promise.resolve([]);
    const deliveries = this.#source.take(this.#member, max, this.#clock.monotonic());
    if (deliveries.length > 0 || waitMs <= 0 || this.#closed) return Promise.resolve(deliveries);
    this.#receiving++;
    const waited = this.#source.line.wait(this.#member, max, waitMs, signal, this.#clock).finally(() => this.#receiving--);
    this.#wiring.group?.arm();
    return waited;
  }

  pause(shards: readonly ShardId[]): void {
    this.#source.pause(this.#member, shards, true);
  }

  resume(shards: readonly ShardId[]): void {
    this.#source.pause(this.#member, shards, false);
    this.#source.serve(this.#clock.monotonic());
  }

  ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    return Promise.resolve(this.#each(deliveries, (delivery, now) => this.#source.ack(this.#member, delivery, now), this.#ack));
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#source.leave(this.#member, this.#clock.monotonic());
    this.#wiring.closed(this);
  }

  /** Settles one by one; then whoever waits may get what became free. */
  #each<T extends WireDelivery | Nack>(
    items: readonly T[],
    settle: (delivery: Delivery, now: number, item: T) => boolean,
    done: SettleResult,
  ): SettleResult[] {
    const now = this.#clock.monotonic();
    const results = items.map((item): SettleResult => {
      const delivery = "delivery" in item ? item.delivery : item;
      return delivery instanceof Delivery && settle(delivery, now, item) ? done : "lost";
    });
    this.#source.serve(now);
    return results;
  }
}
