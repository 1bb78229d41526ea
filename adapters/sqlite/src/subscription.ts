import { randomInt } from "node:crypto";
import type { Nack, SettleResult, Shard, SubscribeRequest, Subscription, WireDelivery } from "brokerkit/driver";
import type { Client } from "./client.ts";
import { type Loss, tellLoss } from "./cursor.ts";
import { notFound, unavailable } from "./errors.ts";
import { type Handed, INBOX_SHARD, TOPIC_SHARD } from "./mapping.ts";
import { later } from "./publisher.ts";
import { findLog, promote } from "./scripts/append.ts";
import { acknowledge, anyFreed, claim, extendLease, giveBack, type Member, releaseAll } from "./scripts/claim.ts";

export type GroupRow = Readonly<Record<"id" | "log" | "inbox" | "next" | "epoch", number>>;
/** What a reader needs to know before it claims. `due`: when a claim, `delay`: when a delayed message is next to be looked at. */
type State = Readonly<Record<"epoch" | "next" | "last" | "floor" | "loss", number> & { due: number | null; delay: number | null }>;

const STATE = `SELECT g.epoch, g.next, l.last, l.floor, EXISTS (SELECT 1 FROM losses WHERE grp = g.id) AS loss,
  (SELECT min(due) FROM (SELECT min(due) AS due FROM delayed WHERE log = g.log UNION ALL SELECT min(due) FROM delayed WHERE log = g.inbox)) AS delay,
  (WITH lanes(n) AS (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9))
    SELECT min((SELECT due FROM claims WHERE grp = g.id AND lane = n AND due >= 0 ORDER BY due LIMIT 1)) FROM lanes) AS due
  FROM groups g JOIN logs l ON l.id = g.log WHERE g.id = ?1`;
const LOSS = "DELETE FROM losses WHERE grp = ?1 RETURNING first, last, missing";
const EPOCH = "SELECT epoch FROM groups WHERE id = ?1";
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
  readonly #member: Member;
  readonly #onClose: () => void;
  readonly #paused = new Set<string>();
  #topic: Shard = { id: TOPIC_SHARD };
  #inbox: Shard = { id: INBOX_SHARD };
  #epoch: number;
  #tokens = 0;
  #closed = false;
  /** Why this subscription is over, other than by `close`. */
  #gone: Error | undefined;

  constructor(client: Client, request: SubscribeRequest & { readonly group: string }, group: GroupRow, created: boolean, onClose: () => void) {
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
        const due = await this.#client.transact("read", () => this.#nextDue(), signal);
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

  #state(): State {
    const state = this.#client.one<State>(STATE, this.#group.id);
    if (state === undefined) throw notFound(this.#request.topic, this.#request.group);
    if (state.epoch !== this.#epoch) this.check();
    return state;
  }

  /** When there will be something to claim; 0 for now. */
  #nextDue(): number {
    const { next, last, loss, due, delay } = this.#state();
    const none = Number.POSITIVE_INFINITY;
    return next <= last || loss === 1 ? 0 : Math.min(due ?? none, delay ?? none);
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
    const loss = this.#client.one<Loss>(LOSS, this.#group.id);
    if (loss !== undefined) tellLoss(events, loss);
    const token = ++this.#tokens;
    const lost = (seq: number): void => tellLoss(events, { first: seq, last: seq, missing: 1 });
    const mine = (shard: Shard, log: number) => ({ shard, log, token, leaseUntil });
    const [ofTopic, ofInbox] = [mine(this.#topic, this.#group.log), mine(this.#inbox, this.#group.inbox)];
    return claim(this.#client, { ...this.#member, topic: ofTopic, inbox: ofInbox, next, last, floor, now, due: now + leaseMs, max, lost });
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
    const epoch = this.#client.open ? this.#client.one<{ epoch: number }>(EPOCH, this.#group.id)?.epoch : this.#epoch;
    if (epoch === this.#epoch && this.#client.open) return;
    if (!this.#client.open) this.#gone = unavailable("The connection to the file was lost.");
    else if (epoch === undefined) this.#gone = notFound(this.#request.topic, this.#request.group);
    const before = [this.#topic, this.#inbox];
    this.#epoch = epoch ?? this.#epoch;
    this.#topic = { id: TOPIC_SHARD };
    this.#inbox = { id: INBOX_SHARD };
    for (const shard of before) this.#request.events.lost(shard, this.#gone?.message ?? "The group was moved.");
  }

  // ---- settling
  ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    return this.#settle(deliveries as readonly Handed[], (mine) => acknowledge(this.#client, this.#member, mine));
  }

  nack(items: readonly Nack[]): Promise<readonly SettleResult[]> {
    const now = this.#client.now();
    return this.#settle(items, (mine) =>
      mine.map(({ delivery, delayMs, failures }) => giveBack(this.#client, this.#member, delivery as Handed, later(now, delayMs), failures)),
    );
  }

  extend(deliveries: readonly WireDelivery[], ms: number): Promise<readonly SettleResult[]> {
    const due = later(this.#client.now(), ms);
    return this.#settle(deliveries as readonly Handed[], (mine) => mine.map((handed) => extendLease(this.#client, this.#member, handed, due)));
  }

  async #settle<T>(items: readonly T[], settle: (items: readonly T[]) => boolean[]): Promise<SettleResult[]> {
    if (this.#gone !== undefined) return items.map(() => "lost");
    const done = await this.#client.transact("write", () => {
      const settled = settle(items);
      if (anyFreed(this.#client, this.#group.id)) this.#client.changed(this.#group.log);
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
        if (releaseAll(this.#client, this.#member, this.#client.now())) this.#client.changed(this.#group.log);
      });
      await this.#client.durable();
    } catch {
      // Locked or gone: what is unsettled comes back when its lease ends.
    }
  }
}
