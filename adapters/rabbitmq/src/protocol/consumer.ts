import type { Channel, ConsumeMessage } from "amqplib";
import {
  driverError,
  type Place,
  type SettleResult,
  type Shard,
  type SubscribeRequest,
  type Subscription,
  type WireDelivery,
  type WireHeader,
} from "brokerkit/driver";
import type { Reader, Session } from "../client.ts";
import { unavailable } from "../errors.ts";
import { Acks, type Tagged } from "./acks.ts";
import { Arrivals } from "./arrivals.ts";
import type { Properties } from "./frames.ts";
import { bounded, closeQuietly, within } from "./link.ts";
import { MARK_MS } from "./marks.ts";
import { decode, deliveriesOf, isMark, MARK, type Message } from "./message.ts";
import { queueState } from "./topology.ts";

/** How long leaving may take before the server finds out by itself. */
const LEAVE_MS = 2_000;
/** How long a server may take to write what was acknowledged: its disk may be busy, or it takes nothing for the time being. */
const WRITE_MS = 10_000;
const SHARD = "0";

class QueueDelivery implements WireDelivery, Tagged {
  readonly shard: Shard;
  readonly tag: number;
  readonly place: Place | undefined = undefined;
  readonly id: string;
  readonly key: Uint8Array | undefined;
  readonly headers: readonly WireHeader[];
  readonly body: Uint8Array | null;
  readonly publishedAt: number;
  readonly deliveries: number;
  readonly failures: number;
  readonly inbox: boolean;
  readonly leaseUntil: number = Number.POSITIVE_INFINITY;
  readonly expiresAt: number;
  settled = false;

  constructor(shard: Shard, message: ConsumeMessage, now: number) {
    const decoded = decode(message);
    this.shard = shard;
    this.tag = message.fields.deliveryTag;
    this.id = decoded.id;
    this.key = decoded.key;
    this.headers = decoded.headers;
    this.body = decoded.body;
    // A foreign message does not always say.
    this.publishedAt = decoded.publishedAt === 0 ? now : decoded.publishedAt;
    this.deliveries = deliveriesOf(message as Message);
    this.failures = decoded.failures;
    // Straight to the queue: requeued or redriven.
    this.inbox = message.fields.exchange === "";
    this.expiresAt = decoded.expiresAt;
  }
}

export interface Source {
  /** Its name, or how to make one of this consumer's own, which goes with its channel. */
  readonly queue: string | ((channel: Channel) => Promise<string>);
  readonly created: boolean;
  /** What it means when the queue is gone. */
  readonly gone: () => Error;
  /** Acknowledgements are core's; without, a message is over once it is handed out. */
  readonly settles: boolean;
}

/**
 * One consumer on a channel of its own. All that it was given is its own until the channel ends, in whatever way: then the server gives it to
 * others, and nothing of it is settled any more.
 */
export class Consumer implements Subscription, Reader {
  readonly created: boolean;
  readonly queue: string;
  readonly #session: Session;
  readonly #events: SubscribeRequest["events"];
  readonly #source: Source;
  readonly #prefetch: number;
  readonly #shard: Shard = { id: SHARD };
  readonly #channel: Channel;
  readonly #acks: Acks;
  readonly #arrivals: Arrivals;
  #last = 0;
  #lost = false;
  #dead: Error | undefined;
  #flushing: Promise<void> = Promise.resolve();
  #closing: Promise<void> | undefined;

  private constructor(session: Session, request: SubscribeRequest, source: Source, queue: string, channel: Channel) {
    this.#session = session;
    this.#events = request.events;
    this.#source = source;
    this.#prefetch = Math.min(request.credit, session.settings.prefetch);
    this.#channel = channel;
    this.#acks = new Acks(channel);
    this.#arrivals = new Arrivals(session.clock);
    this.created = source.created;
    this.queue = queue;
  }

  static async open(session: Session, request: SubscribeRequest, source: Source, signal: AbortSignal): Promise<Consumer> {
    let made: Consumer | undefined;
    const opening = (async (): Promise<Consumer> => {
      const channel = await session.control().channel((error) => made?.fail(error));
      const queue = typeof source.queue === "string" ? source.queue : await source.queue(channel);
      const consumer = new Consumer(session, request, source, queue, channel);
      made = consumer;
      await consumer.#start();
      return consumer;
    })();
    try {
      return await within(signal, opening);
    } catch (error) {
      // What has been opened meanwhile must not go on consuming.
      opening.then(
        (late) => late.close(),
        () => made?.close(),
      );
      throw error;
    }
  }

