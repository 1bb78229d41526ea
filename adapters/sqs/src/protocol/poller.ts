import { type Clock, driverError, type Shard, type SubscriptionEvents, type Timer } from "brokerkit/driver";
import type { Aws } from "../client.ts";
import { classify } from "../errors.ts";
import { askQueue } from "./calls.ts";
import { SECOND_MS, SqsDelivery } from "./delivery.ts";
import { newCall } from "./http.ts";
import type { Hidden, Receipts } from "./receipts.ts";

/** A request receives at most so many. */
const ENTRIES = 10;
/** What has a time to be due waits here up to so many; the rest waits on the server. */
const MOST_EARLY = 1_000;
const MOST_SEEN = 10_000;
/** What came while nobody asked for it goes back after this time. */
const UNCLAIMED_MS = 1_000;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2_000;

export interface PollerWiring {
  readonly aws: Aws;
  readonly clock: Clock;
  readonly url: string;
  readonly over: AbortSignal;
  readonly receipts: Receipts;
  readonly events: Pick<SubscriptionEvents, "state" | "lost">;
  /** The server is out of reach. */
  readonly down: (error: unknown) => void;
  readonly fifo: boolean;
  readonly leaseMs: number;
  readonly pollMs: number;
  /** The most polls side by side. */
  readonly widest: number;
  /** Nobody else reads this queue: what comes is deleted at once. */
  readonly alone: boolean;
}

/**
 * Receives from one queue by polls side by side. Leases outlive any link, so it heals by itself; polls that found nothing yet go on when
 * `receive` returns, and what they bring is for the next.
 */
export class Poller {
  readonly #wiring: PollerWiring;
  readonly #shard: Shard = { id: "0" };
  readonly #polls = new Map<Promise<void>, number>();
  readonly #putting = new Set<Promise<unknown>>();
  readonly #pollMs: number;
  /** Assigned by the server, not handed out yet; and what has a time to be due, soonest first. */
  #ready: SqsDelivery[] = [];
  #early: SqsDelivery[] = [];
  /** Alone: what could not be deleted in time comes again, and was handed out already. */
  readonly #seen = new Set<string>();
  /** Polls side by side: one where there is little, more while they come back full. */
  #width = 1;
  #receiving = 0;
  #unclaimed: Timer | undefined;
  #troubles = 0;
  #pauseUntil = 0;
  #dead: unknown;
  #ending = false;
  #woken = Promise.withResolvers<void>();

  constructor(wiring: PollerWiring) {
    this.#wiring = wiring;
    // Ownership is counted from before the poll, so a poll must be short compared with the lease.
    this.#pollMs = Math.max(SECOND_MS, Math.min(wiring.pollMs, Math.floor(wiring.leaseMs / 3)));
  }

  async receive(max: number, waitMs: number, signal: AbortSignal): Promise<SqsDelivery[]> {
    const { clock } = this.#wiring;
    const deadline = clock.monotonic() + waitMs;
    this.#receiving++;
    this.#unclaimed?.cancel();
    try {
      for (;;) {
        if (this.#dead !== undefined) throw this.#dead;
        const deliveries = this.#take(max);
        const left = deadline - clock.monotonic();
        if (deliveries.length > 0 || signal.aborted || this.#ending || left <= 0) return deliveries;
        const woken = this.#woken.promise;
        const pause = this.#pauseUntil - clock.monotonic();
        if (pause <= 0) this.#poll(max);
        await this.#wait(woken, Math.min(left, pause > 0 ? pause : left, this.#dueIn()), signal);
      }
    } finally {
      this.#receiving--;
      this.#claim();
    }
  }

  /** Starts nothing more. Resolves when what is under way has ended; what was not handed out is then for `unhanded`. */
  async end(): Promise<void> {
    this.#ending = true;
    this.#unclaimed?.cancel();
    this.#wake();
    await Promise.allSettled([...this.#polls.keys(), ...this.#putting]);
  }

  unhanded(): SqsDelivery[] {
    return [...this.#ready.splice(0), ...this.#early.splice(0)];
  }

  #take(max: number): SqsDelivery[] {
    while (this.#early.length > 0 && this.#dueIn() <= 0) this.#ready.push(this.#early.shift() as SqsDelivery);
    if (this.#ready.length === 0) return [];
    const now = this.#wiring.clock.monotonic();
    // What lay here beyond its lease is somebody else's.
    return this.#ready.splice(0, max).filter(({ leaseUntil }) => leaseUntil > now);
  }

  #dueIn(): number {
    const [first] = this.#early;
    return first === undefined ? Number.POSITIVE_INFINITY : first.dueMs - this.#wiring.clock.now();
  }

  #wait(woken: Promise<void>, ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        timer.cancel();
        signal.removeEventListener("abort", end);
        resolve();
      };
      const timer = this.#wiring.clock.timer(ms, end);
      signal.addEventListener("abort", end);
      void woken.then(end);
    });
  }

  #wake(): void {
    const { resolve } = this.#woken;
    this.#woken = Promise.withResolvers<void>();
    resolve();
  }

