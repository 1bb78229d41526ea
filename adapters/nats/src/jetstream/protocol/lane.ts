import type { Clock, Shard, ShardId } from "brokerkit/driver";
import { bounded } from "../../client.ts";
import { type Connection, NoResponders } from "../../protocol/connection.ts";
import type { Message } from "../../protocol/parser.ts";
import { confirm, giveBack, NAK, nak, type Word } from "./acks.ts";
import { ackSubject, type ConsumerInfo, type JetStreamApi, leaseOf } from "./api.ts";
import { StreamDelivery } from "./delivery.ts";
import { LONGEST_PULL_MS, Puller } from "./puller.ts";
import { Succession } from "./succession.ts";

/** How many sequences to ask back at once. */
const RECALL = 4_096;
/** How long to wait for what was asked back, for the server's word on what is out, and after it would not say. */
const COMING_MS = 100;
const ANSWER_MS = 2_000;
const BACKOFF_MS = 250;

export interface LaneEvents {
  /** A delivery, in the order of coming, also one that is kept back. */
  came(delivery: StreamDelivery): void;
  lost(shard: Shard, reason: string): void;
  /** Look again: there is something to hand out, or nothing more comes of what was asked. */
  wake(): void;
}

export interface LaneSource {
  readonly id: ShardId;
  readonly stream: string;
  readonly consumer: ConsumerInfo;
  /** Nobody else is to read it now. */
  readonly exclusive: boolean;
}

/** One consumer of a group as one member sees it: what it owns of it, and of that, what waits to be handed out. */
export class Lane {
  readonly leaseMs: number;
  /** Of this ownership. */
  shard: Shard;
  readonly #connection: Connection;
  readonly #clock: Clock;
  readonly #api: JetStreamApi;
  readonly #stream: string;
  /** As last seen. */
  #consumer: ConsumerInfo;
  readonly #events: LaneEvents;
  /** Two, so that one asks for more while what the other has asked for is still coming. */
  readonly #pullers: readonly [Puller, Puller];
  readonly #succession: Succession | undefined;
  /** Assigned to us and not settled, by stream sequence. */
  readonly #owned = new Map<number, StreamDelivery>();
  #ready: StreamDelivery[] = [];
  #recalling = false;
  #closed = false;
  /** No lease of what is owned ends before (monotonic ms). */
  #safeUntil = Number.POSITIVE_INFINITY;
  #pulled: (() => void) | undefined;

  constructor(connection: Connection, clock: Clock, api: JetStreamApi, source: LaneSource, events: LaneEvents) {
    const { id, stream, consumer, exclusive } = source;
    this.#connection = connection;
    this.#clock = clock;
    this.#api = api;
    this.#stream = stream;
    this.#consumer = consumer;
    this.#events = events;
    this.leaseMs = leaseOf(consumer);
    this.shard = { id };
    this.#succession = exclusive ? new Succession(consumer) : undefined;
    const puller = (): Puller => {
      const one: Puller = new Puller(connection, clock, api.pullSubject(stream, consumer.name), {
        message: (message) => this.#take(message, one.sentAt),
        over: () => {
          this.#pulled?.();
          events.wake();
        },
      });
      return one;
    };
    this.#pullers = [puller(), puller()];
  }

  /** The server says that there is no such consumer, or does not answer for it. */
  get gone(): boolean {
    return this.#pullers.some((puller) => puller.gone);
  }

