import type { Subscription, SubscriptionEvents } from "../../driver/driver.ts";
import type { Place, Shard, ShardId, WireDelivery, WireHeader } from "../../driver/wire.ts";
import { Fifo } from "../../primitives/fifo.ts";
import type { Strand } from "./merge.ts";
import { outerPlace, outerShard } from "./names.ts";

/** One ownership of a partition's shard, as one of the whole topic's. */
class PartShard implements Shard {
  readonly id: ShardId;
  readonly #part: Part;

  constructor(part: Part, inner: Shard) {
    this.id = outerShard(part.number, inner.id);
    this.#part = part;
  }

  get until(): number | undefined {
    return this.#part.until;
  }
}

/** A delivery of one partition, as one of the whole topic's. */
export class PartDelivery implements WireDelivery {
  readonly part: Part;
  readonly inner: WireDelivery;
  readonly shard: Shard;
  readonly place: Place | undefined;
  readonly id: string | undefined;
  readonly key: Uint8Array | undefined;
  readonly headers: readonly WireHeader[];
  readonly body: Uint8Array | null;
  readonly publishedAt: number;
  readonly deliveries: number;
  readonly failures: number;
  readonly inbox: boolean;
  /** Moves on while it waits to be handed out. */
  leaseUntil: number;

  constructor(part: Part, inner: WireDelivery) {
    this.part = part;
    this.inner = inner;
    this.shard = part.shardOf(inner.shard);
    this.place = inner.place === undefined ? undefined : outerPlace(part.number, inner.place);
    this.id = inner.id;
    this.key = inner.key;
    this.headers = inner.headers;
    this.body = inner.body;
    this.publishedAt = inner.publishedAt;
    this.deliveries = inner.deliveries;
    this.failures = inner.failures;
    this.inbox = inner.inbox;
    this.leaseUntil = inner.leaseUntil;
  }
}

/** One partition that is read here: its subscription at the backend, and what that is to the reader of the whole topic. */
export class Part implements Strand {
  readonly number: number;
  /** `undefined` while it opens. */
  inner: Subscription | undefined;
  readonly buffer: Fifo<PartDelivery> = new Fifo();
  receiving = false;
  readonly #events: SubscriptionEvents;
  readonly #until: () => number | undefined;
  readonly #shards = new WeakMap<Shard, PartShard>();
  readonly #current = new Set<PartShard>();
  #still = false;
  #over = false;

  /** `until`: when the ownership of this partition ends, if it is a lease. */
  constructor(number: number, events: SubscriptionEvents, until: () => number | undefined) {
    this.number = number;
    this.#events = events;
    this.#until = until;
  }

  /** It is being handed over. */
  get still(): boolean {
    return this.#still;
  }

  get over(): boolean {
    return this.#over;
  }

  get until(): number | undefined {
    return this.#over ? Number.NEGATIVE_INFINITY : this.#until();
  }

  shardOf(inner: Shard): PartShard {
    const known = this.#shards.get(inner);
    if (known !== undefined) return known;
    const shard = new PartShard(this, inner);
    this.#shards.set(inner, shard);
    this.#current.add(shard);
    return shard;
  }

  /** Whether it is one of its ownerships now. */
  has(shard: Shard): boolean {
    return shard instanceof PartShard && this.#current.has(shard);
  }

  /** What the partition's own subscription says, said of the whole topic. */
  get events(): SubscriptionEvents {
    const { number } = this;
    const place = (inner: Place | undefined): Place | undefined => (inner === undefined ? undefined : outerPlace(number, inner));
    return {
      releasing: (shard) => this.#events.releasing(this.shardOf(shard)),
      lost: (inner, reason) => {
        const shard = this.shardOf(inner);
        this.#current.delete(shard);
        this.buffer.filter((delivery) => delivery.shard !== shard);
        this.#events.lost(shard, reason);
      },
      state: (shard, state, error) => this.#events.state(outerShard(number, shard), state, error),
      dataLoss: (shard, from, to, missing) => this.#events.dataLoss(outerShard(number, shard), place(from), place(to), missing),
    };
  }

  async fill(max: number, waitMs: number, signal: AbortSignal): Promise<void> {
    const deliveries = (await this.inner?.receive(max, waitMs, signal)) ?? [];
    // What comes too late stays unsettled: the subscription gives it back when it closes.
    if (this.#over || this.#still) return;
    for (const delivery of deliveries) this.buffer.push(new PartDelivery(this, delivery));
  }

  /** Stops receiving. Resolves when whatever was begun of it is handled and acknowledged. */
  async drain(): Promise<void> {
    this.#still = true;
    this.buffer.drain();
    await Promise.all([...this.#current].map((shard) => this.#events.releasing(shard)));
  }

  /** It is no longer ours. */
  lose(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.buffer.drain();
    for (const shard of this.#current) this.#events.lost(shard, reason);
    this.#current.clear();
  }
}
