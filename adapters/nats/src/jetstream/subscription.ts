import {
  driverError,
  type Nack,
  type SettleResult,
  type Shard,
  type SubscribeRequest,
  type Subscription,
  type Timer,
  type WireDelivery,
} from "brokerkit/driver";
import { bounded } from "../client.ts";
import { groupMissing, topicMissing } from "../errors.ts";
import { type Connection, NoResponders } from "../protocol/connection.ts";
import type { Message } from "../protocol/parser.ts";
import type { Group, MadeGroup, Member, Session } from "./client.ts";
import { consumerName, cutFrom, MAIN, placeOf, RETRY } from "./mapping.ts";
import { ACK, confirm, giveBack, nak, WORKING } from "./protocol/acks.ts";
import { leaseOf } from "./protocol/api.ts";
import { StreamDelivery } from "./protocol/delivery.ts";
import { Gaps } from "./protocol/gaps.ts";
import { LONGEST_PULL_MS, Puller } from "./protocol/puller.ts";
import { StreamReader } from "./protocol/reader.ts";

/** Inbox messages that one pull asks for. */
const INBOX_BATCH = 64;
/** How long the server may take to say what became of a group, and all of closing. */
const ANSWER_MS = 2_000;
const FAREWELL_MS = 1_500;

/** A server writes what its consumers know at most every 100 ms; only then does it outlive the server. */
const STORED_MS = 200;

export async function openSubscription(session: Session, request: SubscribeRequest, signal: AbortSignal): Promise<Subscription> {
  const { group } = request;
  if (group !== undefined) return GroupSubscription.open(session, request, group, signal);
  return new BroadcastSubscription(session, await StreamReader.open(session, request.topic, request.from, request.events, signal));
}

/** Reads from its start on, alone; there is nothing to settle. */
class BroadcastSubscription implements Subscription {
  readonly created = true;
  readonly start: Subscription["start"];
  readonly #session: Session;
  readonly #reader: StreamReader;

  constructor(session: Session, reader: StreamReader) {
    this.#session = session;
    this.#reader = reader;
    this.start = cutFrom(reader.last);
  }

  receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
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

/** What a member pulls from: the topic's consumer or that of the inbox. */
interface Lane {
  readonly puller: Puller;
  /** Of this ownership. */
  shard: Shard;
  readonly leaseMs: number;
}

/**
 * One member of a group: pulls from the group's durable consumer and from that of its inbox, and settles by the reply subject of each
 * delivery. What it owns survives its connection by its lease, but what was on the wire when that broke is not known, so it gives up all.
 */
class GroupSubscription implements Subscription, Member {
  readonly created: boolean;
  readonly topic: string;
  readonly group: string;
  readonly #session: Session;
  readonly #events: SubscribeRequest["events"];
  readonly #connection: Connection;
  readonly #leaving = new AbortController();
  readonly #settling = new Set<Promise<unknown>>();
  /** Assigned to us and not settled. */
  readonly #owned = new Set<StreamDelivery>();
  /** Of these, what was not handed out yet. */
  #ready: StreamDelivery[] = [];
  #main: Lane;
  #inbox: Lane;
  #generation: number;
  #gaps: Gaps;
  #dead: unknown;
  #closing: Promise<void> | undefined;
  /** When the last ack was confirmed. */
  #settledAt = Number.NEGATIVE_INFINITY;
  #wake: (() => void) | undefined;
  #timer: Timer | undefined;

  private constructor(session: Session, connection: Connection, { topic, events }: SubscribeRequest, group: string, made: MadeGroup) {
    this.#session = session;
    this.#events = events;
    this.#connection = connection;
    this.topic = topic;
    this.group = group;
    this.created = made.created;
    this.#generation = made.generation;
    this.#main = this.#mainLane(made);
    this.#inbox = this.#lane(RETRY, session.inbox(topic, group).stream, group, made.inboxLeaseMs);
    this.#gaps = new Gaps(made.info);
  }

