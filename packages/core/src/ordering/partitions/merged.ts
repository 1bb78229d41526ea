import type { Clock } from "../../driver/adapter.ts";
import type { Capabilities } from "../../driver/capabilities.ts";
import type { Nack, Subscription } from "../../driver/driver.ts";
import type { Cut, SettleResult, Shard, ShardId, WireDelivery } from "../../driver/wire.ts";
import { type Deferred, deferred } from "../../primitives/deferred.ts";
import { Leases } from "../../primitives/leases.ts";
import { Merge } from "./merge.ts";
import { innerShard, outerCut } from "./names.ts";
import { type Part, PartDelivery } from "./part.ts";

export interface MergedWiring {
  readonly clock: Clock;
  /** What the partitions' topics can do. */
  readonly capabilities: Capabilities;
  readonly created: boolean;
  readonly broadcast: boolean;
  /** Called before anything is handed out or settled: ends what is over. */
  readonly check: () => void;
  /** A part's receive has failed: to be answered by `fail`. */
  readonly broken: (error: unknown) => void;
  /** An ownership of this part is given up, because some of it is lost: all of it comes again. */
  readonly forfeit: (part: Part) => void;
  /** Leaves, and closes the parts by what it is given. */
  readonly leave: (closeParts: () => Promise<unknown>) => Promise<unknown>;
}

/** Several partitions' subscriptions as one. Parts come and go while it is read. */
export class Merged implements Subscription {
  readonly created: boolean;
  readonly nack?: (items: readonly Nack[]) => Promise<readonly SettleResult[]>;
  readonly extend?: (deliveries: readonly WireDelivery[], ms: number) => Promise<readonly SettleResult[]>;
  readonly #wiring: MergedWiring;
  readonly #merge: Merge<Part>;
  /** Of what is received and not handed out yet: core keeps those of the rest. */
  readonly #leases: Leases<PartDelivery>;
  readonly #parts = new Map<number, Part>();
  /** Broadcast: what closing has to close, whether it is still read or not. */
  readonly #readers: Part[] = [];
  readonly #paused = new Set<ShardId>();
  readonly #ended: Deferred<void> = deferred<void>();
  #closing: Promise<void> | undefined;

