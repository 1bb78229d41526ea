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
import { type Arg, evalsha, type Link, type Reply, unknownScript } from "../client.ts";
import { groupMissing, topicMissing, unavailable } from "../errors.ts";
import { bounded, within } from "../protocol/bounds.ts";
import { FAREWELL_MS, type Member, type Session } from "./client.ts";
import { StreamReader } from "./cursor.ts";
import { cutAt, MAIN, placeOf, RETRY } from "./mapping.ts";
import type { After, Doorbell } from "./protocol/doorbell.ts";
import { fence } from "./protocol/fence.ts";
import { waiting } from "./protocol/waiting.ts";
import { EntryDelivery } from "./scripts/entry.ts";
import { placeGroup } from "./scripts/group.ts";
import type { GroupKeys, LaneKeys } from "./scripts/keys.ts";
import { type Claimed, countFor, type Entry, FIRST_GUESS, type Fields, NOTE, RECEIVE, received, sizeOf } from "./scripts/receive.ts";
import { acknowledge, giveBack, leave, type Owner, prolong, takeOver } from "./scripts/settle.ts";

/** Most ids in one settling script: Lua's stack is finite, and so is the patience of others. */
const SETTLE_IDS = 1_000;
const [DONE, GONE] = ["1".charCodeAt(0), "2".charCodeAt(0)];

export async function openSubscription(session: Session, request: SubscribeRequest, signal: AbortSignal): Promise<Subscription> {
  const { topic, group, from, events } = request;
  if (group === undefined) return new BroadcastSubscription(session, await StreamReader.open(session, topic, from, events, signal));
  await within(signal, fence(session));
  return GroupSubscription.open(session, request, group, signal);
}

/** Everything published from now on, or from a point, seen by this reader alone. There is nothing to settle on the server. */
class BroadcastSubscription implements Subscription {
  readonly created = true;
  readonly start: Cut;
  readonly #session: Session;
  readonly #reader: StreamReader;

  constructor(session: Session, reader: StreamReader) {
    this.#session = session;
    this.#reader = reader;
    this.start = cutAt(reader.last);
  }

  async receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    return this.#reader.read(max, this.#session.clock.monotonic() + waitMs, signal);
  }

  async ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    return deliveries.map(() => "confirmed");
  }

  async flush(): Promise<void> {}

  close(): Promise<void> {
    return this.#reader.close();
  }
}

