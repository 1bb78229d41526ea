import { setImmediate } from "node:timers/promises";
import type { Nack, Place, SettleResult, Shard, SubscribeRequest, Subscription, WireDelivery } from "brokerkit/driver";
import type { GroupRow } from "./admin.ts";
import { type Client, Listener } from "./client.ts";
import { noGroup, unavailable } from "./errors.ts";
import { type Handed, INBOX_SHARD, placeOf, TOPIC_SHARD } from "./mapping.ts";
import { later } from "./publisher.ts";
import { promote } from "./scripts/append.ts";
import { acknowledge, claim, extendLease, giveBack, type Member, releaseAll, unpark } from "./scripts/claim.ts";

/** What a reader needs to know before it claims. `next`: the least front; `delay`: when the next delayed message is due. */
interface State {
  readonly epoch: number;
  readonly last: number;
  readonly floor: number;
  readonly lanes: number;
  readonly next: number;
  readonly delay: number | null;
  readonly loss: number;
}

const STATE = `SELECT g.epoch, l.last, l.floor, l.lanes | i.lanes AS lanes, (SELECT min(next) FROM fronts WHERE grp = g.id) AS next,
  (SELECT min(due) FROM (SELECT min(due) AS due FROM delayed WHERE log = g.log UNION ALL SELECT min(due) FROM delayed WHERE log = g.inbox))
  AS delay, EXISTS (SELECT 1 FROM losses WHERE grp = g.id) AS loss FROM groups g JOIN logs l ON l.id = g.log JOIN logs i ON i.id = g.inbox WHERE g.id = ?1`;
const NEXT_DUE = "SELECT due FROM claims WHERE grp = ?1 AND lane = ?2 AND due >= 0 ORDER BY due LIMIT 1";
const LOSS = "DELETE FROM losses WHERE grp = ?1 RETURNING first, last, missing";
const EPOCH = "SELECT epoch FROM groups WHERE id = ?1";
/**
 * Core is told that a lease ends this much earlier than the file says. Leases lie in the file as wall time, since other processes have to
 * judge them; core counts on its monotonic clock. A wall clock set forward lets another member have a message early: a duplicate, as
 * after any lease that ended, and the former owner's settlement answers "lost". One set back delays redelivery by as much. Neither loses
 * anything: ownership is the claim's owner and token; time only says when another may take it. All processes share one machine's clock.
 */
const LEASE_MARGIN_MS = 20;

/** One member of a group. */
export class GroupSubscription implements Subscription {
  readonly created: boolean;
  readonly #client: Client;
  readonly #request: SubscribeRequest;
  readonly #group: GroupRow;
  readonly #member: Member;
  readonly #listener: Listener;
  #topic: Shard = { id: TOPIC_SHARD };
  #inbox: Shard = { id: INBOX_SHARD };
  #epoch: number;
  #tokens = 0;
  readonly #paused = new Set<string>();
  #closed = false;
  /** Why this subscription is over, other than by `close`. */
  #gone: Error | undefined;

  constructor(client: Client, request: SubscribeRequest, group: GroupRow, owner: number, created: boolean) {
    this.#client = client;
    this.#request = request;
    this.#group = group;
    this.#epoch = group.epoch;
    this.#member = { group: group.id, owner, inbox: group.inbox };
    this.created = created;
    this.#listener = new Listener(client, group.log, this);
  }

  heard(elsewhere: boolean): void {
    if (elsewhere) this.#check();
  }

  // ---- receiving
  async receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    const until = this.#client.monotonic() + waitMs;
    while (!this.#closed && !signal.aborted) {
      this.#listener.arm();
      const due = this.#paused.size > 0 ? Number.POSITIVE_INFINITY : await this.#attempt("read", () => this.#nextDue(), signal);
      if (due === undefined) break;
      const now = this.#client.now();
      if (due <= now) {
        const deliveries = await this.#attempt("write", () => (this.#closed ? [] : this.#claim(max)), signal);
        if (deliveries === undefined || deliveries.length > 0) return deliveries ?? [];
        // Only messages of busy keys so far. Go on looking, but let others have their turn.
        await setImmediate();
        continue;
      }
      const left = until - this.#client.monotonic();
      if (left <= 0) break;
      await this.#listener.wait(Math.min(left, due - now), signal);
    }
    if (this.#gone !== undefined) throw this.#gone;
    return [];
  }

  /** `undefined` if `signal` came first. */
  async #attempt<T>(mode: "read" | "write", work: () => T, signal: AbortSignal): Promise<T | undefined> {
    if (this.#gone !== undefined) throw this.#gone;
    try {
      return await this.#client.transact(mode, work, signal);
    } catch (error) {
      if (signal.aborted) return undefined;
      this.#check();
      throw this.#gone ?? error;
    }
  }

