import {
  type Cut,
  driverError,
  type Nack,
  type SettleResult,
  type Shard,
  type ShardId,
  type SubscribeRequest,
  type Subscription,
  type WireDelivery,
} from "brokerkit/driver";
import { type Arg, evalsha, type Link, type Member, type Reply, type Session, unknownScript, waiting, within } from "./client.ts";
import { countFor, type Entry, StreamReader } from "./cursor.ts";
import { groupMissing, topicMissing } from "./errors.ts";
import { compareIds, cutAt, decodeEntry, EntryDelivery, type LaneKeys, MAIN, placeOf, RETRY, startId, type TopicKeys } from "./mapping.ts";
import { GROUP } from "./scripts/group.ts";
import { RECEIVE } from "./scripts/receive.ts";
import { ACK, EXTEND, LEAVE, NACK } from "./scripts/settle.ts";

/** Most ids in one settling script: Lua's stack is finite, and so is the patience of others. */
const SETTLE_IDS = 1_000;

type Claimed = readonly [id: Buffer, fields: readonly Buffer[], deliveries: number, failures: number, own: number];

export async function openSubscription(session: Session, request: SubscribeRequest, signal: AbortSignal): Promise<Subscription> {
  const { topic, group, from, events } = request;
  const keys = session.keys(topic);
  if (group === undefined) return new BroadcastSubscription(session, await StreamReader.open(session, keys, topic, from, events, signal));
  await within(signal, session.fence());
  const subscription = await GroupSubscription.open(session, request, group, keys, signal);
  try {
    await subscription.join(signal);
    return subscription;
  } catch (error) {
    await subscription.close();
    throw error;
  }
}

/** Everything published from now on, or from a point, seen by this reader alone. There is nothing to settle on the server. */
class BroadcastSubscription implements Subscription {
  readonly created = true;
  readonly start: Cut;
  readonly #reader: StreamReader;
  readonly #session: Session;

  constructor(session: Session, reader: StreamReader) {
    this.#session = session;
    this.#reader = reader;
    this.start = cutAt(reader.last);
  }

  async receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    const deadline = this.#session.clock.monotonic() + waitMs;
    return this.#reader.read(max, deadline, signal);
  }

  async ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    return deliveries.map(() => "confirmed");
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {
    this.#reader.close();
  }
}

/**
 * One member of a group. It reads over a connection of its own and settles over the driver's. What it owns survives its connection by
 * its lease, but what was on the wire when that broke is not known, so it gives up all of it then.
 */
class GroupSubscription implements Subscription, Member {
  created = false;
  readonly topic: string;
  readonly group: string;
  readonly #session: Session;
  readonly #events: SubscribeRequest["events"];
  readonly #keys: TopicKeys;
  readonly #lanes: Readonly<Record<ShardId, LaneKeys>>;
  readonly #consumer: string;
  readonly #from: SubscribeRequest["from"];
  #reader: Link | undefined;
  #shards: Readonly<Record<ShardId, Shard>> = shards();
  #epoch = 0;
  #surplus: EntryDelivery[] = [];
  #wakes: string[] = [];
  #dead: unknown;
  #closing: Promise<void> | undefined;
  #receiving: Promise<unknown> = Promise.resolve();
  readonly #leaving = new AbortController();
  #scanAt = 0;
  #averageBytes = 0;
  #inboxBusy = false;
  /** A delivery of ours was claimed again by ourselves, so a consumer's name alone no longer says which of the two is meant. */
  #exact = false;
  readonly #settling = new Set<Promise<unknown>>();

  private constructor(session: Session, request: SubscribeRequest, group: string, keys: TopicKeys) {
    this.#session = session;
    this.#events = request.events;
    this.#from = request.from;
    this.topic = request.topic;
    this.group = group;
    this.#keys = keys;
    this.#lanes = { [MAIN]: keys.lane(group, false), [RETRY]: keys.lane(group, true) };
    this.#consumer = session.consumer();
  }

  static async open(
    session: Session,
    request: SubscribeRequest,
    group: string,
    keys: TopicKeys,
    signal: AbortSignal,
  ): Promise<GroupSubscription> {
    const made = new GroupSubscription(session, request, group, keys);
    made.#reader = await session.open(signal, (error) => made.#fail(error));
    session.members.add(made);
    return made;
  }