  /** Starts what polls are missing. The first waits as long as it may; those beside it are there for what lies ready. */
  #poll(max: number): void {
    // What waits here for its time must not keep from coming what is due sooner.
    let wanted = this.#early.length < MOST_EARLY ? max : 0;
    for (const asked of this.#polls.values()) wanted -= asked;
    while (wanted > 0 && this.#polls.size < this.#width) {
      const asked = Math.min(ENTRIES, wanted);
      const poll = this.#ask(asked, this.#polls.size === 0 ? Math.floor(this.#pollMs / SECOND_MS) : 1).finally(() => {
        this.#polls.delete(poll);
        this.#wake();
      });
      this.#polls.set(poll, asked);
      wanted -= asked;
    }
  }

  async #ask(asked: number, seconds: number): Promise<void> {
    const { aws, clock, url, over, fifo, leaseMs, widest, alone, events } = this.#wiring;
    const startedAt = clock.monotonic();
    try {
      const input = {
        QueueUrl: url,
        MaxNumberOfMessages: asked,
        WaitTimeSeconds: seconds,
        // Who is alone deletes at once and knows what it has seen: what a poll was given that broke shall come again soon.
        VisibilityTimeout: alone ? 1 : leaseMs / SECOND_MS,
        MessageAttributeNames: ["All"],
        MessageSystemAttributeNames: fifo ? FIFO_ATTRIBUTES : ATTRIBUTES,
      };
      const { Messages = [] } = await askQueue(aws.polls, "ReceiveMessage", input, newCall(over, seconds * SECOND_MS));
      if (this.#troubles > 0) events.state(this.#shard.id, "up");
      this.#troubles = 0;
      if (Messages.length === 0) this.#width = 1;
      else this.#width = Math.min(widest, Messages.length * 2 >= asked ? this.#width * 2 : this.#width + 1);
      const lease = alone ? Number.POSITIVE_INFINITY : leaseMs;
      this.#arrived(Messages.map((message) => new SqsDelivery(this.#shard, message, startedAt, lease)));
    } catch (error) {
      if (!over.aborted) this.#failed(error);
    }
  }

  #arrived(deliveries: SqsDelivery[]): void {
    const kept = this.#hideEarly(deliveries);
    const fresh = this.#wiring.alone ? this.#takeOut(kept) : kept;
    for (const delivery of fresh) (delivery.dueMs > 0 ? this.#early : this.#ready).push(delivery);
    this.#early.sort((a, b) => a.dueMs - b.dueMs);
    this.#claim();
  }

  /** What nobody asks for goes back after a while: other members may have time for it. */
  #claim(): void {
    const idle = this.#receiving === 0 && !this.#ending && !this.#wiring.alone;
    if (!idle || this.#ready.length + this.#early.length === 0) return;
    this.#unclaimed?.cancel();
    this.#unclaimed = this.#wiring.clock.timer(UNCLAIMED_MS, () => this.#track(this.#wiring.receipts.release(this.unhanded())));
  }

  /** Hides what is not due for long, and of a message group all that is behind anything early. Returns the rest. */
  #hideEarly(deliveries: SqsDelivery[]): SqsDelivery[] {
    const now = this.#wiring.clock.now();
    if (!deliveries.some(({ dueMs }) => dueMs > now)) return deliveries;
    const blocked = new Set<string | undefined>();
    const rest: SqsDelivery[] = [];
    const hidden: Hidden[] = [];
    for (const delivery of deliveries) {
      const { dueMs, messageGroup } = delivery;
      const seconds = Math.floor(Math.max(0, dueMs - now) / SECOND_MS);
      if (seconds > 0 || blocked.has(messageGroup)) hidden.push({ delivery, seconds });
      else rest.push(delivery);
      if (dueMs > now && messageGroup !== undefined) blocked.add(messageGroup);
    }
    if (hidden.length > 0) this.#track(this.#wiring.receipts.hide(hidden));
    return rest;
  }

  /** Alone: deletes what came, and returns what comes for the first time. */
  #takeOut(deliveries: SqsDelivery[]): SqsDelivery[] {
    const fresh = deliveries.filter(({ messageId }) => !this.#seen.has(messageId));
    for (const { messageId } of fresh) this.#seen.add(messageId);
    for (const oldest of this.#seen) {
      if (this.#seen.size <= MOST_SEEN) break;
      this.#seen.delete(oldest);
    }
    if (deliveries.length > 0) this.#track(this.#wiring.receipts.delete(deliveries));
    return fresh;
  }

  #failed(error: unknown): void {
    const { clock, events, down } = this.#wiring;
    const { code, retryable } = classify(error);
    if (!retryable) {
      this.#dead ??=
        code === "NOT_FOUND" ? driverError("NOT_FOUND", "The queue of this subscription was deleted.", { cause: error }) : error;
      events.lost(this.#shard, "its queue can't be read any more");
      return;
    }
    if (this.#troubles++ === 0) events.state(this.#shard.id, "down", error);
    this.#pauseUntil = clock.monotonic() + Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(this.#troubles, 10));
    if (code === "UNAVAILABLE") down(error);
  }

  /** What it fails for comes again when its lease ends. */
  #track(work: Promise<unknown>): void {
    this.#putting.add(work);
    const done = (): void => void this.#putting.delete(work);
    work.then(done, done);
  }
}

const ATTRIBUTES: readonly string[] = ["ApproximateReceiveCount", "ApproximateFirstReceiveTimestamp", "SentTimestamp"];
const FIFO_ATTRIBUTES: readonly string[] = [...ATTRIBUTES, "MessageGroupId"];