  #state(): State {
    const state = this.#client.one<State>(STATE, this.#group.id);
    if (state === undefined) throw noGroup(this.#request.topic, this.#request.group ?? "");
    if (state.epoch !== this.#epoch) this.#check();
    return state;
  }

  /** When there will be something to claim; 0 for now. */
  #nextDue(): number {
    const { next, last, loss, lanes, delay } = this.#state();
    if (next <= last || loss === 1) return 0;
    let due = delay ?? Number.POSITIVE_INFINITY;
    for (let lane = 0; lanes >> lane > 0; lane++) {
      due = Math.min(due, this.#client.one<{ due: number }>(NEXT_DUE, this.#group.id, lane)?.due ?? due);
    }
    return due;
  }

  #claim(max: number): Handed[] {
    const { leaseMs } = this.#client.settings;
    const leaseUntil = this.#client.monotonic() + leaseMs - LEASE_MARGIN_MS;
    const now = this.#client.now();
    const { log, inbox } = this.#group;
    let state = this.#state();
    if (state.delay !== null && state.delay <= now) {
      for (const each of [log, inbox]) promote(this.#client, each, now);
      state = this.#state();
    }
    if (state.loss === 1) this.#tellLoss();
    const token = ++this.#tokens;
    return claim(this.#client, {
      ...this.#member,
      topic: { shard: this.#topic, log, token, leaseUntil },
      inbox: { shard: this.#inbox, log: inbox, token, leaseUntil },
      lanes: state.lanes,
      last: state.last,
      floor: state.floor,
      now,
      due: now + leaseMs,
      max,
      lost: (seq) => this.#tell(seq, seq, 1),
    });
  }

  /** Told before it is forgotten: should the process end in between, the next member is told again. */
  #tellLoss(): void {
    const loss = this.#client.one<{ first: number | null; last: number; missing: number | null }>(LOSS, this.#group.id);
    if (loss !== undefined) this.#tell(loss.first, loss.last, loss.missing);
  }

  #tell(first: number | null, last: number, missing: number | null): void {
    const place = (seq: number): Place => placeOf(TOPIC_SHARD, seq);
    this.#request.events.dataLoss(TOPIC_SHARD, first === null ? undefined : place(first), place(last), missing ?? undefined);
  }

  pause(shards: readonly string[]): void {
    for (const shard of shards) this.#paused.add(shard);
  }

  resume(shards: readonly string[]): void {
    for (const shard of shards) this.#paused.delete(shard);
    this.#listener.ring(false);
  }

  // ---- ownership
  /** Sees whether the group was moved or deleted, or the connection lost, and says so before anything else is handed out. */
  #check(): void {
    if (this.#closed || this.#gone !== undefined) return;
    const epoch = this.#client.open ? this.#client.one<{ epoch: number }>(EPOCH, this.#group.id)?.epoch : undefined;
    if (!this.#client.open) this.#end(unavailable("The connection to the file was lost."));
    else if (epoch === undefined) this.#end(noGroup(this.#request.topic, this.#request.group ?? ""));
    else if (epoch !== this.#epoch) {
      this.#epoch = epoch;
      this.#lose("the group was moved");
    }
  }

  #end(why: Error): void {
    this.#gone = why;
    this.#lose(why.message);
    this.#listener.close();
  }

  #lose(reason: string): void {
    const before = [this.#topic, this.#inbox];
    this.#topic = { id: TOPIC_SHARD };
    this.#inbox = { id: INBOX_SHARD };
    for (const shard of before) this.#request.events.lost(shard, reason);
  }

  // ---- settling
  ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    return this.#settle(deliveries, (mine) => acknowledge(this.#client, this.#member, mine));
  }

  nack(items: readonly Nack[]): Promise<readonly SettleResult[]> {
    const now = this.#client.now();
    return this.#settle(
      items.map((item) => item.delivery),
      (mine) => {
        this.#client.changed(this.#group.log);
        return mine.map((handed, n) => {
          const { delayMs, failures } = items[n] as Nack;
          return giveBack(this.#client, this.#member, handed, later(now, delayMs), failures);
        });
      },
    );
  }

  extend(deliveries: readonly WireDelivery[], ms: number): Promise<readonly SettleResult[]> {
    const due = later(this.#client.now(), ms);
    return this.#settle(deliveries, (mine) => mine.map((handed) => extendLease(this.#client, this.#member, handed, due)));
  }

  async #settle(deliveries: readonly WireDelivery[], settle: (mine: readonly Handed[]) => boolean[]): Promise<SettleResult[]> {
    if (this.#gone !== undefined) return deliveries.map(() => "lost");
    const done = await this.#client.transact("write", () => {
      const settled = settle(deliveries as readonly Handed[]);
      if (
        unpark(
          this.#client,
          this.#group.id,
          deliveries.map(({ key }) => key),
        )
      )
        this.#client.changed(this.#group.log);
      return settled;
    });
    return done.map((ours) => (ours ? "confirmed" : "lost"));
  }

  flush(): Promise<void> {
    return this.#client.durable();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#listener.close();
    if (this.#gone !== undefined) return;
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
