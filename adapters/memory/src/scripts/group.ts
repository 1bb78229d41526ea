import { type Capabilities, type Cut, driverError, type ShardId, type WireLag, type WireStart } from "brokerkit/driver";
import { Alarm } from "./alarm.ts";
import { Delivery, Leases } from "./delivery.ts";
import { Line, spread } from "./line.ts";
import { Log, Spot, type Stored } from "./log.ts";
import { type Hand, Item, type Lane, type Member, Queue, Seat } from "./queue.ts";
import { cutOf } from "./reader.ts";
import type { Read, Source } from "./source.ts";

const INBOX = "inbox";

/**
 * A durable group. Where one acknowledgement covers one message, any member takes from any shard and what is out is tracked message by
 * message. Where it covers a prefix, as in logs, each shard has one owner and the group remembers a number.
 */
export class Group implements Source {
  readonly name: string;
  readonly line: Line = new Line();
  readonly members: Set<Member> = new Set();
  readonly inbox: Queue | undefined;
  readonly #topic: Read;
  readonly #record: Capabilities;
  readonly #shards: readonly Queue[];
  /** All shards, and the inbox. */
  readonly #queues: readonly Queue[];
  readonly #prefix: boolean;
  readonly #atMostOnce: boolean;
  readonly #leases = new Leases();
  /** Acknowledged deliveries of entries that are not acknowledged as a whole. */
  readonly #partly = new Map<object, Delivery[]>();
  readonly #alarm: Alarm;
  error: Error | undefined;

  constructor(topic: Read, name: string, spots: readonly Spot[]) {
    const { record } = topic.laws;
    this.name = name;
    this.#topic = topic;
    this.#record = record;
    this.#prefix = record.settle.unit === "prefix";
    this.#atMostOnce = record.delivery.group === "at-most-once";
    const hand: Hand = (seat, stored, deliveries, failures, lane, now) => this.#hand(seat, stored, deliveries, failures, lane, now);
    const keyed = record.keyOrder === "members" && !this.#prefix;
    this.#shards = spots.map((spot) => new Queue(spot, false, keyed, hand));
    const inbox = new Log(INBOX, { ...record.places, readers: false }, {});
    this.inbox = record.groupInbox === "none" ? undefined : new Queue(new Spot(inbox, { kind: "earliest" }, 0), true, keyed, hand);
    this.#queues = this.inbox === undefined ? this.#shards : [...this.#shards, this.inbox];
    this.#alarm = new Alarm(topic.laws.clock, () => this.serve(topic.laws.clock.monotonic()));
  }