  async #start(): Promise<void> {
    await this.#channel.prefetch(this.#prefetch);
    await this.#channel.consume(this.queue, (message) => this.#take(message));
    if (this.#dead !== undefined) throw this.#dead;
    this.#session.readers.add(this);
    // What was published while there was no queue is gone, and how much that was nobody knows.
    if (this.#session.interrupted.delete(this.#events)) this.#events.dataLoss(SHARD, undefined, undefined, undefined);
  }

  #take(message: ConsumeMessage | null): void {
    if (message === null) {
      void this.#cancelled();
      return;
    }
    if (this.#dead !== undefined) return;
    this.#last = message.fields.deliveryTag;
    if (isMark(message)) {
      this.#session.marks.remove(String(message.properties.messageId));
      return this.#acks.settle([{ tag: message.fields.deliveryTag, settled: false }], false);
    }
    this.#arrivals.add(message);
  }

  /** The server took the queue away: it was deleted, or is out of reach. */
  async #cancelled(): Promise<void> {
    const away = unavailable(`The server has cancelled the consumer of "${this.queue}".`);
    this.#lose(away.message);
    const asking = bounded(this.#session.clock, LEAVE_MS, (signal) => queueState(this.#session, this.queue, signal));
    const state = await asking.catch(() => null);
    this.fail(state === undefined ? this.#source.gone() : away);
    // It lives on, and the server would keep on it all that is unsettled.
    closeQuietly(this.#channel);
  }

  get held(): number {
    return !this.#lost && this.#dead === undefined ? this.#last + 1 - this.#acks.oldest - this.#acks.ahead : 0;
  }

  async receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    const { clock } = this.#session;
    const deadline = clock.monotonic() + waitMs;
    for (;;) {
      while (this.#arrivals.any) {
        const given = this.#hand(max);
        if (given.length > 0) return given;
      }
      if (this.#closing !== undefined) return [];
      if (this.#dead !== undefined) throw this.#dead;
      const left = deadline - clock.monotonic();
      if (signal.aborted || left <= 0) return [];
      await this.#arrivals.wait(left, signal);
    }
  }

  #hand(max: number): QueueDelivery[] {
    const now = this.#session.clock.now();
    const messages = this.#arrivals.take(max);
    const deliveries: QueueDelivery[] = [];
    const late: QueueDelivery[] = [];
    for (let n = 0; n < messages.length; n++) {
      const delivery = new QueueDelivery(this.#shard, messages[n] as ConsumeMessage, now);
      (delivery.expiresAt > now ? deliveries : late).push(delivery);
    }
    this.#acks.settle(this.#source.settles ? late : [...deliveries, ...late]);
    return deliveries;
  }

  async ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    if (!this.#source.settles) return deliveries.map(() => "written");
    const over = this.#lost || this.#dead !== undefined;
    const mine: QueueDelivery[] = [];
    const results = (deliveries as readonly QueueDelivery[]).map((delivery): SettleResult => {
      if (over || delivery.shard !== this.#shard || delivery.settled) return "lost";
      delivery.settled = true;
      mine.push(delivery);
      return "written";
    });
    this.#acks.settle(mine);
    return results;
  }

  /** One after the other: with nothing new to see to, there may still be one under way. */
  flush(): Promise<void> {
    this.#flushing = this.#flushing.then(() => this.#flush());
    return this.#flushing;
  }

  async #flush(): Promise<void> {
    if (this.#dead !== undefined || !this.#acks.dirty) return;
    try {
      await this.#acks.flush(this.#prefetch, () => this.#write());
    } catch {
      // The link is gone, or the server takes nothing: what was acknowledged and did not arrive comes again.
    }
  }

  /**
   * A queue that has read acknowledgements keeps them to itself for a while, a classic one until it has a message to confirm, a quorum one
   * while its disk is busy. It writes in order, and confirms what is written: it is given a message, which all members skip.
   */
  async #write(): Promise<void> {
    if (!this.#source.settles) return;
    const { clock, marks, store } = this.#session;
    const messageId = marks.add(this.queue);
    const properties: Properties = { messageId, expiration: String(MARK_MS), headers: [[MARK, ""]] };
    try {
      await bounded(clock, WRITE_MS, (signal) => store(this.queue, properties, signal));
    } catch (error) {
      marks.remove(messageId);
      throw error;
    }
  }

  /** The channel has ended, and with it the ownership of all that came over it. */
  fail(error: Error): void {
    if (this.#dead !== undefined) return;
    this.#lose(error.message);
    this.#dead = error;
    if (!this.#source.settles && this.#closing === undefined) this.#session.interrupted.add(this.#events);
    this.#session.readers.delete(this);
    this.#arrivals.wake();
  }

  #lose(reason: string): void {
    this.#arrivals.forget();
    if (this.#lost || this.#closing !== undefined) return;
    this.#lost = true;
    this.#events.lost(this.#shard, reason);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Closing a channel gives back what is unsettled on it, behind the acknowledgements that were written. */
  async #close(): Promise<void> {
    this.#session.readers.delete(this);
    this.#arrivals.forget();
    this.#arrivals.wake();
    if (this.#dead !== undefined) return;
    this.#dead = driverError("CLOSED", "The subscription is closed. Subscribe again.");
    await bounded(this.#session.clock, LEAVE_MS, () => this.#channel.close()).catch(() => {});
  }
}