  /** Makes the group's start durable, and takes over what members of this process had to leave behind. */
  async join(signal: AbortSignal): Promise<void> {
    const { group, topic } = this;
    const args = [group, "create", startId(this.#from), this.#from.kind === "position" || this.#from.kind === "time" ? "1" : "0"];
    const answer = await within(signal, this.#session.control().script(GROUP, this.#keys.group(group), args));
    if (answer === null) throw topicMissing(topic);
    const [status, epoch] = answer as readonly [number, number];
    this.created = status === 1;
    this.#epoch = epoch;
    const orphans = [...this.#session.orphans].filter((orphan) => orphan.topic === topic && orphan.group === group);
    if (orphans.length > 0) await within(signal, this.#leave(orphans.map((orphan) => orphan.consumer)));
    for (const orphan of orphans) this.#session.orphans.delete(orphan);
  }

  get #lease(): string {
    return String(this.#session.leaseMs);
  }

  receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    const received = this.#receive(max, this.#session.clock.monotonic() + waitMs, signal);
    this.#receiving = received.catch(() => {});
    return received;
  }

  async #receive(max: number, deadline: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    const { clock, leaseMs, longestBlockMs } = this.#session;
    const stop = AbortSignal.any([signal, this.#leaving.signal]);
    for (let first = true; ; first = false) {
      if (this.#dead !== undefined) throw this.#dead;
      if (this.#surplus.length > 0) return this.#surplus.splice(0, max);
      if (stop.aborted || (!first && clock.monotonic() >= deadline)) return [];
      const due = await this.#poll(max);
      if (this.#surplus.length > 0 || this.#wakes.length > 0) continue;
      // Ownership is counted from before the read, so a read must not wait for long compared with the lease.
      const longest = Math.min(deadline - clock.monotonic(), leaseMs / 4, longestBlockMs);
      const block = Math.floor(due < 0 ? longest : Math.min(longest, due));
      if (block >= 1 && !stop.aborted) await this.#block(max, block, stop);
    }
  }

  #read(max: number, ...more: string[]): Arg[] {
    const streams = [this.#lanes[MAIN]?.stream as string, this.#lanes[RETRY]?.stream as string, this.#keys.groupWake(this.group)];
    // COUNT holds for each stream.
    const count = String(countFor(this.#inboxBusy ? Math.ceil(max / 2) : max, this.#averageBytes));
    return ["XREADGROUP", "GROUP", this.group, this.#consumer, "COUNT", count, ...more, "STREAMS", ...streams, ">", ">", ">"];
  }

  /** Housekeeping and a read that does not wait, in one transaction. Resolves to ms until something falls due, −1 for nothing. */
  async #poll(max: number): Promise<number> {
    const now = this.#session.clock.monotonic();
    const scan = now >= this.#scanAt;
    const args = [this.group, this.#consumer, String(max), this.#lease, scan ? "1" : "0", ...this.#wakes.splice(0)];
    const keys = this.#keys.receive(this.group);
    let [looked, read] = await this.#ask((reader) => reader.transaction([evalsha(RECEIVE, keys, args), this.#read(max)]));
    if (unknownScript(looked)) [looked] = await this.#ask(async (reader) => [await reader.script(RECEIVE, keys, args)]);
    for (const reply of [looked, read]) if (reply instanceof Error) throw this.#refused(reply);
    const [epoch, due, missing, from, to, more, main, mainGone, retried, retriedGone] = looked as readonly Reply[];
    // A seek of this process overtook the answer: what it gives was taken away again.
    if ((epoch as number) < this.#epoch) return 0;
    this.#moved(epoch as number);
    this.#scanAt = more === 1 ? now : now + this.#session.leaseMs / 4;
    const lost = missing as number;
    if (lost !== 0) this.#events.dataLoss(MAIN, placeOf(MAIN, String(from)), placeOf(MAIN, String(to)), lost < 0 ? undefined : lost);
    this.#gone(MAIN, mainGone as readonly Buffer[]);
    this.#gone(RETRY, retriedGone as readonly Buffer[]);
    this.#take(MAIN, main as unknown as readonly Claimed[], now);
    this.#take(RETRY, retried as unknown as readonly Claimed[], now);
    this.#accept(read as Reply, now);
    return due as number;
  }

  /** A read that waits. The epoch, asked for behind it, tells whether the group was moved meanwhile. */
  async #block(max: number, ms: number, signal: AbortSignal): Promise<void> {
    const [now, before] = [this.#session.clock.monotonic(), this.#epoch];
    const [read, answer] = await this.#ask((reader) =>
      waiting(this.#session, reader, signal, ms, () =>
        Promise.all([
          reader.call(this.#read(max, "BLOCK", String(ms))).catch(unblocked),
          reader.call(["HGET", this.#keys.meta, `epoch:${this.group}`]),
        ]),
      ),
    );
    const epoch = Math.max(Number(answer ?? 0), this.#epoch);
    if (epoch === before) return this.#accept(read, now);
    // Which of the two epochs this read belongs to can't be told: what is still ours comes again by the next poll.
    this.#moved(epoch);
    if (read !== null) await this.#leave([this.#consumer]);
  }

  async #ask<T>(ask: (reader: Link) => Promise<T>): Promise<T> {
    const reader = this.#reader as Link;
    try {
      return await ask(reader);
    } catch (error) {
      if (reader.down === undefined) throw this.#refused(error);
      this.#fail(reader.down);
      throw this.#dead;
    }
  }

  #refused(error: unknown): unknown {
    if (!(error instanceof Error && /^(NOGROUP|ERR no such key)/.test(error.message))) return error;
    const missing = groupMissing(this.topic, this.group);
    this.#lose(missing.message);
    this.#dead = missing;
    return missing;
  }

  #accept(read: Reply, sentAt: number): void {
    this.#inboxBusy = false;
    let [bytes, count] = [0, 0];
    for (const [stream, entries] of (read ?? []) as unknown as readonly (readonly [Buffer, readonly Entry[]])[]) {
      const name = stream.toString();
      const id = name === this.#lanes[MAIN]?.stream ? MAIN : name === this.#lanes[RETRY]?.stream ? RETRY : undefined;
      if (id === RETRY) this.#inboxBusy = true;
      for (const [entry, fields] of entries) {
        // A wake-up is no message: something falls due earlier than this reader thought.
        if (id === undefined) this.#wakes.push(entry.toString("latin1"));
        else this.#add(id, entry, fields, 1, 0, sentAt);
        for (const field of fields) bytes += field.length;
        count++;
      }
    }
    if (count > 0) this.#averageBytes = bytes / count;
  }

  #take(id: ShardId, claimed: readonly Claimed[], sentAt: number): void {
    for (const [entry, fields, deliveries, failures, own] of claimed) {
      if (own === 1) this.#exact = true;
      this.#add(id, entry, fields, deliveries, failures, sentAt);
    }
  }

  #add(id: ShardId, entry: Buffer, fields: readonly Buffer[], deliveries: number, failures: number, sentAt: number): void {
    const [shard, text, leaseUntil] = [this.#shards[id] as Shard, entry.toString("latin1"), sentAt + this.#session.leaseMs];
    this.#surplus.push(new EntryDelivery(shard, text, decodeEntry(text, fields), deliveries, failures, leaseUntil, this.#epoch));
  }

  /** Entries that were pending or given back, and that the stream no longer has. */
  #gone(id: ShardId, entries: readonly Buffer[]): void {
    for (const entry of entries) {
      const place = placeOf(id, entry.toString("latin1"));
      this.#events.dataLoss(id, place, place, 1);
    }
  }

  /** The group was moved by a seek: nothing delivered before is ours any more. */
  #moved(epoch: number): void {
    if (epoch === this.#epoch) return;
    this.#lose("the group was moved by a seek");
    this.#epoch = epoch;
  }

  /** Called where a seek was made by this process, so that nobody here has to find out. */
  moved(epoch: number): void {
    if (this.#dead === undefined) this.#moved(epoch);
  }

  #lose(reason: string): void {
    const before = this.#shards;
    this.#shards = shards();
    this.#surplus = [];
    for (const shard of Object.values(before)) this.#events.lost(shard, reason);
  }

  #fail(error: Error): void {
    if (this.#dead !== undefined) return;
    this.#dead = error;
    this.#session.abandon(this.#reader as Link);
    if (this.#closing === undefined) this.#lose(error.message);
  }

  async ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    return this.#settle(deliveries, (some, lane, epoch) => {
      let [lowest, highest] = [some[0]?.entry ?? "", some[0]?.entry ?? ""];
      let exact = this.#exact;
      const ids = some.map(({ entry, deliveries: times }) => {
        if (compareIds(entry, lowest) < 0) lowest = entry;
        if (compareIds(entry, highest) > 0) highest = entry;
        if (times === 1) return entry;
        exact = true;
        return `${entry}*${times}`;
      });
      const inbox = lane === this.#lanes[RETRY] ? "1" : "0";
      const args = [this.group, this.#consumer, epoch, lowest, highest, inbox, exact ? "1" : "0", ...ids];
      return this.#session.control().script(ACK, [lane.stream, this.#keys.meta, lane.notes], args);
    });
  }

  async nack(items: readonly Nack[]): Promise<readonly SettleResult[]> {
    const of = new Map(items.map((item) => [item.delivery, item]));
    return this.#settle([...of.keys()], (some, lane, epoch) => {
      const args = some.flatMap((delivery) => {
        const { delayMs = 0, failures = 0 } = of.get(delivery) ?? {};
        return [delivery.entry, String(delivery.deliveries), String(Math.ceil(delayMs)), String(failures)];
      });
      const keys = [lane.stream, this.#keys.meta, lane.notes, lane.due, this.#keys.groupWake(this.group)];
      return this.#session.control().script(NACK, keys, [this.group, this.#consumer, epoch, ...args]);
    });
  }

  async extend(deliveries: readonly WireDelivery[], ms: number): Promise<readonly SettleResult[]> {
    const args = (some: readonly EntryDelivery[]): string[] => some.flatMap(({ entry, deliveries: times }) => [entry, String(times)]);
    return this.#settle(
      deliveries,
      (some, lane, epoch) => {
        const keys = [lane.stream, this.#keys.meta, lane.notes];
        return this.#session
          .control()
          .script(EXTEND, keys, [this.group, this.#consumer, epoch, String(Math.ceil(ms)), this.#lease, ...args(some)]);
      },
      false,
    );
  }

  /** Runs one script per lane and epoch over what is not settled yet, and turns its characters into results. */
  async #settle(
    deliveries: readonly WireDelivery[],
    run: (some: readonly EntryDelivery[], lane: LaneKeys, epoch: string) => Promise<Reply>,
    final = true,
  ): Promise<readonly SettleResult[]> {
    const results: SettleResult[] = new Array(deliveries.length).fill("lost");
    const shares = new Map<string, number[]>();
    for (const [index, delivery] of (deliveries as readonly EntryDelivery[]).entries()) {
      if (delivery.settled) continue;
      delivery.settled = final;
      const share = `${delivery.shard.id} ${delivery.epoch}`;
      const indexes = shares.get(share);
      if (indexes === undefined) shares.set(share, [index]);
      else indexes.push(index);
    }
    const work: Promise<void>[] = [];
    for (const indexes of shares.values()) {
      for (let n = 0; n < indexes.length; n += SETTLE_IDS)
        work.push(this.#settleSome(deliveries as readonly EntryDelivery[], indexes.slice(n, n + SETTLE_IDS), run, results));
    }
    const all = Promise.all(work);
    this.#settling.add(all);
    await all;
    this.#settling.delete(all);
    return results;
  }

  async #settleSome(
    deliveries: readonly EntryDelivery[],
    indexes: readonly number[],
    run: (some: readonly EntryDelivery[], lane: LaneKeys, epoch: string) => Promise<Reply>,
    results: SettleResult[],
  ): Promise<void> {
    const some = indexes.map((index) => deliveries[index] as EntryDelivery);
    const [{ shard, epoch }] = some as [EntryDelivery];
    try {
      const answer = (await run(some, this.#lanes[shard.id] as LaneKeys, String(epoch))) as Buffer;
      for (const [n, index] of indexes.entries()) {
        if (answer[n] === 49) results[index] = "confirmed";
        if (answer[n] === 50) this.#gone(shard.id, [Buffer.from((some[n] as EntryDelivery).entry)]);
      }
    } catch (error) {
      for (const [n, index] of indexes.entries()) {
        // It may be tried again; whether this time counted is found out then.
        (some[n] as EntryDelivery).settled = false;
        results[index] = { error };
      }
    }
  }

  async flush(): Promise<void> {
    while (this.#settling.size > 0) await Promise.allSettled([...this.#settling]);
  }

  async #leave(consumers: readonly string[]): Promise<void> {
    const [main, inbox] = [this.#lanes[MAIN] as LaneKeys, this.#lanes[RETRY] as LaneKeys];
    const keys = [main.stream, main.notes, main.due, inbox.stream, inbox.notes, inbox.due, this.#keys.groupWake(this.group)];
    await this.#session.control().script(LEAVE, keys, [this.group, ...consumers]);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#leaving.abort();
    await this.#receiving;
    await this.flush();
    this.#session.members.delete(this);
    this.#dead ??= driverError("CLOSED", "The subscription is closed. Subscribe again.");
    this.#reader?.destroy();
    try {
      await this.#session.fence();
      await this.#leave([this.#consumer]);
    } catch {
      // Its leases will end; the next member of this process need not wait for that.
      this.#session.orphans.add({ topic: this.topic, group: this.group, consumer: this.#consumer });
    }
  }
}

/** A key that was deleted ends the wait; the next poll says what that means. */
function unblocked(error: unknown): null {
  if (error instanceof Error && error.message.startsWith("UNBLOCKED")) return null;
  throw error;
}

function shards(): Readonly<Record<ShardId, Shard>> {
  return { [MAIN]: { id: MAIN }, [RETRY]: { id: RETRY } };
}