type Settle = (link: Link, owner: Owner, lane: LaneKeys, some: readonly EntryDelivery[]) => Promise<Reply>;

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
  readonly #keys: GroupKeys;
  readonly #consumer: string;
  readonly #leaving = new AbortController();
  readonly #settling = new Set<Promise<unknown>>();
  readonly #onDown = (error: Error): void => this.#fail(error);
  #reader: Link | undefined;
  /** Waits for who owns the topic alone: those share their connections. */
  #bell: Doorbell | undefined;
  #after: After = new Map();
  /** Of what is owned alone: something left or given back may be due, and is handed out before anything newer. */
  #behind: boolean;
  #givenBack = 0;
  #dueAt = Number.POSITIVE_INFINITY;
  #shards: Readonly<Record<ShardId, Shard>> = shards();
  #epoch = 0;
  /** Assigned by the server, not handed out yet. */
  #ready: EntryDelivery[] = [];
  #wakes: string[] = [];
  #dead: unknown;
  #closing: Promise<void> | undefined;
  #receiving: Promise<unknown> = Promise.resolve();
  #scanAt = 0;
  #entryBytes = FIRST_GUESS;
  #inboxBusy = false;
  /** A delivery of ours was claimed again by ourselves, so a consumer's name alone no longer says which of the two is meant. */
  #exact = false;

  private constructor(session: Session, { topic, events, exclusive }: SubscribeRequest, group: string) {
    this.#session = session;
    this.#events = events;
    this.topic = topic;
    this.group = group;
    this.#keys = session.keys(topic).group(group);
    this.#consumer = session.consumer();
    this.#behind = exclusive === true;
  }

  static async open(session: Session, request: SubscribeRequest, group: string, signal: AbortSignal): Promise<GroupSubscription> {
    const made = new GroupSubscription(session, request, group);
    if (request.exclusive === true) {
      const { reader, bell } = await session.shared.join(signal, made.#onDown);
      [made.#reader, made.#bell] = [reader, bell];
    } else made.#reader = await session.open(signal, made.#onDown);
    session.members.add(made);
    session.readers.add(made);
    try {
      await within(signal, made.#join(request.from));
      return made;
    } catch (error) {
      await made.close();
      throw error;
    }
  }

  /** Makes the group's start durable, and takes over what members of this process had to leave behind. */
  async #join(from: SubscribeRequest["from"]): Promise<void> {
    const { topic, group } = this;
    const control = this.#session.control();
    // Reads run these two inside transactions, which can't send them whole.
    for (const { source } of [RECEIVE, NOTE]) control.call(["SCRIPT", "LOAD", source]).catch(() => {});
    const [placed, epoch] = await placeGroup(control, this.#keys, group, "create", from);
    if (placed === "no topic") throw topicMissing(topic);
    this.created = placed === "created";
    this.#epoch = epoch;
    const orphans = [...this.#session.orphans].filter((orphan) => orphan.topic === topic && orphan.group === group);
    if (orphans.length > 0)
      await leave(
        control,
        this.#keys,
        group,
        orphans.map((orphan) => orphan.consumer),
      );
    for (const orphan of orphans) this.#session.orphans.delete(orphan);
    // Whoever asked may have given up meanwhile; another may own it by now.
    if (this.#leaving.signal.aborted) throw unavailable("The subscription was closed while it joined.");
    if (this.#bell !== undefined && !(await takeOver(control, this.#keys, group, this.#consumer))) throw this.#overtaken();
  }

  receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    const receiving = this.#receive(max, this.#session.clock.monotonic() + waitMs, signal);
    this.#receiving = receiving.catch(() => {});
    return receiving;
  }

  async #receive(max: number, deadline: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    const { clock, leaseMs, longestBlockMs } = this.#session;
    const stop = [signal, this.#leaving.signal];
    const over = (): boolean => stop.some((one) => one.aborted);
    for (let first = true; ; first = false) {
      if (this.#dead !== undefined) throw this.#dead;
      if (this.#ready.length > 0) return this.#ready.splice(0, max);
      if (over() || (!first && clock.monotonic() >= deadline)) return [];
      const due = await this.#poll(max);
      if (this.#ready.length > 0 || this.#wakes.length > 0) continue;
      // Ownership is counted from before the read, so a read must not wait for long compared with the lease.
      const longest = Math.min(deadline - clock.monotonic(), leaseMs / 4, longestBlockMs);
      const block = Math.floor(due < 0 ? longest : Math.min(longest, due));
      if (block < 1 || over()) continue;
      const bell = this.#bell;
      if (bell === undefined) await this.#block(max, block, stop);
      else await this.#ask(() => bell.wait(this.#after, block, stop));
    }
  }

  #read(max: number, ...more: string[]): Arg[] {
    const { main, inbox, wake } = this.#keys;
    // COUNT holds for each stream.
    const count = countFor(this.#inboxBusy ? Math.ceil(max / 2) : max, this.#entryBytes);
    const third = this.#bell === undefined ? wake : this.#keys.guard(this.#consumer);
    const streams = [main.stream, inbox.stream, third, ">", ">", ">"];
    return ["XREADGROUP", "GROUP", this.group, this.#consumer, "COUNT", count, ...more, "STREAMS", ...streams];
  }

  /** Housekeeping and a read that does not wait, in one transaction. Resolves to ms until something falls due, −1 for nothing. */
  async #poll(max: number): Promise<number> {
    const { clock, leaseMs } = this.#session;
    const now = clock.monotonic();
    const scan = now >= this.#scanAt;
    const keys = this.#keys.list;
    const alone = this.#bell !== undefined;
    const flags = [scan, alone].map((flag) => (flag ? "1" : "0"));
    const args = [this.group, this.#consumer, String(max), String(leaseMs), ...flags, ...this.#wakes.splice(0)];
    const behind = alone && (this.#behind || now >= this.#dueAt);
    const givenBack = this.#givenBack;
    const [looked, read] = await this.#ask(async (reader) => {
      if (behind) return [await reader.script(RECEIVE, keys, args), null];
      const commands = [evalsha(RECEIVE, keys, args), this.#read(max), evalsha(NOTE, keys, [this.group])];
      const replies = (await reader.transaction(commands)) as [Reply, Reply, Reply];
      if (unknownScript(replies[0])) replies[0] = await reader.script(RECEIVE, keys, args);
      if (unknownScript(replies[2])) replies[2] = await reader.script(NOTE, keys, [this.group]);
      for (const reply of replies) if (reply instanceof Error) throw reply;
      return replies;
    });
    const { epoch, due, missing, from, to, more, main, mainGone, retried, retriedGone, after } = received(looked);
    // A seek of this process overtook the answer: what it gives was taken away again.
    if (epoch < this.#epoch) return 0;
    this.moved(epoch);
    if (scan || more) this.#scanAt = more ? now : now + leaseMs / 4;
    if (missing !== 0) this.#events.dataLoss(MAIN, placeOf(MAIN, from), placeOf(MAIN, to), missing < 0 ? undefined : missing);
    this.#gone(MAIN, mainGone);
    this.#gone(RETRY, retriedGone);
    this.#take(MAIN, main, now);
    this.#take(RETRY, retried, now);
    this.#accept(read, now);
    if (!alone) return due;
    const { main: topic, inbox, wake } = this.#keys;
    this.#after = new Map([topic.stream, inbox.stream, wake].map((stream, n) => [stream, String(after[n])]));
    this.#dueAt = due < 0 ? Number.POSITIVE_INFINITY : now + due;
    this.#behind = more || givenBack !== this.#givenBack;
    // Nothing was due, so what is newer may come.
    return behind && !this.#behind && this.#ready.length === 0 ? this.#poll(max) : due;
  }

  /** A read that waits. The epoch, asked for behind it, tells whether the group was moved meanwhile. */
  async #block(max: number, ms: number, stop: readonly AbortSignal[]): Promise<void> {
    const [now, before] = [this.#session.clock.monotonic(), this.#epoch];
    const [read, answer] = await this.#ask((reader) =>
      waiting(this.#session, reader, stop, ms, () =>
        Promise.all([
          reader.call(this.#read(max, "BLOCK", String(ms))).catch(unblocked),
          reader.script(NOTE, this.#keys.list, [this.group]),
        ]),
      ),
    );
    const epoch = Math.max(Number(answer), this.#epoch);
    if (epoch === before) return this.#accept(read, now);
    // Which of the two epochs this read belongs to can't be told: what is still ours comes again by the next poll.
    this.moved(epoch);
    if (read !== null) await leave(this.#session.control(), this.#keys, this.group, [this.#consumer]);
  }

  async #ask<T>(ask: (reader: Link) => Promise<T>): Promise<T> {
    const reader = this.#reader as Link;
    try {
      return await ask(reader);
    } catch (error) {
      if (reader.down !== undefined) this.#fail(reader.down);
      else if (error instanceof Error && error.message.startsWith("FENCED")) this.#fail(this.#overtaken());
      else if (!(error instanceof Error && /^(NOGROUP|ERR no such key)/.test(error.message))) throw error;
      else this.#fail(groupMissing(this.topic, this.group));
      throw this.#dead;
    }
  }

  #overtaken(): Error {
    return unavailable(`Another member has taken over the topic "${this.topic}" for the group "${this.group}".`);
  }

  #accept(read: Reply, sentAt: number): void {
    this.#inboxBusy = false;
    for (const [stream, entries] of (read ?? []) as never as readonly (readonly [Buffer, readonly Entry[]])[]) {
      const name = stream.toString();
      // A wake-up is no message: something falls due earlier than this reader thought.
      if (name === this.#keys.wake) {
        for (const [entry] of entries) this.#wakes.push(entry.toString());
        continue;
      }
      this.#inboxBusy ||= name !== this.#keys.main.stream;
      this.#entryBytes = sizeOf(entries);
      const id = name === this.#keys.main.stream ? MAIN : RETRY;
      for (const [entry, fields] of entries) this.#add(id, entry, fields, 1, 0, sentAt);
    }
  }

  #take(id: ShardId, claimed: readonly Claimed[], sentAt: number): void {
    for (const [entry, fields, deliveries, failures, own] of claimed) {
      if (own === 1) this.#exact = true;
      this.#add(id, entry, fields, deliveries, failures, sentAt);
    }
  }

  #add(id: ShardId, entry: Buffer, fields: Fields, deliveries: number, failures: number, sentAt: number): void {
    const leaseUntil = sentAt + this.#session.leaseMs;
    const delivery = new EntryDelivery(this.#shards[id] as Shard, entry.toString("latin1"), leaseUntil, this.#epoch, deliveries, failures);
    this.#ready.push(delivery.read(fields));
  }

  /** Entries that were pending or given back, and that the stream no longer has. */
  #gone(id: ShardId, entries: readonly (Buffer | string)[]): void {
    for (const entry of entries) {
      const place = placeOf(id, String(entry));
      this.#events.dataLoss(id, place, place, 1);
    }
  }

  moved(epoch: number): void {
    if (epoch === this.#epoch || this.#dead !== undefined) return;
    this.#lose("the group was moved by a seek");
    this.#epoch = epoch;
  }

  #lose(reason: string): void {
    const before = this.#shards;
    this.#shards = shards();
    this.#ready = [];
    for (const shard of Object.values(before)) this.#events.lost(shard, reason);
  }

  #fail(error: Error): void {
    if (this.#dead !== undefined) return;
    this.#dead = error;
    const reader = this.#reader as Link;
    if (reader.down !== undefined) this.#session.abandoned.add(reader);
    if (this.#closing === undefined) this.#lose(error.message);
  }

  ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    return this.#settle(deliveries, true, (link, owner, lane, some) => acknowledge(link, owner, lane, some, this.#exact));
  }

  nack(items: readonly Nack[]): Promise<readonly SettleResult[]> {
    const deliveries = items.map((item) => item.delivery);
    this.#givenBack++;
    this.#behind = this.#bell !== undefined;
    return this.#settle(deliveries, true, (link, owner, lane, some) => giveBack(link, owner, lane, some, items));
  }

  extend(deliveries: readonly WireDelivery[], ms: number): Promise<readonly SettleResult[]> {
    return this.#settle(deliveries, false, (link, owner, lane, some) => prolong(link, owner, lane, some, ms, this.#session.leaseMs));
  }

  /** Runs one script per shard over what is not settled yet, and turns its characters into results. */
  async #settle(deliveries: readonly WireDelivery[], final: boolean, settle: Settle): Promise<readonly SettleResult[]> {
    const results: SettleResult[] = new Array(deliveries.length).fill("lost");
    const shares = new Map<Shard, number[][]>();
    for (const [index, delivery] of (deliveries as readonly EntryDelivery[]).entries()) {
      // An ack that is under way decides; whoever extends it meanwhile has lost nothing.
      if (delivery.settled === "asked" && !final) results[index] = "written";
      if (delivery.settled !== "no") continue;
      if (final) delivery.settled = "asked";
      const chunks = shares.get(delivery.shard) ?? [[]];
      shares.set(delivery.shard, chunks);
      if (chunks.at(-1)?.length === SETTLE_IDS) chunks.push([]);
      chunks.at(-1)?.push(index);
    }
    const work = Promise.all([...shares.values()].flat().map((indexes) => this.#settleSome(deliveries, indexes, settle, results)));
    this.#settling.add(work);
    await work;
    this.#settling.delete(work);
    return results;
  }

  async #settleSome(
    deliveries: readonly WireDelivery[],
    indexes: readonly number[],
    settle: Settle,
    results: SettleResult[],
  ): Promise<void> {
    const some = indexes.map((index) => deliveries[index] as EntryDelivery);
    const [{ shard, epoch }] = some as [EntryDelivery];
    const owner = { keys: this.#keys, group: this.group, consumer: this.#consumer, epoch };
    try {
      const answer = (await settle(this.#session.control(), owner, shard.id === MAIN ? this.#keys.main : this.#keys.inbox, some)) as Buffer;
      for (const [n, index] of indexes.entries()) {
        const delivery = some[n] as EntryDelivery;
        if (delivery.settled === "asked") delivery.settled = "yes";
        if (answer[n] === DONE) results[index] = "confirmed";
        if (answer[n] === GONE) this.#gone(shard.id, [delivery.entry]);
      }
    } catch (error) {
      // It may be tried again; whether this time counted is found out then.
      for (const delivery of some) delivery.settled = "no";
      for (const index of indexes) results[index] = { error };
    }
  }

  async flush(): Promise<void> {
    while (this.#settling.size > 0) await Promise.allSettled([...this.#settling]);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { clock, members, readers, orphans, control } = this.#session;
    this.#leaving.abort();
    // A server that stands still answers no read either.
    await bounded(clock, FAREWELL_MS, this.#receiving).catch(() => this.#hangUp());
    await this.#receiving;
    members.delete(this);
    readers.delete(this);
    this.#dead ??= driverError("CLOSED", "The subscription is closed. Subscribe again.");
    if (this.#bell === undefined) this.#hangUp();
    this.#session.shared.leave(this.#onDown);
    const farewell = this.flush()
      .then(() => fence(this.#session))
      .then(() => leave(control(), this.#keys, this.group, [this.#consumer]));
    // Where the server can't be told, its leases will end; the next member of this process need not wait for that.
    const orphan = { topic: this.topic, group: this.group, consumer: this.#consumer };
    await bounded(clock, FAREWELL_MS, farewell).catch(() => orphans.add(orphan));
  }

  #hangUp(): void {
    if (this.#bell === undefined) this.#reader?.destroy();
    else this.#session.shared.close(unavailable("The server did not answer while a member left."));
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
