import { laneOf } from "./codec/key.ts";
import type { Consumption } from "./consumption.ts";
import { Copies } from "./dead-letter/copies.ts";
import { idOf } from "./delivery.ts";
import type { Clock } from "./driver/adapter.ts";
import type { Place, ShardId, WireDelivery } from "./driver/wire.ts";
import { type BrokerError, fromDriver } from "./errors.ts";
import { Failing } from "./failing.ts";
import { Window } from "./flow/window.ts";
import { Handling } from "./handling.ts";
import { Closing } from "./lifecycle/closing.ts";
import type { Connection } from "./lifecycle/connection.ts";
import { Feed } from "./lifecycle/feed.ts";
import { subscriberLoss } from "./lifecycle/loss.ts";
import type { Interceptor } from "./options.ts";
import { Backlog } from "./ordering/backlog.ts";
import { Alarm } from "./primitives/alarm.ts";
import type { PublishLine } from "./publish.ts";
import { Entry } from "./settlement/entry.ts";
import { Ownership } from "./settlement/ownership.ts";
import type { SubscriptionState } from "./surface.ts";
import type { Telemetry } from "./telemetry/events.ts";

export interface DeliverWiring {
  readonly adapter: string;
  readonly connection: Connection;
  readonly clock: Clock;
  readonly publish: PublishLine;
  readonly interceptors: readonly Interceptor[];
  readonly telemetry: Telemetry;
}

const CREDIT = 10_000;

/** THE DELIVERY LINE: receive, lane, decode … handler (handling.ts), retry, dead letter (failing.ts), settle; the file that knows this order. */
export class DeliverLine {
  readonly #wiring: DeliverWiring;
  readonly #options: Consumption;
  readonly #died: (error: BrokerError) => void;
  readonly #clock: Clock;
  readonly #feed: Feed;
  readonly #ownership: Ownership;
  readonly #backlog: Backlog<Entry>;
  readonly #copies: Copies<Entry>;
  readonly #handling: Handling;
  readonly #failing: Failing;
  readonly #window: Window;
  readonly #alarm: Alarm;
  readonly #closing: Closing;
  #concurrency: number;
  #demand = 0;
  #pumping = false;
  #paused = false;
  #taking = true;
  #reconnecting = false;

