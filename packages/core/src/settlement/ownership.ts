import type { Clock } from "../driver/adapter.ts";
import type { Subscription } from "../driver/driver.ts";
import type { Shard } from "../driver/wire.ts";
import { BrokerError } from "../errors.ts";
import { Chain } from "../primitives/chain.ts";
import { Leases } from "../primitives/leases.ts";
import { sleep } from "../primitives/sleep.ts";
import type { Entry } from "./entry.ts";
import { Settler } from "./settler.ts";
import { ShardHold } from "./shard-hold.ts";

const ACK_PAUSE_MS = 100;

export interface OwnershipWiring {
  readonly clock: Clock;
  /** Broadcast readers own nothing: settling is theirs alone. */
  readonly broadcast: boolean;
  readonly unit: "message" | "entry" | "prefix";
  readonly hold: { readonly maxUnacked: number; readonly scope: "shard" | "subscription" | "group" };
  readonly lease: { readonly ms: number; readonly extend: boolean };
  /** The driver's subscription of the moment. */
  readonly side: () => Subscription | undefined;
  /** No longer ours; it was in this state. */
  readonly lost: (entry: Entry, was: Entry["state"]) => void;
  readonly told: (entries: number, shard: string, reason: string) => void;
  readonly settled: () => void;
  readonly errorOf: (error: unknown) => BrokerError;
  /** A log that can't be acknowledged any more: whatever else is handled would be handled again. */
  readonly refused: (error: BrokerError) => void;
  /** No further tries. */
  readonly stop: AbortSignal;
}

/** Everything a subscription owns: keeps its leases, settles it, and knows when it is no longer ours. */
export class Ownership {
  readonly #wiring: OwnershipWiring;
  readonly #owned = new Chain<Entry>();
  readonly #settler: Settler;
  readonly #leases: Leases<Entry>;
  readonly #hold: ShardHold | undefined;
  /** What a driver gives out under these came too late: their ownership is over. */
  readonly #lostShards = new WeakSet<Shard>();
  /** Shards that are being handed over, and who waits for that. */
  readonly #releasing = new Map<Shard, PromiseWithResolvers<void>>();
  #bytes = 0;

