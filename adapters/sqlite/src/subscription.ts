import { randomInt } from "node:crypto";
import type { Nack, SettleResult, Shard, SubscribeRequest, Subscription, WireDelivery } from "brokerkit/driver";
import type { Client } from "./client.ts";
import { notFound, unavailable } from "./errors.ts";
import { type Handed, INBOX_SHARD, TOPIC_SHARD } from "./mapping.ts";
import { findLog, promote } from "./scripts/append.ts";
import * as claims from "./scripts/claim.ts";
import { tellLoss } from "./scripts/start.ts";
import { later } from "./scripts/store.ts";
import type { GroupRow } from "./scripts/topics.ts";

/**
 * Core is told that a lease ends this much earlier than the file says. Leases lie in the file as wall time, since other processes have to
 * judge them; core counts on its monotonic clock. A wall clock set forward lets another member have a message early: a duplicate, as
 * after any lease that ended, and the former owner's settlement answers "lost". One set back delays redelivery by as much. Neither loses
 * anything: ownership is the claim's owner and token, time only says when another may take it. All processes share one machine's clock.
 */
const LEASE_MARGIN_MS = 20;

/** One member of a group. */
export class GroupSubscription implements Subscription {
  readonly created: boolean;
  readonly #client: Client;
  readonly #request: SubscribeRequest & { readonly group: string };
  readonly #group: GroupRow;
  readonly #member: claims.Member;
  readonly #onClose: () => void;
  readonly #paused = new Set<string>();
  #topic: Shard = { id: TOPIC_SHARD };
  readonly #inbox: Shard = { id: INBOX_SHARD };
  #epoch: number;
  #tokens = 0;
  #closed = false;
  /** Why this subscription is over, other than by `close`. */
  #gone: Error | undefined;

  constructor(
    client: Client,
    request: SubscribeRequest & { readonly group: string },
    group: GroupRow,
    created: boolean,
    onClose: () => void,
  ) {
    this.#client = client;
    this.#request = request;
    this.#group = group;
    this.#epoch = group.epoch;
    this.#member = { group: group.id, inbox: group.inbox, owner: randomInt(1, 2 ** 48 - 1) };
    this.#onClose = onClose;
    this.created = created;
  }

  // ---- receiving
  async receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    try {
      return await this.#client.poll<Handed>(this.#group.log, waitMs, signal, async () => {
        if (this.#gone !== undefined) throw this.#gone;
        if (this.#closed) return [];
        if (this.#paused.size > 0) return Number.POSITIVE_INFINITY;
        const due = await this.#client.transact("read", () => claims.nextDue(this.#state()), signal);
        if (due > this.#client.now()) return due;
        const found = await this.#client.transact("write", () => (this.#closed ? [] : this.#claim(max)), signal);
        // Nothing: only messages of busy keys so far.
        return found.length > 0 ? found : 0;
      });
    } catch (error) {
      this.check();
      throw this.#gone ?? error;
    }
  }

  #state(): claims.State {
    const state = claims.stateOf(this.#client, this.#group.id);
    if (state === undefined) throw notFound(this.#request.topic, this.#request.group);
    if (state.epoch !== this.#epoch) this.check();
    return state;
  }

  #claim(max: number): Handed[] {
    const { leaseMs } = this.#client.settings;
    const leaseUntil = this.#client.monotonic() + leaseMs - LEASE_MARGIN_MS;
    const now = this.#client.now();
    const { topic, group, events } = this.#request;
    if ((this.#state().delay ?? now + 1) <= now) {
      for (const log of [findLog(this.#client, topic), findLog(this.#client, topic, group)]) if (log) promote(this.#client, log, now);
    }
    const { next, last, floor } = this.#state();
    // Told before it is forgotten: should the process end in between, the next member is told again.
    const loss = claims.takeLoss(this.#client, this.#group.id);
    if (loss !== undefined) tellLoss(events, loss);
    const token = ++this.#tokens;
    const lost: number[] = [];
    const mine = (shard: Shard, log: number) => ({ shard, log, token, leaseUntil });
    const [ofTopic, ofInbox] = [mine(this.#topic, this.#group.log), mine(this.#inbox, this.#group.inbox)];
    const who = { ...this.#member, topic: ofTopic, inbox: ofInbox, next, last, floor, now, due: now + leaseMs, max };
    const found = claims.claim(this.#client, { ...who, lost: (seq) => lost.push(seq) });
    if (lost.length > 0) tellLoss(events, { first: Math.min(...lost), last: Math.max(...lost), missing: lost.length });
    return found;
  }

  pause(shards: readonly string[]): void {
    for (const shard of shards) this.#paused.add(shard);
  }

  resume(shards: readonly string[]): void {
    for (const shard of shards) this.#paused.delete(shard);
    this.#client.nudge(this.#group.log);
  }

  // ---- ownership
  /** Sees whether the group was moved or deleted, or the connection lost, and says so before anything else is handed out. */
  check(): void {
    if (this.#closed || this.#gone !== undefined) return;
    const epoch = this.#client.open ? claims.epochOf(this.#client, this.#group.id) : this.#epoch;
    if (epoch === this.#epoch && this.#client.open) return;
    if (!this.#client.open) this.#gone = unavailable("The connection to the file was lost.");
    else if (epoch === undefined) this.#gone = notFound(this.#request.topic, this.#request.group);
    this.#epoch = epoch ?? this.#epoch;
    const before = this.#topic;
    this.#topic = { id: TOPIC_SHARD };
    this.#request.events.lost(before, this.#gone?.message ?? "The group was moved.");
    // Moving a group touches nothing in its inbox.
    if (this.#gone !== undefined) this.#request.events.lost(this.#inbox, this.#gone.message);
  }

  // ---- settling
  ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    return this.#settle(deliveries as readonly Handed[], (mine) => claims.acknowledge(this.#client, this.#member, mine));
  }

  nack(items: readonly Nack[]): Promise<readonly SettleResult[]> {
    const now = this.#client.now();
    return this.#settle(items, (mine) =>
      mine.map(({ delivery, delayMs, failures }) =>
        claims.giveBack(this.#client, this.#member, delivery as Handed, later(now, delayMs), failures),
      ),
    );
  }

  extend(deliveries: readonly WireDelivery[], ms: number): Promise<readonly SettleResult[]> {
    const due = later(this.#client.now(), ms);
    return this.#settle(deliveries as readonly Handed[], (mine) =>
      mine.map((handed) => claims.extendLease(this.#client, this.#member, handed, due)),
    );
  }

  async #settle<T>(items: readonly T[], settle: (items: readonly T[]) => boolean[]): Promise<SettleResult[]> {
    if (this.#gone !== undefined) return items.map(() => "lost");
    const done = await this.#client.transact("write", () => {
      const settled = settle(items);
      if (claims.anyFreed(this.#client, this.#group.id)) this.#client.changed(this.#group.log);
      return settled;
    });
    if (done.includes(false)) this.check();
    return done.map((ours) => (ours ? "confirmed" : "lost"));
  }

  flush(): Promise<void> {
    return this.#client.durable();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#onClose();
    this.#client.nudge(this.#group.log);
    try {
      await this.#client.transact("write", () => {
        if (claims.releaseAll(this.#client, this.#member, this.#client.now())) this.#client.changed(this.#group.log);
      });
      await this.#client.durable();
    } catch {
      // Locked or gone: what is unsettled comes back when its lease ends.
    }
  }
}