  /** `died`: it can't go on by itself. */
  constructor(wiring: DeliverWiring, options: Consumption, died: (error: BrokerError) => void) {
    this.#died = died;
    this.#wiring = wiring;
    this.#options = options;
    this.#clock = wiring.clock;
    this.#concurrency = options.concurrency;
    const { topic, group, from } = options;
    const { hold, settle, lease } = topic.capabilities;
    // Where the bound is a shard's, that shard alone pauses.
    const most = hold.scope === "shard" ? undefined : hold.maxUnacked;
    this.#window = new Window(this.#clock, (options.manual ? 1 : this.#concurrency) * (options.batch?.max ?? 1), most);
    this.#alarm = new Alarm(this.#clock, () => this.#ring());
    this.#closing = new Closing({
      clock: this.#clock,
      unfinished: () => this.#handling.size + this.#copies.pending + (this.#taking ? this.#backlog.size + this.#backlog.held : 0),
      giveUp: () => {
        this.#taking = false;
        this.#handling.abandon("the close deadline passed");
      },
    });
    this.#backlog = new Backlog(options.batch, (entry, now) => this.#ownership.owns(entry, now));
    this.#copies = new Copies({
      clock: this.#clock,
      topic: topic.wire,
      group: group ?? "",
      stop: this.#closing.stopped,
      publish: (record, ...rest) => wiring.publish.publishRecord(record, record.key && laneOf(record.key), ...rest),
      wanted: (entry) => entry.state === "copying",
      stored: (entry, reason) => {
        if (reason !== undefined) this.#emit({ type: "dead-letter", id: entry.id, reason });
        this.#ownership.settle(entry);
      },
      over: (entry) => this.#left(entry),
      failed: (entry, to, error) => this.#emit({ type: "copy-failed", id: entry.id, to, error }),
    });
    this.#feed = new Feed({
      adapter: wiring.adapter,
      topic: topic.wire,
      group,
      from,
      credit: CREDIT,
      connection: wiring.connection,
      clock: this.#clock,
      events: {
        releasing: (shard) => this.#ownership.release(shard),
        lost: (shard, reason) => this.#ownership.loseShard(shard, reason),
        state: (shard, state) => this.#emit({ type: "shard", shard, state }),
        dataLoss: (shard, lostFrom, to, missing) => this.#dataLoss(shard, lostFrom, to, missing),
      },
      room: () => this.#room(),
      accept: (deliveries, full) => this.#accept(deliveries, full),
      cut: (reason) => this.#ownership.loseShard(undefined, reason),
      state: (state) => {
        this.#reconnecting = state === "reconnecting";
      },
      died,
    });
    this.#ownership = new Ownership({
      clock: this.#clock,
      broadcast: group === undefined,
      unit: settle.unit,
      lease,
      hold,
      side: () => this.#feed.subscription,
      lost: (entry, was) => this.#lost(entry, was),
      told: (deliveries, shard, reason) => {
        this.#backlog.forget((entry) => entry.state === "lost");
        this.#emit({ type: "lost", shard, reason, deliveries });
        this.#pump();
      },
      settled: () => this.#wake(),
      stop: this.#closing.stopped,
      errorOf: (error) =>
        fromDriver(wiring.connection.driver, error, { adapter: wiring.adapter, doing: "acknowledge", topic: options.topic.name }),
      refused: died,
    });
    this.#failing = new Failing({
      clock: this.#clock,
      options,
      backlog: this.#backlog,
      copies: this.#copies,
      emit: (event) => this.#emit(event),
      dropped: (entry) => {
        this.#ownership.settle(entry);
        this.#left(entry);
      },
      waits: () => this.#alarm.at(this.#backlog.due),
    });
    this.#handling = new Handling(
      {
        adapter: wiring.adapter,
        clock: this.#clock,
        interceptors: wiring.interceptors,
        ownership: this.#ownership,
        failed: (...run) => this.#failing.failed(...run),
        given: (...verdict) => this.#failing.giveUp(...verdict),
        left: (entry) => this.#backlog.leave(entry),
        timedOut: ({ id, attempt }) => this.#emit({ type: "timeout", id, attempt: attempt - 1, timeoutMs: options.timeoutMs }),
        over: (messages) => {
          this.#window.handled(messages);
          // No handler got any of it, so whoever asked still waits.
          if (messages === 0) this.#demand++;
          this.#ownership.looseEnds();
          this.#pump();
          this.#closing.look();
        },
      },
      options,
    );
  }

  /** Subscribes; resolves to whether the group was created, once its start is durable. */
  start(): Promise<boolean> {
    return this.#feed.start();
  }

  get snapshot(): Pick<SubscriptionState, "state" | "inFlight" | "oldestInFlightMs"> {
    const state = this.#reconnecting ? "reconnecting" : this.#paused ? "paused" : this.#ownership.stalled ? "stalled" : "running";
    return { state, inFlight: this.#handling.size, oldestInFlightMs: this.#handling.oldestMs };
  }

  /** What goes on by itself at this point of time; what waits for its next attempt, or behind that, does not count. */
  get busy(): number {
    return this.#handling.size + this.#copies.pending + this.#ownership.settling + (this.#paused ? 0 : this.#backlog.available);
  }

  set concurrency(concurrency: number) {
    this.#concurrency = concurrency;
    this.#window.concurrency = concurrency * (this.#options.batch?.max ?? 1);
    this.#pump();
  }

  set paused(paused: boolean) {
    this.#paused = paused;
    this.#pump();
  }

  /** Streams: one more run may start. */
  pull(): void {
    this.#demand++;
    this.#pump();
  }

  async flush(): Promise<void> {
    await this.#ownership.flush();
    await this.#feed.subscription?.flush();
  }

  /** Drains until `deadline` (monotonic ms), then aborts what still runs; hands back the rest. */
  async close(deadline: number): Promise<void> {
    const { group, topic, manual } = this.#options;
    const closing = this.#closing;
    closing.begin(deadline);
    // Nobody else is given what a member of such a group has taken, so it is handled here; unless its user has said that no more is to be.
    this.#taking = group !== undefined && topic.capabilities.delivery.group === "at-most-once" && !manual && !this.#paused;
    await closing.bounded(this.#feed.stop());
    await closing.bounded(this.#taking ? this.#takeAll() : this.#ownership.handBack(this.#backlog.drain()));
    if (manual) this.#handling.abandon("the stream was closed");
    await closing.finish(deadline, () => this.#ownership.flush());
    await closing.bounded(this.#ownership.handBack(this.#ownership.all()));
    closing.stop();
    this.#alarm.cancel();
    this.#ownership.stop();
    await closing.bounded(this.#feed.leave());
    closing.end();
  }

  /** Stops listening, and handles what had come by then. */
  async #takeAll(): Promise<void> {
    const { subscription } = this.#feed;
    subscription?.pause?.();
    for (let more = subscription?.pause !== undefined; more; ) {
      const { maxRecords } = this.#options.topic.capabilities.receive;
      const deliveries = (await subscription?.receive(maxRecords, 0, this.#closing.stopped)) ?? [];
      this.#accept(deliveries, false);
      more = deliveries.length > 0;
    }
  }

  /** Closing, if it is under way, ends at this time already. */
  hurry(deadline: number): void {
    this.#closing.hurry(deadline);
  }

  // ---- receive
  #room(): number {
    const { manual, batch, topic } = this.#options;
    // What is held for its next attempt, and what waits behind it, must not keep other keys from coming.
    const { size, available, held } = this.#backlog;
    const active = this.#ownership.size - this.#ownership.recorded - (size - available) - held;
    // What is handled and waits behind a gap is bounded by its shard's hold.
    const owned = this.#ownership.size - (topic.capabilities.hold.scope === "shard" ? this.#ownership.recorded : 0);
    // A stream's user may hold what it likes unsettled; what nobody has asked for is what counts.
    const wanted = manual
      ? this.#window.ahead(this.#demand * (batch?.max ?? 1), size)
      : this.#window.room(active, owned, this.#ownership.bytes, this.#idle);
    return this.#paused || this.#closing.underWay ? 0 : Math.min(wanted, topic.capabilities.receive.maxRecords);
  }

  /** Handlers have nothing to do. */
  get #idle(): boolean {
    return this.#backlog.dry && this.#handling.size < this.#concurrency;
  }

  #accept(deliveries: readonly WireDelivery[], full: boolean): void {
    const { topic, order } = this.#options;
    const idle = this.#idle;
    const now = this.#clock.monotonic();
    for (const wire of deliveries) {
      const lane = order === "none" ? undefined : order === "topic" ? "" : wire.key === undefined ? undefined : laneOf(wire.key);
      const entry = new Entry(wire, idOf(wire, topic.wire), lane, now);
      if (this.#ownership.add(entry) && this.#taking) this.#backlog.add(entry);
    }
    this.#window.arrived(idle, full);
    this.#ownership.watch();
    this.#pump();
  }

  // ---- lane
  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    while (!this.#paused && this.#taking && this.#handling.size < this.#concurrency && !(this.#options.manual && this.#demand === 0)) {
      const now = this.#clock.monotonic();
      const entries = this.#backlog.take(now);
      if (entries === undefined) break;
      if (this.#options.manual) this.#demand--;
      this.#alarm.at(this.#handling.start(entries, now)); // decode, trace, interceptors, handler
    }
    this.#pumping = false;
    this.#alarm.at(this.#backlog.due);
    this.#wake();
  }

  #wake(): void {
    if (this.#room() > 0) this.#feed.wake();
  }

  // ---- retry, dead letter or dropped: failing.ts
  #left(entry: Entry): void {
    this.#backlog.leave(entry);
    this.#ownership.looseEnds();
    this.#pump();
    this.#closing.look();
  }

  // ---- settle
  /** No longer ours. A running handler keeps its lane until it returns or its time is over; an ack may be on its way while it runs. */
  #lost(entry: Entry, was: Entry["state"]): void {
    if (was === "running") this.#handling.lost(entry);
    else if (was !== "settling") this.#backlog.leave(entry);
  }

  #dataLoss(shard: ShardId, from: Place | undefined, to: Place | undefined, missing: number | undefined): void {
    const { topic, group, onDataLoss } = this.#options;
    this.#emit({ type: "data-loss", shard, from, to, missing });
    const level = group === undefined ? topic.capabilities.delivery.broadcast : topic.capabilities.delivery.group;
    // Where losing is what the backend promises, it is counted and reported, and no reason to stop.
    if (onDataLoss === "skip" || level === "at-most-once") return;
    this.#died(subscriberLoss(this.#wiring.adapter, topic.name, group, from, to));
  }

  /** Due retries, filled batches, handlers out of time: one timer for all. */
  #ring(): void {
    this.#alarm.at(this.#handling.expire(this.#clock.monotonic()));
    this.#pump();
  }

  #emit(event: Parameters<Telemetry["emit"]>[0]): void {
    this.#wiring.telemetry.emit({ topic: this.#options.topic.name, group: this.#options.group, ...event });
  }
}
