// #region subscription
import type { Clock, SettleResult, Shard, Subscription, SubscriptionEvents, WireDelivery } from "brokerkit/driver";
import { type Item, type Queue, ShelfError } from "./shelf.ts";

/** The object itself is what core hands back to be settled, so it may carry what settling needs. */
interface Held extends WireDelivery {
  readonly item: Item;
}

/** One member of a group. */
export class ShelfSubscription implements Subscription {
  readonly created: boolean;
  readonly #queue: Queue;
  readonly #clock: Clock;
  readonly #events: SubscriptionEvents;
  /** One ownership: all that this member holds, until it leaves or the link breaks. */
  readonly #shard: Shard = { id: "0" };
  readonly #held = new Set<WireDelivery>();
  #closed = false;
  #broken: Error | undefined;

  constructor(queue: Queue, created: boolean, clock: Clock, events: SubscriptionEvents) {
    this.#queue = queue;
    this.created = created;
    this.#clock = clock;
    this.#events = events;
  }

  async receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    if (this.#queue.items.length === 0 && !this.#over(signal)) await this.#wait(waitMs, signal);
    if (this.#broken !== undefined) throw this.#broken; // `lost` was raised before
    if (this.#queue.deleted) throw new ShelfError("no such group", "The group was deleted.");
    // Nothing is taken after an abort that would then have to be dropped.
    if (this.#over(signal)) return [];
    const deliveries = this.#queue.items.splice(0, max).map((item) => this.#delivery(item));
    for (const delivery of deliveries) this.#held.add(delivery);
    return deliveries;
  }

  #over(signal: AbortSignal): boolean {
    return this.#closed || this.#broken !== undefined || this.#queue.deleted || signal.aborted;
  }

  /** Resolves when there may be something, the time is over, or the signal aborts. Leaves no timer and no listener behind. */
  #wait(waitMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        timer.cancel();
        unlisten();
        signal.removeEventListener("abort", end);
        resolve();
      };
      const unlisten = this.#queue.onChange(end);
      const timer = this.#clock.timer(waitMs, end); // core's clock, so that tests can own time
      signal.addEventListener("abort", end);
    });
  }

  #delivery(item: Item): Held {
    return {
      item,
      shard: this.#shard,
      place: undefined,
      id: item.id,
      key: item.key,
      headers: item.headers,
      body: item.body,
      publishedAt: item.at,
      deliveries: 1,
      failures: 0,
      inbox: false,
      leaseUntil: Number.POSITIVE_INFINITY,
    };
  }

  async ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    return deliveries.map((delivery) => (this.#held.delete(delivery) ? "confirmed" : "lost"));
  }

  async flush(): Promise<void> {} // `ack` has confirmed already

  /** The link is gone: everything held goes back to the group, and core is told before anybody else can have it. */
  break(error: Error): void {
    if (this.#closed || this.#broken !== undefined) return;
    this.#broken = error;
    this.#events.lost(this.#shard, error.message);
    this.#leave();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#leave();
  }

  #leave(): void {
    const items = [...this.#held].map((delivery) => (delivery as Held).item);
    this.#held.clear();
    if (!this.#queue.deleted) this.#queue.giveBack(items);
    this.#queue.wake();
  }
}
// #endregion