  constructor(wiring: MergedWiring) {
    const { capabilities, clock, broadcast } = wiring;
    this.created = wiring.created;
    this.#wiring = wiring;
    const { maxWaitMs } = capabilities.receive;
    this.#merge = new Merge(clock, maxWaitMs, { broken: wiring.broken, kept: () => this.#leases.watch(), stale: wiring.forfeit });
    this.#leases = new Leases({
      clock,
      leaseMs: broadcast ? 0 : capabilities.lease.ms,
      owned: () => this.parts.flatMap(({ buffer }) => [...buffer]),
      extend: capabilities.lease.extend
        ? async (waiting, ms): Promise<readonly SettleResult[]> => (await this.extend?.(waiting, ms)) ?? []
        : undefined,
      expired: (waiting) => {
        for (const part of new Set(waiting.map((delivery) => delivery.part))) if (!part.over) wiring.forfeit(part);
      },
    });
    if (broadcast) return;
    if (capabilities.redelivery.native) {
      this.nack = (items) =>
        this.#settle(
          items,
          ({ delivery }) => delivery,
          async (inner, own) =>
            (await inner.nack?.(own.map(({ delivery, item }) => ({ ...item, delivery: delivery.inner })))) ?? own.map(() => LOST),
        );
    }
    if (capabilities.lease.extend) {
      this.extend = (deliveries, ms) =>
        this.#settle(deliveries, same, async (inner, own) => (await inner.extend?.(innersOf(own), ms)) ?? own.map(() => LOST));
    }
  }

  /** Broadcast: where each partition's reader began; `undefined` where one can't say. */
  get start(): Cut | undefined {
    if (!this.#wiring.broadcast) return undefined;
    const starts = [...this.#parts.values()].sort((a, b) => a.number - b.number).map((part) => part.inner?.start);
    return starts.includes(undefined) ? undefined : outerCut(starts as Cut[]);
  }

  part(number: number): Part | undefined {
    return this.#parts.get(number);
  }

  get parts(): readonly Part[] {
    return [...this.#parts.values()];
  }

  /** The part is open: it is received from, from now on. */
  add(part: Part): void {
    this.#parts.set(part.number, part);
    if (this.#wiring.broadcast) this.#readers.push(part);
    for (const shard of this.#paused) this.#pause(shard, true);
    this.#merge.add(part);
  }

  /** The part is no longer ours: nothing of it is handed out any more. Its subscription is closed by whoever says so. */
  drop(part: Part, reason: string): void {
    if (this.#parts.get(part.number) === part) this.#parts.delete(part.number);
    this.#merge.remove(part);
    part.lose(reason);
  }

  /** It can't go on: all is lost, and receiving rejects. */
  fail(error: unknown): void {
    for (const part of this.parts) this.drop(part, "its subscription failed");
    this.#merge.fail(error);
  }

  receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    this.#wiring.check();
    return this.#merge.receive(max, waitMs, signal);
  }

  pause(shards?: readonly ShardId[]): void {
    if (shards === undefined) for (const part of this.parts) part.inner?.pause?.();
    for (const shard of shards ?? []) {
      this.#paused.add(shard);
      this.#pause(shard, true);
    }
  }

  resume(shards: readonly ShardId[]): void {
    for (const shard of shards) {
      this.#paused.delete(shard);
      this.#pause(shard, false);
    }
  }

  ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    return this.#settle(deliveries, same, (inner, own) => inner.ack(innersOf(own)));
  }

  forfeit(shard: Shard): void {
    const part = this.parts.find((one) => one.has(shard));
    if (part !== undefined) this.#wiring.forfeit(part);
  }

  async flush(): Promise<void> {
    await Promise.all(this.parts.map((part) => part.inner?.flush()));
  }

  /** Resolves when it is closed. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#merge.close();
    this.#leases.stop();
    const open = (): readonly Part[] => (this.#wiring.broadcast ? this.#readers : this.parts);
    await this.#wiring.leave(() => Promise.allSettled(open().map((part) => part.inner?.close())));
    this.#ended.resolve();
  }

  #pause(outer: ShardId, paused: boolean): void {
    const { part, shard } = innerShard(outer);
    const inner = this.#parts.get(part)?.inner;
    if (paused) inner?.pause?.([shard]);
    else inner?.resume?.([shard]);
  }

  /** Settles each partition's own at its own subscription; what is no longer ours is lost. Results are in the order of the items. */
  async #settle<T>(
    items: readonly T[],
    deliveryOf: (item: T) => WireDelivery,
    settle: (inner: Subscription, own: readonly Own<T>[]) => Promise<readonly SettleResult[]>,
  ): Promise<readonly SettleResult[]> {
    this.#wiring.check();
    const results: SettleResult[] = items.map(() => LOST);
    const groups = new Map<Part, Own<T>[]>();
    for (const [at, item] of items.entries()) {
      const delivery = deliveryOf(item);
      if (!(delivery instanceof PartDelivery) || delivery.part.over) continue;
      const group = groups.get(delivery.part);
      if (group === undefined) groups.set(delivery.part, [{ at, item, delivery }]);
      else group.push({ at, item, delivery });
    }
    await Promise.all(
      [...groups].map(async ([part, own]) => {
        let answers: readonly SettleResult[];
        try {
          answers = await settle(part.inner as Subscription, own);
        } catch (error) {
          answers = own.map(() => ({ error }));
        }
        for (const [n, { at }] of own.entries()) results[at] = answers[n] ?? LOST;
      }),
    );
    return results;
  }
}

interface Own<T> {
  /** Its turn among all items. */
  readonly at: number;
  readonly item: T;
  readonly delivery: PartDelivery;
}

const LOST = "lost";

function same(delivery: WireDelivery): WireDelivery {
  return delivery;
}

function innersOf(own: readonly Own<WireDelivery>[]): WireDelivery[] {
  return own.map(({ delivery }) => delivery.inner);
}