  static async open(session: Session, request: SubscribeRequest, group: string, signal: AbortSignal): Promise<GroupSubscription> {
    const connection = session.control();
    const made = await session.makeGroup(request.topic, group, request.from, signal);
    if (connection.down !== undefined) throw connection.down;
    const member = new GroupSubscription(session, connection, request, group, made);
    session.members.add(member);
    session.readers.add(member);
    member.#adopt();
    member.#tend();
    return member;
  }

  /** Gives back what members of this process had when their connection broke, so that nobody has to wait for the lease. */
  #adopt(): void {
    const { clock, orphans } = this.#session;
    const key = `${this.topic} ${this.group}`;
    const owned = (orphans.get(key) ?? []).filter(({ leaseUntil }) => leaseUntil > clock.monotonic());
    giveBack(this.#connection, owned);
    orphans.delete(key);
  }

  #mainLane(group: Group): Lane {
    return this.#lane(MAIN, this.#session.names(this.topic).stream, consumerName(this.group, group.generation), leaseOf(group.info));
  }

  #lane(id: string, stream: string, consumer: string, leaseMs: number): Lane {
    const puller = new Puller(this.#connection, this.#session.clock, this.#session.api.pullSubject(stream, consumer), {
      message: (message) => this.#take(lane, message),
      over: () => this.#wake?.(),
    });
    const lane: Lane = { puller, shard: { id }, leaseMs };
    return lane;
  }

  async receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    const wake = (): void => this.#wake?.();
    signal.addEventListener("abort", wake, { once: true });
    const { clock } = this.#session;
    const deadline = clock.monotonic() + waitMs;
    const timer = clock.timer(waitMs, wake);
    try {
      return await this.#receive(max, deadline, signal);
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", wake);
    }
  }

  async #receive(max: number, deadline: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    const { clock } = this.#session;
    let asked = false;
    for (;;) {
      if (this.#dead !== undefined) throw this.#dead;
      if (this.#ready.length > 0) return this.#handOut(max);
      if (signal.aborted || this.#leaving.signal.aborted) {
        await Promise.all([this.#main.puller.settled(), this.#inbox.puller.settled()]);
        return this.#handOut(max);
      }
      const left = deadline - clock.monotonic();
      if (asked && left <= 0 && !this.#main.puller.busy) return [];
      if (this.#main.puller.gone || this.#inbox.puller.gone) await this.#regroup();
      else {
        if (!asked || left > 0) this.#pull(max, Math.max(1, left));
        asked = true;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = undefined;
      }
    }
  }

  /** What came in one go is in the topic's order, also where some of it was given back in another. */
  #handOut(max: number): StreamDelivery[] {
    if (this.#ready.some((one, n) => n > 0 && one.numbers.stream < (this.#ready[n - 1] as StreamDelivery).numbers.stream))
      this.#ready.sort((a, b) => Number(a.inbox) - Number(b.inbox) || a.numbers.stream - b.numbers.stream);
    return this.#ready.splice(0, max);
  }

  #pull(max: number, waitMs: number): void {
    for (const { puller, leaseMs } of [this.#main, this.#inbox]) {
      if (puller.failure !== undefined) this.#fail(puller.failure);
      if (puller.busy || this.#dead !== undefined) continue;
      // Ownership is counted from the request, so a request must not wait for long compared with the lease.
      puller.pull(puller === this.#main.puller ? max : Math.min(max, INBOX_BATCH), Math.min(waitMs, leaseMs / 4, LONGEST_PULL_MS));
    }
    if (this.#dead !== undefined) this.#wake?.();
  }

  #take(lane: Lane, message: Message): void {
    if (lane !== this.#main && lane !== this.#inbox) return;
    const delivery = new StreamDelivery(lane.shard, message, lane.puller.sentAt + lane.leaseMs);
    const gap = lane === this.#main ? this.#gaps.before(delivery.numbers) : undefined;
    if (gap !== undefined) this.#events.dataLoss(MAIN, placeOf(MAIN, gap.first), placeOf(MAIN, gap.last), gap.missing);
    const remaining = Math.min(delivery.delayMs, delivery.numbers.storedAt + delivery.delayMs - this.#session.clock.now());
    if (remaining > 0) return this.#connection.publish(delivery.reply, "", "", nak(remaining));
    this.#owned.add(delivery);
    this.#ready.push(delivery);
  }

  /** A consumer is gone: the group was moved, or it is no more. Or it has no leader at the moment, and nobody can say. */
  async #regroup(): Promise<void> {
    const { api } = this.#session;
    const look = async (signal: AbortSignal): Promise<Group | Error> => {
      const now = await this.#session.group(this.topic, this.group, signal);
      const inbox = await api.consumer(this.#session.inbox(this.topic, this.group).stream, this.group, signal);
      if (now !== undefined && inbox !== undefined) return now;
      const there = await api.stream(this.#session.names(this.topic).stream, signal);
      return there === undefined ? topicMissing(this.topic) : groupMissing(this.topic, this.group);
    };
    const seen = await bounded(this.#session.clock, ANSWER_MS, look).catch(() => undefined);
    if (seen instanceof Error) return this.#fail(seen);
    for (const { puller } of [this.#main, this.#inbox]) puller.gone = false;
    if (seen !== undefined) this.moved(seen);
  }

  moved(group: Group): void {
    if (group.generation === this.#generation || this.#dead !== undefined) return;
    this.#generation = group.generation;
    void this.#main.puller.close();
    this.#giveBack();
    this.#lose("the group was moved by a seek");
    this.#main = this.#mainLane(group);
    this.#gaps = new Gaps(group.info);
    this.#wake?.();
  }

  #giveBack(): void {
    giveBack(
      this.#connection,
      [...this.#owned].filter(({ settled }) => settled === "no"),
    );
  }

  #lose(reason: string): void {
    const before = [this.#main.shard, this.#inbox.shard];
    this.#owned.clear();
    this.#ready = [];
    this.#inbox.shard = { id: RETRY };
    for (const shard of before) this.#events.lost(shard, reason);
  }

  #fail(error: unknown): void {
    if (this.#dead !== undefined) return;
    this.#dead = error;
    this.#timer?.cancel();
    const { orphans } = this.#session;
    const key = `${this.topic} ${this.group}`;
    if (this.#connection.down !== undefined)
      orphans.set(key, [...(orphans.get(key) ?? []), ...[...this.#owned].map(({ reply, leaseUntil }) => ({ reply, leaseUntil }))]);
    if (this.#closing === undefined) this.#lose(error instanceof Error ? error.message : String(error));
    this.#wake?.();
  }

  /** The connection is gone. */
  readonly disconnected = (error: Error): void => this.#fail(error);

  /** Now and then: keeps alive what waits here, and what was extended beyond a lease. */
  #tend(): void {
    const { clock } = this.#session;
    this.#timer = clock.timer(Math.min(this.#main.leaseMs, this.#inbox.leaseMs) / 3, () => {
      if (this.#dead !== undefined || this.#closing !== undefined) return;
      const now = clock.monotonic();
      const waiting = new Set(this.#ready);
      const due = [...this.#owned].filter((one) => one.settled === "no" && (waiting.has(one) || one.keepUntil > now));
      if (due.length > 0) void this.extend(due, 0);
      this.#tend();
    });
  }

  ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    return this.#settle(deliveries, true, () => ACK);
  }

  nack(items: readonly Nack[]): Promise<readonly SettleResult[]> {
    const delays = new Map<WireDelivery, number>(items.map(({ delivery, delayMs }) => [delivery, delayMs]));
    return this.#settle([...delays.keys()], true, (delivery) => nak(delays.get(delivery)));
  }

  async extend(deliveries: readonly WireDelivery[], ms: number): Promise<readonly SettleResult[]> {
    const now = this.#session.clock.monotonic();
    const results = await this.#settle(deliveries, false, () => WORKING);
    for (const [index, delivery] of (deliveries as readonly StreamDelivery[]).entries()) {
      if (results[index] !== "confirmed") continue;
      delivery.leaseUntil = Math.max(delivery.leaseUntil, now + (delivery.inbox ? this.#inbox : this.#main).leaseMs);
      delivery.keepUntil = Math.max(delivery.keepUntil, now + ms);
    }
    return results;
  }

  async #settle(
    deliveries: readonly WireDelivery[],
    final: boolean,
    body: (delivery: StreamDelivery) => Buffer,
  ): Promise<readonly SettleResult[]> {
    const results: SettleResult[] = new Array(deliveries.length).fill("lost");
    const shares = new Map<Shard, number[]>();
    const now = this.#session.clock.monotonic();
    for (const [index, delivery] of (deliveries as readonly StreamDelivery[]).entries()) {
      // An ack that is under way decides; whoever extends it meanwhile has lost nothing.
      if (delivery.settled === "asked" && !final) results[index] = "written";
      if (delivery.settled !== "no" || !this.#owned.has(delivery) || delivery.leaseUntil <= now) continue;
      if (final) delivery.settled = "asked";
      const share = shares.get(delivery.shard);
      if (share === undefined) shares.set(delivery.shard, [index]);
      else share.push(index);
    }
    const work = Promise.all([...shares.values()].map((indexes) => this.#tell(deliveries, indexes, final, body, results)));
    this.#settling.add(work);
    await work;
    this.#settling.delete(work);
    return results;
  }

  async #tell(
    deliveries: readonly WireDelivery[],
    indexes: readonly number[],
    final: boolean,
    body: (delivery: StreamDelivery) => Buffer,
    results: SettleResult[],
  ): Promise<void> {
    const some = indexes.map((index) => deliveries[index] as StreamDelivery);
    try {
      const words = some.map((delivery) => ({ reply: delivery.reply, body: body(delivery) }));
      await confirm(this.#connection, this.#session.clock, words);
      for (const index of indexes) results[index] = "confirmed";
      if (!final) return;
      this.#settledAt = this.#session.clock.monotonic();
      for (const delivery of some) {
        delivery.settled = "yes";
        this.#owned.delete(delivery);
      }
    } catch (error) {
      // It may be tried again; whether this time counted is found out then.
      if (final) for (const delivery of some) delivery.settled = "no";
      if (error instanceof NoResponders) {
        // The consumer is gone, and with it what it had handed out.
        for (const lane of [this.#main, this.#inbox]) if (lane.shard === some[0]?.shard) lane.puller.gone = true;
        this.#wake?.();
        return;
      }
      for (const index of indexes) results[index] = { error };
    }
  }

  async flush(): Promise<void> {
    while (this.#settling.size > 0) await Promise.allSettled([...this.#settling]);
    const { clock } = this.#session;
    const left = this.#settledAt + STORED_MS - clock.monotonic();
    if (left > 0 && this.#connection.down === undefined) await new Promise<void>((resolve) => void clock.timer(left, resolve));
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { clock, members, readers } = this.#session;
    this.#leaving.abort();
    this.#wake?.();
    this.#timer?.cancel();
    members.delete(this);
    readers.delete(this);
    const farewell = async (): Promise<void> => {
      await Promise.all([this.#main.puller.close(), this.#inbox.puller.close(), this.flush()]);
      if (this.#connection.down !== undefined) return;
      this.#giveBack();
      await this.#connection.flush();
    };
    await bounded(clock, FAREWELL_MS, farewell).catch(() => {});
    this.#dead ??= driverError("CLOSED", "The subscription is closed. Subscribe again.");
    this.#owned.clear();
    this.#ready = [];
    this.#wake?.();
  }
}