  /** `exclusive`: the others' ownership is over, and what they held comes first. A key's messages wait for each other from now on. */
  join(member: Member, now: number, exclusive: boolean): void {
    if (exclusive) {
      for (const other of this.members) {
        for (const seat of other.seats) this.#release(seat, "another member reads alone from now on", now);
        this.leave(other, now);
      }
      for (const queue of this.#queues) queue.keyed = !this.#prefix;
    }
    // Nothing is kept for nobody.
    if (this.#atMostOnce && this.members.size === 0) {
      for (const queue of this.#shards) queue.restart(new Spot(queue.log, { kind: "latest" }, this.#topic.tickets));
    }
    this.members.add(member);
    if (this.#prefix) this.#share();
    else member.seats = this.#queues.map((queue) => new Seat(member, queue));
    this.serve(now);
  }

  leave(member: Member, now: number): void {
    if (!this.members.delete(member)) return;
    member.gone = true;
    this.line.end(member);
    for (const seat of member.seats) this.#release(seat, undefined, now);
    member.seats = [];
    if (this.#prefix) this.#share();
    this.serve(now);
  }

  end(error: Error): void {
    this.error = error;
    this.#alarm.cancel();
    for (const member of this.members) for (const seat of member.seats) seat.lose(error.message);
    this.line.end(undefined, error);
  }

  // ---- receive
  take(member: Member, max: number, now: number): Delivery[] {
    this.#tidy(now);
    const into: Delivery[] = [];
    spread(member.seats, member.turn++, max, into, (seat, share) => {
      const room = seat.paused ? 0 : Math.min(share, this.#room(seat));
      if (room > 0) seat.queue.take(seat, room, now, into);
    });
    return into;
  }

  serve(now: number): void {
    if (this.line.length === 0) return;
    const backlog = this.#queues.reduce((sum, queue) => sum + queue.log.next - queue.spot.next + queue.waiting.size, 0);
    this.line.serve(backlog, (member, max) => this.take(member, max, now));
    this.arm();
  }

  /** Wakes waiting receives when the next lease or delay ends. */
  arm(): void {
    if (this.line.length > 0)
      this.#alarm.at(Math.min(this.#leases.first()?.ends ?? Number.POSITIVE_INFINITY, ...this.#queues.map((queue) => queue.due)));
    else this.#alarm.cancel();
  }

  pause(member: Member, shards: readonly ShardId[], paused: boolean): void {
    for (const seat of member.seats) if (shards.includes(seat.shard.id)) seat.paused = paused;
  }

  floor(log: Log): number {
    const queue = this.#shards.find((one) => one.log === log);
    if (queue === undefined) return log.next;
    return this.#prefix ? queue.committed : queue.spot.next;
  }

  #room(seat: Seat): number {
    const { maxUnacked, scope } = this.#record.hold;
    if (maxUnacked === Number.POSITIVE_INFINITY) return maxUnacked;
    const seats =
      scope === "shard" ? [seat] : scope === "subscription" ? seat.member.seats : [...this.members].flatMap((member) => member.seats);
    return maxUnacked - seats.reduce((sum, one) => sum + one.out, 0);
  }

  #hand(seat: Seat, stored: Stored, deliveries: number, failures: number, lane: Lane | undefined, now: number): Delivery {
    const delivery = new Delivery(seat.shard, seat.queue.log, stored, deliveries, failures, seat, lane);
    seat.out++;
    if (this.#prefix) return delivery;
    if (lane !== undefined) {
      lane.owner = seat;
      lane.out++;
    }
    const { lease, hold } = this.#record;
    delivery.handedAt = now;
    this.#leases.add(delivery, lease.ms > 0 ? Math.min(lease.ms, hold.maxMs) : hold.maxMs, now);
    if (lease.ms > 0) delivery.leaseUntil = delivery.ends;
    return delivery;
  }

  /** Brings the group up to now: leases that ran out end. */
  #tidy(now: number): void {
    this.#topic.enter(now);
    for (let first = this.#leases.first(); first !== undefined && first.ends <= now; first = this.#leases.first()) {
      // Without leases it is the whole ownership that a backend takes from whoever holds a message for too long.
      if (this.#record.lease.ms === 0 && first.seat !== undefined)
        this.#release(first.seat, "a delivery was held longer than hold.maxMs", now);
      else this.#giveBack(first, this.#failuresOf(first), now, now);
    }
    if (this.inbox !== undefined) this.inbox.log.drop(this.#prefix ? this.inbox.committed : this.inbox.spot.next);
  }

  // ---- settle
  ack(member: Member, delivery: Delivery, now: number): boolean {
    this.#tidy(now);
    if (!this.#owns(member, delivery)) return false;
    const { seat, stored } = delivery;
    if (this.#prefix && seat !== undefined) {
      seat.queue.committed = stored.seq + 1;
      seat.out = seat.queue.spot.next - seat.queue.committed;
    } else this.#settle(delivery, now);
    const entry = stored.extra?.entry;
    if (entry !== undefined) {
      const partly = [...(this.#partly.get(entry) ?? []), delivery];
      if (partly.length < entry.size) this.#partly.set(entry, partly);
      else this.#partly.delete(entry);
    }
    return true;
  }

  /** Gives a delivery back, to be delivered again at `due`. */
  nack(member: Member, delivery: Delivery, failures: number, due: number, now: number): boolean {
    this.#tidy(now);
    if (!this.#owns(member, delivery)) return false;
    this.#giveBack(delivery, this.#record.redelivery.counted === "failures" ? failures : this.#failuresOf(delivery), due, now);
    return true;
  }

  extend(member: Member, delivery: Delivery, ms: number, now: number): boolean {
    this.#tidy(now);
    if (!this.#owns(member, delivery)) return false;
    this.#leases.remove(delivery);
    this.#leases.add(delivery, Math.max(0, Math.min(ms, delivery.handedAt + this.#record.hold.maxMs - now)), now);
    delivery.leaseUntil = delivery.ends;
    return true;
  }

  #owns(member: Member, delivery: Delivery): boolean {
    const { seat, live, shard, stored } = delivery;
    if (seat === undefined || seat.member !== member || !live || shard !== seat.shard) return false;
    return !this.#prefix || stored.seq >= seat.queue.committed;
  }

  #failuresOf(delivery: Delivery): number {
    return this.#record.redelivery.counted === "failures" ? delivery.failures : (delivery.stored.extra?.failures ?? 0);
  }

  #settle(delivery: Delivery, now: number): void {
    const { seat, lane } = delivery;
    delivery.live = false;
    this.#leases.remove(delivery);
    if (seat === undefined) return;
    if (seat.shard === delivery.shard) seat.out--;
    if (lane === undefined) return;
    lane.out--;
    if (lane.items.size > 0) seat.queue.offer(lane, now);
  }

  #giveBack(delivery: Delivery, failures: number, due: number, now: number): void {
    const { seat, stored, lane } = delivery;
    this.#settle(delivery, now);
    if (this.#atMostOnce || seat === undefined) return;
    const counted = this.#record.redelivery.counted === "none" ? 0 : delivery.deliveries;
    seat.queue.add(new Item(stored, lane, counted, failures, due), now);
    const { entry } = stored.extra ?? {};
    if (entry === undefined) return;
    const partly = this.#partly.get(entry) ?? [];
    this.#partly.delete(entry);
    for (const one of partly) one.seat?.queue.add(new Item(one.stored, one.lane, counted, one.failures, due), now);
  }

  /** Ends an ownership and gives back what it held; no failure is counted. */
  #release(seat: Seat, reason: string | undefined, now: number): void {
    const { queue, shard } = seat;
    seat.lose(reason);
    if (this.#prefix) {
      queue.owner = undefined;
      if (this.#atMostOnce) queue.committed = queue.spot.next;
      queue.spot.next = queue.committed;
    } else
      for (const delivery of this.#leases) if (delivery.shard === shard) this.#giveBack(delivery, this.#failuresOf(delivery), now, now);
  }

  /** Divides the shards evenly, moving as few as possible. */
  #share(): void {
    const byLoad = (): Member[] => [...this.members].sort((a, b) => a.seats.length - b.seats.length);
    const assign = (queue: Queue, member: Member): void => {
      queue.owner = new Seat(member, queue);
      member.seats.push(queue.owner);
    };
    for (const queue of this.#queues) {
      const [least] = byLoad();
      if (queue.owner === undefined && least !== undefined) assign(queue, least);
    }
    for (
      let [least, most] = [byLoad()[0], byLoad().at(-1)];
      least !== undefined && most !== undefined;
      [least, most] = [byLoad()[0], byLoad().at(-1)]
    ) {
      if (most.seats.length - least.seats.length < 2) return;
      const seat = most.seats.pop() as Seat;
      this.#release(seat, "the group's shards were divided anew", 0);
      assign(seat.queue, least);
    }
  }

  // ---- admin
  seek(to: WireStart, now: number): void {
    const members = [...this.members];
    if (this.#record.seek === "idle" && members.length > 0) {
      const names = members.map((member) => member.name);
      throw driverError("GROUP_ACTIVE", `The group "${this.name}" has ${names.length} members and moves only without. Close them first.`, {
        members: names,
      });
    }
    const spots = this.#topic.spots(to);
    for (const delivery of this.#leases) {
      if (delivery.inbox) continue;
      this.#leases.remove(delivery);
      delivery.live = false;
    }
    this.#partly.clear();
    for (const [n, queue] of this.#shards.entries()) queue.restart(spots[n] as Spot);
    for (const seat of members.flatMap((member) => member.seats)) if (seat.queue !== this.inbox) seat.lose("the group was moved");
    this.serve(now);
  }

  position(now: number): Cut {
    this.#tidy(now);
    return cutOf(
      this.#shards.map((queue) => {
        let floor = this.#prefix ? queue.committed : queue.spot.next;
        for (const { stored } of queue.waiting) floor = Math.min(floor, stored.seq);
        for (const { stored, log } of this.#leases) if (log === queue.log) floor = Math.min(floor, stored.seq);
        return [queue.log, floor];
      }),
    );
  }

  /** Counts by subtraction where every number is a message, else one by one. */
  lag(now: number, wallNow: number): WireLag {
    this.#tidy(now);
    const { count: kind, unit, inFlight, oldest } = this.#record.lag;
    let count = 0;
    let out = this.#leases.size;
    let publishedAt = Number.POSITIVE_INFINITY;
    const entries = new Set<object>();
    const see = (stored: Stored): void => {
      count++;
      publishedAt = Math.min(publishedAt, stored.publishedAt);
      if (unit === "entry") entries.add(stored.extra?.entry ?? stored);
    };
    for (const { stored } of this.#leases) see(stored);
    for (const queue of this.#queues) {
      const { spot, log, committed } = queue;
      const next = this.#prefix ? committed : spot.next;
      if (this.#prefix) out += queue.owner?.out ?? 0;
      for (const { stored } of queue.waiting) if (spot.wants(stored, now)) see(stored);
      for (const stored of log.from(next)) {
        if (spot.wants(stored, now)) see(stored);
        if (!log.plain || unit === "entry") continue;
        count += log.next - stored.seq - 1;
        break;
      }
      count += this.#topic.delayed(log, spot.since);
    }
    return {
      count: kind === "none" ? undefined : unit === "entry" ? entries.size : count,
      inFlight: inFlight ? out : undefined,
      oldestMs: !oldest ? undefined : publishedAt === Number.POSITIVE_INFINITY ? 0 : Math.max(0, wallNow - publishedAt),
    };
  }
}