  constructor(wiring: OwnershipWiring) {
    this.#wiring = wiring;
    this.#settler = new Settler({
      unit: wiring.unit,
      ack: (deliveries) => this.#side().ack(deliveries),
      over: (entry, verdict) => {
        if (verdict === "settled") this.#over(entry);
        else this.#gone([entry], "somebody else owns it");
      },
      failed: (error) => this.#ackFailed(error),
    });
    const { scope, maxUnacked } = wiring.hold;
    if (scope === "shard" && Number.isFinite(maxUnacked) && !wiring.broadcast) {
      this.#hold = new ShardHold(
        maxUnacked,
        (shard) => wiring.side()?.pause?.([shard]),
        (shard) => wiring.side()?.resume?.([shard]),
      );
    }
    this.#leases = new Leases({
      clock: wiring.clock,
      leaseMs: wiring.broadcast ? 0 : wiring.lease.ms,
      owned: () => this.#owned,
      extend: wiring.lease.extend && !wiring.broadcast ? (entries, ms) => this.#extendOnWire(entries, ms) : undefined,
      expired: (entries) => this.#gone(entries, "its lease ran out"),
    });
  }

  get size(): number {
    return this.#owned.size;
  }

  /** Acks on their way. */
  get settling(): number {
    return this.#settler.pending;
  }

  /** Handled and acknowledged behind a gap: owned, but nobody's work any more. */
  get recorded(): number {
    return this.#settler.recorded;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** False: it came after its shard was lost, or while that is handed over. */
  add(entry: Entry): boolean {
    if (this.#lostShards.has(entry.wire.shard) || this.#releasing.has(entry.wire.shard)) return false;
    this.#owned.add(entry);
    this.#bytes += entry.bytes;
    if (!this.#wiring.broadcast) this.#settler.delivered(entry);
    this.#hold?.added(entry.wire.shard.id);
    return true;
  }

  /** A shard, or all there is, waits for what is held. */
  get stalled(): boolean {
    return this.#hold === undefined ? this.size >= this.#wiring.hold.maxUnacked : this.#hold.paused > 0;
  }

  /** Call after adding: starts the lease clock. */
  watch(): void {
    this.#leases.watch();
  }

  /** The fence: past its lease it is somebody else's, whether a timer has said so or not. */
  owns(entry: Entry, now: number): boolean {
    if (entry.state === "lost" || entry.state === "over") return false;
    if (this.#wiring.broadcast) return true;
    const { shard } = entry.wire;
    if (shard.until !== undefined && shard.until <= now) {
      this.loseShard(shard, "the lease of its shard ran out");
      return false;
    }
    if (entry.leaseUntil > now) return true;
    this.#gone([entry], "its lease ran out");
    return false;
  }

  /** Hands it to the settler, unless it is no longer ours: then nothing goes to the wire. */
  settle(entry: Entry): void {
    if (entry.state === "settling" || !this.owns(entry, this.#wiring.clock.monotonic())) return;
    entry.state = "settling";
    if (this.#wiring.broadcast) this.#over(entry);
    else this.#settler.add(entry);
  }

  /** At least `ms` more; false where it is no longer ours. */
  extend(entry: Entry, ms: number): Promise<boolean> {
    return this.#wiring.broadcast ? Promise.resolve(true) : this.#leases.extend(entry, ms);
  }

  /**
   * Begins to hand a shard over: what of it no handler has is dropped, for its next owner. Resolves when the rest is handled and its acks
   * are answered. What waits behind a gap that was dropped has no answer to come.
   */
  async release(shard: Shard): Promise<void> {
    if (this.#wiring.broadcast || this.#lostShards.has(shard)) return;
    const idle = this.#releasing.get(shard) ?? Promise.withResolvers<void>();
    this.#releasing.set(shard, idle);
    this.looseEnds();
    await idle.promise;
    await this.#settler.flush();
  }

  /** A run or a copy is over: looks whether what is handed over is idle now. What is to be tried again, its next owner will try. */
  looseEnds(): void {
    for (const [shard, idle] of this.#releasing) {
      const entries = [...this.#owned].filter((entry) => entry.wire.shard === shard);
      const unstarted = entries.filter(({ state }) => state === "buffered" || state === "waiting");
      if (unstarted.length > 0) this.#lose(unstarted, "its shard is handed over");
      if (!entries.some(({ state }) => state === "running" || state === "copying")) idle.resolve();
    }
  }

  /** All of one ownership (`undefined`: all there is). Broadcast readers lose nothing: what they have got nobody gets again. */
  loseShard(shard: Shard | undefined, reason: string): void {
    if (this.#wiring.broadcast) return;
    if (shard !== undefined) this.#lostShards.add(shard);
    for (const [one, idle] of this.#releasing) {
      if (shard !== undefined && one !== shard) continue;
      this.#releasing.delete(one);
      idle.resolve();
    }
    this.#settler.lost(shard);
    this.#lose(
      [...this.#owned].filter((entry) => shard === undefined || entry.wire.shard === shard),
      reason,
    );
  }

  /** Deliveries that turn out to be somebody else's. In a log, and where a member reads a shard alone, one stands for its shard. */
  #gone(entries: readonly Entry[], reason: string): void {
    const { unit, side } = this.#wiring;
    for (const shard of new Set(entries.map((entry) => entry.wire.shard))) {
      const alone = shard.until !== undefined;
      if (unit === "prefix" || alone) this.loseShard(shard, reason);
      if (alone) side()?.forfeit?.(shard);
    }
    this.#lose(entries, reason);
  }

  #lose(entries: readonly Entry[], reason: string): void {
    let count = 0;
    let shard = "";
    for (const entry of entries) {
      const was = entry.state;
      if (was === "lost" || was === "over") continue;
      entry.state = "lost";
      count++;
      shard = entry.wire.shard.id;
      this.#disown(entry);
      entry.awaiting?.reject(lostError(entry));
      this.#wiring.lost(entry, was);
    }
    if (count > 0) this.#wiring.told(count, shard, reason);
  }

  /** Gives back what will not be handled here, in order and without counting a failure. */
  async handBack(entries: readonly Entry[]): Promise<void> {
    const given = new Set(entries);
    const back = this.all().filter((entry) => given.has(entry) && entry.state !== "settling");
    const items = back.map((entry) => ({ delivery: entry.wire, delayMs: 0, failures: entry.failures }));
    for (const entry of back) {
      entry.state = "lost";
      this.#disown(entry);
    }
    const side = this.#wiring.side();
    // Where no native command does it, leaving the subscription does.
    if (items.length > 0 && !this.#wiring.broadcast) await side?.nack?.(items).catch(() => {});
  }

  all(): Entry[] {
    return [...this.#owned];
  }

  /** Resolves when every ack given so far has its answer. */
  flush(): Promise<void> {
    return this.#settler.flush();
  }

  stop(): void {
    this.#leases.stop();
  }

  /** An ack met an error: worth another try while the link can come back and the delivery is ours. */
  async #ackFailed(error: unknown): Promise<"again" | "lost"> {
    const { errorOf, refused, unit, stop, clock } = this.#wiring;
    if (stop.aborted) return "lost";
    const met = errorOf(error);
    if (!met.retryable && unit === "prefix") refused(met);
    if (!met.retryable) return "lost";
    await sleep(clock, ACK_PAUSE_MS, stop);
    return "again";
  }

  #over(entry: Entry): void {
    entry.state = "over";
    this.#disown(entry);
    entry.awaiting?.resolve();
    this.#wiring.settled();
  }

  #disown(entry: Entry): void {
    this.#owned.remove(entry);
    this.#bytes -= entry.bytes;
    this.#hold?.removed(entry.wire.shard.id);
  }

  #side(): Subscription {
    const side = this.#wiring.side();
    if (side === undefined) throw new Error("settled before subscribed");
    return side;
  }

  async #extendOnWire(entries: readonly Entry[], ms: number): ReturnType<NonNullable<Subscription["extend"]>> {
    const side = this.#side();
    return (
      (await side.extend?.(
        entries.map((entry) => entry.wire),
        ms,
      )) ?? []
    );
  }
}

export function lostError(entry: Entry): BrokerError {
  const text = `Delivery of "${entry.id}" is no longer ours: its lease or connection was lost, and another member may have it. Nothing was sent.`;
  return new BrokerError("LOST_OWNERSHIP", text, { details: undefined });
}
