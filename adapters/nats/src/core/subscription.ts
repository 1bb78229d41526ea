import { randomBytes } from "node:crypto";
import {
  type Clock,
  driverError,
  type SettleResult,
  type Shard,
  type SubscribeRequest,
  type Subscription,
  type Timer,
  type WireDelivery,
} from "brokerkit/driver";
import { within } from "../client.ts";
import type { Connection } from "../protocol/connection.ts";
import type { Message } from "../protocol/parser.ts";
import { CoreDelivery, type Sequence } from "./mapping.ts";

/** How long publishers have after a broken connection to show by their next message how much was missed. */
const SETTLING_MS = 5_000;
/** How many publishers of one subject are followed at once. */
const MOST_PUBLISHERS = 10_000;

/** One publisher, by what it said last. */
interface Voice {
  readonly epoch: string;
  last: number;
}

/** What is known of the numbers of one subject's publishers. */
class Ledger {
  readonly #voices = new Map<string, Voice>();
  /** Who spoke last most often goes on. */
  #speaking: Voice = { epoch: "", last: 0 };
  /** Publishers that were heard before the connection broke and not since. */
  #awaited = new Set<string>();

  /** How many messages are missing before this one; `undefined`: some, perhaps, and nobody knows how many. */
  missing({ epoch, number }: Sequence): number | undefined {
    const voice = this.#speaking.epoch === epoch ? this.#speaking : this.#voices.get(epoch);
    if (voice === undefined) return this.#newcomer(epoch, number);
    this.#speaking = voice;
    const { last } = voice;
    voice.last = number;
    if (this.#awaited.size > 0) this.#awaited.delete(epoch);
    return Math.max(0, number - last - 1);
  }

  /** A publisher that nobody knew, while others are silent, may be one of them on a new connection. */
  #newcomer(epoch: string, last: number): number | undefined {
    // The oldest goes: one that speaks again counts as new.
    if (this.#voices.size >= MOST_PUBLISHERS) this.#voices.delete(this.#voices.keys().next().value as string);
    this.#speaking = { epoch, last };
    this.#voices.set(epoch, this.#speaking);
    if (this.#awaited.size === 0) return 0;
    this.#awaited.clear();
    return undefined;
  }

  /** Listening again: who was heard before will tell by the next message. */
  again(): void {
    this.#awaited = new Set(this.#voices.keys());
  }

  /** Whether somebody has not spoken again; asked once. */
  giveUp(): boolean {
    const silent = this.#awaited.size > 0 || this.#voices.size === 0;
    this.#awaited.clear();
    return silent;
  }
}

/** One reader of a subject. Messages wait here, within bounds; beyond them the oldest are dropped and counted. */
export class SubjectSubscription implements Subscription {
  /** A group is there while any member is, and nobody can say whether there is another one somewhere. */
  readonly created: boolean;
  readonly #subject: string;
  /** A queue group of the server: each message goes to one of its members. */
  readonly #group: string | undefined;
  readonly #events: SubscribeRequest["events"];
  readonly #clock: Clock;
  readonly #limit: number;
  readonly #left: () => void;
  readonly #shard: Shard = { id: "0" };
  readonly #ledger = new Ledger();
  /** Messages that wait; those before `#head` are gone. */
  #queue: CoreDelivery[] = [];
  #head = 0;
  #bytes = 0;
  #wake: (() => void) | undefined;
  #dead: unknown;
  #listening: { readonly connection: Connection; readonly sid: number } | undefined;
  #attached = false;
  /** Nothing more is to come; resolves when nothing more can. */
  #paused: Promise<void> | undefined;
  #name = "";
  #foreigners = 0;
  readonly #foreign = { id: () => `${this.#name}-${this.#foreigners + 1}`, now: () => this.#clock.now() };
  #settling: Timer | undefined;

  constructor(request: SubscribeRequest, subject: string, clock: Clock, limit: number, left: () => void) {
    this.#subject = subject;
    this.#group = request.group;
    this.created = request.group === undefined;
    this.#events = request.events;
    this.#clock = clock;
    this.#limit = limit;
    this.#left = left;
  }

  /** Begins to listen, or again after the connection was lost. Resolves when the server does. */
  async attach(connection: Connection): Promise<void> {
    if (this.#paused !== undefined) return;
    let forbidden: Error | undefined;
    const forget = connection.onDenied((subject, subscribing, error) => {
      if (subscribing && subject === this.#subject) forbidden = error;
    });
    const again = this.#attached;
    this.#attached = true;
    this.#name = randomBytes(6).toString("base64url");
    this.#foreigners = 0;
    if (again) this.#ledger.again();
    try {
      const sid = connection.subscribe(this.#subject, (message) => this.#hear(message), this.#group);
      this.#listening = { connection, sid };
      await connection.flush();
      if (forbidden !== undefined) throw forbidden;
    } finally {
      forget();
    }
    if (again) this.#settle();
  }

  /** Who does not speak in time says nothing of what was missed. Nor do numbers to a member of a group, for others have the rest. */
  #settle(): void {
    this.#settling?.cancel();
    if (this.#group !== undefined) return this.#missed(undefined);
    this.#settling = this.#clock.timer(SETTLING_MS, () => {
      if (this.#ledger.giveUp()) this.#missed(undefined);
    });
  }

  #hear(message: Message): void {
    const delivery = new CoreDelivery(this.#shard, message, this.#foreign);
    if (delivery.sequence === undefined) this.#foreigners++;
    else if (this.#group === undefined) {
      const missing = this.#ledger.missing(delivery.sequence);
      if (missing === undefined) this.#settling?.cancel();
      if (missing !== 0) this.#missed(missing);
    }
    this.#queue.push(delivery);
    this.#bytes += delivery.bytes;
    let dropped = 0;
    // One message is always kept, however large.
    while (this.#bytes > this.#limit && this.#queue.length - this.#head > 1) {
      this.#shift();
      dropped++;
    }
    if (dropped > 0) this.#missed(dropped);
    this.#wake?.();
  }

  #missed(missing: number | undefined): void {
    this.#events.dataLoss(this.#shard.id, undefined, undefined, missing);
  }

  state(state: "up" | "down", error?: unknown): void {
    this.#events.state(this.#shard.id, state, error);
  }

  fail(error: unknown): void {
    this.#dead ??= error;
    this.#settling?.cancel();
    this.#wake?.();
  }

  #shift(): CoreDelivery | undefined {
    const first = this.#queue[this.#head];
    if (first === undefined) return undefined;
    this.#bytes -= first.bytes;
    this.#head++;
    if (this.#head === this.#queue.length || this.#head > 10_000) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    return first;
  }

  async receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    if (this.#paused !== undefined) await within(signal, this.#paused).catch(() => {});
    else if (this.#queue.length === 0 && this.#dead === undefined && !signal.aborted) await this.#wait(waitMs, signal);
    const taken: WireDelivery[] = [];
    while (taken.length < max) {
      const message = this.#shift();
      if (message === undefined) break;
      taken.push(message);
    }
    if (taken.length === 0 && this.#dead !== undefined) throw this.#dead;
    return taken;
  }

  /** For good: the server sends nothing more, and `receive` answers what has come by then. */
  pause(): void {
    const { connection, sid } = this.#listening ?? {};
    this.#paused ??= connection === undefined ? Promise.resolve() : connection.unsubscribe(sid as number);
    this.#wake?.();
  }

  #wait(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        signal.removeEventListener("abort", done);
        this.#wake = undefined;
        resolve();
      };
      const timer = this.#clock.timer(ms, done);
      signal.addEventListener("abort", done, { once: true });
      this.#wake = done;
    });
  }

  /** Nothing of it is on the server, so nothing is settled there. */
  async ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    return deliveries.map(() => "recorded");
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {
    if (this.#dead === CLOSED) return;
    this.#dead = CLOSED;
    this.fail(CLOSED);
    this.#queue = [];
    this.#head = 0;
    this.#left();
    const listening = this.#listening;
    // Whether the server has heard it makes no difference.
    if (listening !== undefined) void listening.connection.unsubscribe(listening.sid);
  }
}

const CLOSED = driverError("CLOSED", "The subscription is closed. Subscribe again.");