  set gone(gone: boolean) {
    for (const puller of this.#pullers) puller.gone = gone;
  }

  /** What the server refused a request with, for good. */
  get failure(): Error | undefined {
    return this.#pullers.find((puller) => puller.failure !== undefined)?.failure;
  }

  /** What waits here, and what was extended beyond a lease: nobody else keeps these alive. */
  get untended(): StreamDelivery[] {
    const now = this.#clock.monotonic();
    const waiting = new Set(this.#ready);
    return this.outstanding.filter((one) => waiting.has(one) || one.keepUntil > now);
  }

  /** All that is owned and not about to be settled. */
  get outstanding(): StreamDelivery[] {
    return [...this.#owned.values()].filter(({ settled }) => settled === "no");
  }

  owns(delivery: StreamDelivery): boolean {
    return this.#owned.get(delivery.numbers.stream) === delivery;
  }

  settled(delivery: StreamDelivery): void {
    delivery.settled = "done";
    if (this.owns(delivery)) this.#owned.delete(delivery.numbers.stream);
  }

  /** Sees to it that about `max` messages are asked for. */
  pull(max: number, waitMs: number): void {
    const coming = this.#pullers.reduce((sum, { left }) => sum + left, 0);
    if (this.#recalling || coming > max / 2) return;
    if (this.#succession?.open !== true) {
      const idle = this.#pullers.find(({ busy }) => !busy);
      // Ownership is counted from the request, so a request must not wait for long compared with the lease.
      return idle?.pull(max - coming, Math.min(waitMs, this.leaseMs / 4, LONGEST_PULL_MS));
    }
    if (coming > 0) return;
    this.#recalling = true;
    void this.#recall(this.#succession)
      .catch(async (error: unknown) => {
        if (error instanceof NoResponders) this.gone = true;
        else await new Promise<void>((resolve) => void this.#clock.timer(BACKOFF_MS, resolve));
      })
      .finally(() => {
        this.#recalling = false;
        this.#events.wake();
      });
  }

  #take(message: Message, askedAt: number): void {
    const delivery = new StreamDelivery(this.shard, message, askedAt + this.leaseMs);
    const { stream, storedAt } = delivery.numbers;
    const held = this.#owned.get(stream);
    // Handed out again although it is ours: somebody who had it before has given it back late. An ack on its way counts for it as well.
    const again = held !== undefined && held.settled !== "nack" && held.leaseUntil > this.#clock.monotonic();
    this.#succession?.came(delivery.numbers, again);
    this.#events.came(delivery);
    if (again) return;
    const remaining = Math.min(delivery.delayMs, storedAt + delivery.delayMs - this.#clock.now());
    if (remaining > 0) return this.#connection.say(delivery.reply, nak(remaining));
    this.#owned.set(stream, delivery);
    this.#ready.push(delivery);
    this.#safeUntil = Math.min(this.#safeUntil, delivery.leaseUntil);
    this.#events.wake();
  }

  /** At most `max` in the stream's order, also where some of them were given back in another. */
  handOut(max: number): StreamDelivery[] {
    if (this.#succession !== undefined) this.#fence(this.#succession);
    if (this.#succession?.open || this.#ready.length === 0) return [];
    if (this.#ready.some((one, n) => n > 0 && one.numbers.stream < (this.#ready[n - 1] as StreamDelivery).numbers.stream))
      this.#ready.sort((a, b) => a.numbers.stream - b.numbers.stream);
    return this.#ready.splice(0, max);
  }

  /** A lease that has ended brings its message again, behind newer ones that are here: so all of this ownership ends, and comes again. */
  #fence(succession: Succession): void {
    const now = this.#clock.monotonic();
    if (this.#safeUntil > now) return;
    this.#safeUntil = this.outstanding.reduce((least, { leaseUntil }) => Math.min(least, leaseUntil), Number.POSITIVE_INFINITY);
    if (this.#safeUntil > now) return;
    this.giveBack();
    this.lose("a lease has ended");
    succession.reopen();
  }

  /** Has given to us what is out elsewhere, and keeps back what is newer until that is here. */
  async #recall(succession: Succession): Promise<void> {
    const alive = (): boolean =>
      succession.open && !this.#closed && !this.gone && this.failure === undefined && this.#connection.down === undefined;
    for (let waitMs = 0; alive(); waitMs = COMING_MS) {
      if (!(await this.#look(succession))) return;
      const { from, to } = succession.range;
      for (let at = from; at <= to && alive(); at += RECALL) {
        await this.#askBack(at, Math.min(to, at + RECALL - 1));
        for (let before = -1; alive() && succession.left > 0 && succession.left !== before; ) {
          before = succession.left;
          await this.#pullOnce(before, waitMs);
        }
      }
    }
  }

  /** What is out, by the consumer's word. */
  async #look(succession: Succession): Promise<boolean> {
    const before = this.outstanding;
    const consumer = await bounded(this.#clock, ANSWER_MS, (signal) => this.#api.consumer(this.#stream, this.#consumer.name, signal));
    this.gone = consumer === undefined;
    if (consumer === undefined) return false;
    this.#consumer = consumer;
    // What was ours all the time: an ack on its way is counted there, or not any more.
    succession.seen(consumer, before.filter((one) => one.settled === "no" && this.owns(one)).length);
    return true;
  }

  /** Gives back, in the name of whoever has it, what is not ours. What is not pending stays as it is. */
  async #askBack(from: number, to: number): Promise<void> {
    const words: Word[] = [];
    for (let sequence = from; sequence <= to; sequence++)
      if (!this.#owned.has(sequence)) words.push({ reply: ackSubject(this.#stream, this.#consumer, sequence), text: NAK });
    await confirm(this.#connection, this.#clock, words);
  }

  #pullOnce(max: number, waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#pulled = resolve;
      this.#pullers[0].pull(Math.min(max, 1_000), waitMs);
    });
  }

  giveBack(): void {
    giveBack(this.#connection, this.outstanding);
  }

  /** This ownership is over. */
  lose(reason: string): void {
    const { shard } = this;
    this.shard = { id: shard.id };
    this.forget();
    this.#events.lost(shard, reason);
  }

  forget(): void {
    this.#owned.clear();
    this.#ready = [];
    this.#safeUntil = Number.POSITIVE_INFINITY;
  }

  /** Nothing more is asked for; resolves when nothing more comes. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#pullers.map((puller) => puller.close()));
  }
}
