import {
  driverError,
  type Nack,
  type SettleResult,
  type Shard,
  type ShardId,
  type SubscribeRequest,
  type Subscription,
  type Timer,
  type WireDelivery,
} from "brokerkit/driver";
import { bounded } from "../client.ts";
import { groupMissing, topicMissing } from "../errors.ts";
import { type Connection, NoResponders } from "../protocol/connection.ts";
import type { Group, MadeGroup, Member, Session } from "./client.ts";
import { cutFrom, MAIN, placeOf, RETRY } from "./mapping.ts";
import { ACK, confirm, giveBack, nak, WORKING } from "./protocol/acks.ts";
import type { ConsumerInfo } from "./protocol/api.ts";
import type { StreamDelivery } from "./protocol/delivery.ts";
import { Gaps } from "./protocol/gaps.ts";
import { Lane } from "./protocol/lane.ts";
import { StreamReader } from "./protocol/reader.ts";

/** Inbox messages that one pull asks for. */
const INBOX_BATCH = 64;
/** How long the server may take to say what became of a group, and all of closing. */
const ANSWER_MS = 2_000;
const FAREWELL_MS = 1_500;

/** A server writes what its consumers know at most every 100 ms; only then does it outlive the server. */
const STORED_MS = 150;

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

type Verb = "ack" | "nack" | "extend";

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
  readonly #exclusive: boolean;
  #main: Lane;
  readonly #inbox: Lane;
  #generation: number;
  #gaps: Gaps;
  #dead: unknown;
  #closing: Promise<void> | undefined;
  /** When the last ack was confirmed. */
  #settledAt = Number.NEGATIVE_INFINITY;
  #wake: (() => void) | undefined;
  #timer: Timer | undefined;

  private constructor(session: Session, connection: Connection, request: SubscribeRequest, group: string, made: MadeGroup) {
    this.#session = session;
    this.#events = request.events;
    this.#connection = connection;
    this.topic = request.topic;
    this.group = group;
    this.created = made.created;
    this.#exclusive = request.exclusive === true;
    this.#generation = made.generation;
    this.#gaps = new Gaps(made.info);
    this.#main = this.#lane(MAIN, session.names(this.topic).stream, made.info);
    this.#inbox = this.#lane(RETRY, session.inbox(this.topic, group).stream, made.inbox);
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

  #lane(id: ShardId, stream: string, consumer: ConsumerInfo): Lane {
    const { clock, api } = this.#session;
    const source = { id, stream, consumer, exclusive: this.#exclusive };
    return new Lane(this.#connection, clock, api, source, {
      came: (delivery) => {
        const gap = id === MAIN ? this.#gaps.before(delivery.numbers) : undefined;
        if (gap !== undefined) this.#events.dataLoss(MAIN, placeOf(MAIN, gap.first), placeOf(MAIN, gap.last), gap.missing);
      },
      lost: (shard, reason) => this.#events.lost(shard, reason),
      wake: () => this.#wake?.(),
    });
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
    for (let asked = false; ; ) {
      if (this.#dead !== undefined) throw this.#dead;
      const taken = this.#main.handOut(max);
      if (taken.length < max) taken.push(...this.#inbox.handOut(max - taken.length));
      if (taken.length > 0) return taken;
      // What still comes waits for the next call.
      if (signal.aborted || this.#leaving.signal.aborted) return [];
      const left = deadline - clock.monotonic();
      if (asked && left <= 0) return [];
      if (this.#main.gone || this.#inbox.gone) {
        await this.#regroup();
        continue;
      }
      this.#pull(max, Math.max(1, left));
      asked = true;
      if (this.#dead !== undefined) throw this.#dead;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }

  #pull(max: number, waitMs: number): void {
    for (const lane of [this.#main, this.#inbox]) {
      if (lane.failure !== undefined) return this.#fail(lane.failure);
      lane.pull(lane === this.#main ? max : Math.min(max, INBOX_BATCH), waitMs);
    }
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
    for (const lane of [this.#main, this.#inbox]) lane.gone = false;
    if (seen !== undefined) this.moved(seen);
  }

  moved(group: Group): void {
    if (group.generation === this.#generation || this.#dead !== undefined) return;
    this.#generation = group.generation;
    void this.#main.close();
    for (const lane of [this.#main, this.#inbox]) lane.giveBack();
    this.#lose("the group was moved by a seek");
    this.#gaps = new Gaps(group.info);
    this.#main = this.#lane(MAIN, this.#session.names(this.topic).stream, group.info);
    this.#wake?.();
  }

  #lose(reason: string): void {
    for (const lane of [this.#main, this.#inbox]) lane.lose(reason);
  }

  #fail(error: unknown): void {
    if (this.#dead !== undefined) return;
    this.#dead = error;
    this.#timer?.cancel();
    const { orphans } = this.#session;
    const key = `${this.topic} ${this.group}`;
    const owned = [this.#main, this.#inbox].flatMap((lane) => lane.outstanding);
    if (this.#connection.down !== undefined)
      orphans.set(key, [...(orphans.get(key) ?? []), ...owned.map(({ reply, leaseUntil }) => ({ reply, leaseUntil }))]);
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
      const due = [this.#main, this.#inbox].flatMap((lane) => lane.untended);
      if (due.length > 0) void this.extend(due, 0);
      this.#tend();
    });
  }

  ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    return this.#settle(deliveries, "ack", () => ACK);
  }

  nack(items: readonly Nack[]): Promise<readonly SettleResult[]> {
    const delays = new Map<WireDelivery, number>(items.map(({ delivery, delayMs }) => [delivery, delayMs]));
    return this.#settle([...delays.keys()], "nack", (delivery) => nak(delays.get(delivery)));
  }

  async extend(deliveries: readonly WireDelivery[], ms: number): Promise<readonly SettleResult[]> {
    const now = this.#session.clock.monotonic();
    const results = await this.#settle(deliveries, "extend", () => WORKING);
    for (const [index, delivery] of (deliveries as readonly StreamDelivery[]).entries()) {
      if (results[index] !== "confirmed") continue;
      delivery.leaseUntil = Math.max(delivery.leaseUntil, now + this.#laneOf(delivery).leaseMs);
      delivery.keepUntil = Math.max(delivery.keepUntil, now + ms);
    }
    return results;
  }

  #laneOf(delivery: StreamDelivery): Lane {
    return delivery.inbox ? this.#inbox : this.#main;
  }

  async #settle(
    deliveries: readonly WireDelivery[],
    verb: Verb,
    text: (delivery: StreamDelivery) => string,
  ): Promise<readonly SettleResult[]> {
    const results: SettleResult[] = new Array(deliveries.length).fill("lost");
    const shares = new Map<Shard, number[]>();
    const now = this.#session.clock.monotonic();
    for (const [index, delivery] of (deliveries as readonly StreamDelivery[]).entries()) {
      // An ack that is under way decides; whoever extends it meanwhile has lost nothing.
      if (verb === "extend" && (delivery.settled === "ack" || delivery.settled === "nack")) results[index] = "written";
      if (delivery.settled !== "no" || !this.#laneOf(delivery).owns(delivery) || delivery.leaseUntil <= now) continue;
      if (verb !== "extend") delivery.settled = verb;
      const share = shares.get(delivery.shard);
      if (share === undefined) shares.set(delivery.shard, [index]);
      else share.push(index);
    }
    const work = Promise.all([...shares.values()].map((indexes) => this.#tell(deliveries, indexes, verb, text, results)));
    this.#settling.add(work);
    await work;
    this.#settling.delete(work);
    return results;
  }

  async #tell(
    deliveries: readonly WireDelivery[],
    indexes: readonly number[],
    verb: Verb,
    text: (delivery: StreamDelivery) => string,
    results: SettleResult[],
  ): Promise<void> {
    const some = indexes.map((index) => deliveries[index] as StreamDelivery);
    try {
      const words = some.map((delivery) => ({ reply: delivery.reply, text: text(delivery) }));
      await confirm(this.#connection, this.#session.clock, words);
      for (const index of indexes) results[index] = "confirmed";
      if (verb === "extend") return;
      this.#settledAt = this.#session.clock.monotonic();
      for (const delivery of some) this.#laneOf(delivery).settled(delivery);
    } catch (error) {
      // It may be tried again; whether this time counted is found out then.
      if (verb !== "extend") for (const delivery of some) delivery.settled = "no";
      if (error instanceof NoResponders) {
        // The consumer is gone, and with it what it had handed out.
        for (const lane of [this.#main, this.#inbox]) if (lane.shard === some[0]?.shard) lane.gone = true;
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
      await Promise.all([this.#main.close(), this.#inbox.close(), this.flush()]);
      if (this.#connection.down !== undefined) return;
      for (const lane of [this.#main, this.#inbox]) lane.giveBack();
      await this.#connection.flush();
    };
    await bounded(clock, FAREWELL_MS, farewell).catch(() => {});
    this.#dead ??= driverError("CLOSED", "The subscription is closed. Subscribe again.");
    for (const lane of [this.#main, this.#inbox]) lane.forget();
    this.#wake?.();
  }
}
