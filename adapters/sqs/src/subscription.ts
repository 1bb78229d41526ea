import { randomBytes } from "node:crypto";
import {
  type DriverContext,
  driverError,
  type Nack,
  type SettleResult,
  type SubscribeRequest,
  type Subscription,
  type WireDelivery,
} from "brokerkit/driver";
import type { SqsAdmin } from "./admin.ts";
import type { Aws } from "./client.ts";
import { isStale } from "./errors.ts";
import type { Settings } from "./options.ts";
import { SECOND_MS, type SqsDelivery } from "./protocol/delivery.ts";
import { holdsLetters } from "./protocol/names.ts";
import { Poller } from "./protocol/poller.ts";
import { chunked, type Failures, Receipts, sideBySide } from "./protocol/receipts.ts";

/** What leaving may take: for polls under way, and for giving back. Together what closing a connection allows. */
const DRAIN_MS = 2_000;
const LEAVE_MS = 500;
/** How often a broadcast reader says that it is there. */
const ALIVE_MS = 3_600_000;

export interface Session {
  readonly aws: Aws;
  readonly admin: SqsAdmin;
  readonly settings: Settings;
  readonly context: DriverContext;
  readonly subscriptions: Set<QueueSubscription>;
}

export async function openSubscription(session: Session, request: SubscribeRequest, signal: AbortSignal): Promise<Subscription> {
  const { admin, context } = session;
  const { topic, group } = request;
  const reader = group === undefined ? randomBytes(8).toString("hex") : undefined;
  const { url, created } =
    group === undefined
      ? { url: await admin.readers.open(topic, reader as string, context.clock.now(), signal), created: true }
      : await admin.ensureGroup(topic, group, signal);
  const subscription = new QueueSubscription(session, request, url, created, reader);
  session.subscriptions.add(subscription);
  return subscription;
}

/** One member of a group, or one broadcast reader, whose queue is its own. */
export class QueueSubscription implements Subscription {
  readonly created: boolean;
  readonly #session: Session;
  readonly #request: SubscribeRequest;
  readonly #url: string;
  /** Broadcast: what its queue is called by. */
  readonly #reader: string | undefined;
  readonly #over = new AbortController();
  readonly #receipts: Receipts;
  readonly #poller: Poller;
  readonly #held = new Set<WireDelivery>();
  readonly #settling = new Set<Promise<unknown>>();
  #aliveAt: number;
  #closing: Promise<void> | undefined;

  constructor(session: Session, request: SubscribeRequest, url: string, created: boolean, reader: string | undefined) {
    const { aws, context, settings } = session;
    const { clock, down } = context;
    const { polls, fifo, leaseMs, pollMs } = settings;
    const { topic, events } = request;
    this.#session = session;
    this.#request = request;
    this.#url = url;
    this.created = created;
    this.#reader = reader;
    this.#aliveAt = clock.monotonic();
    const queue = { aws, clock, url, over: this.#over.signal };
    this.#receipts = new Receipts(queue);
    // Answers may overtake each other.
    const widest = fifo && holdsLetters(topic) ? 1 : polls;
    this.#poller = new Poller({
      ...queue,
      receipts: this.#receipts,
      events,
      down,
      fifo,
      leaseMs,
      pollMs,
      widest,
      alone: reader !== undefined,
    });
  }

  async receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    if (this.#reader !== undefined) this.#sayAlive();
    const deliveries = await this.#poller.receive(max, waitMs, signal);
    if (this.#reader === undefined) for (const delivery of deliveries) this.#held.add(delivery);
    return deliveries;
  }

  #sayAlive(): void {
    const { admin, context } = this.#session;
    const now = context.clock.monotonic();
    if (now - this.#aliveAt < ALIVE_MS) return;
    this.#aliveAt = now;
    this.#track(admin.readers.keep(this.#url, context.clock.now(), this.#over.signal));
  }

  // ---- settle
  async ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    if (this.#reader !== undefined) return deliveries.map(() => "confirmed");
    return this.#settle(deliveries as readonly SqsDelivery[], true, (chunk) => this.#receipts.delete(chunk));
  }

  async nack(items: readonly Nack[]): Promise<readonly SettleResult[]> {
    const delays = new Map(items.map(({ delivery, delayMs }) => [delivery, delayMs]));
    const hide = (chunk: readonly SqsDelivery[]): Promise<Failures> =>
      this.#receipts.hide(chunk.map((delivery) => ({ delivery, seconds: Math.ceil((delays.get(delivery) ?? 0) / SECOND_MS) })));
    return this.#settle([...delays.keys()] as SqsDelivery[], true, hide);
  }

  async extend(deliveries: readonly WireDelivery[], ms: number): Promise<readonly SettleResult[]> {
    const { clock } = this.#session.context;
    const owned = deliveries as readonly SqsDelivery[];
    const seconds = Math.ceil(ms / SECOND_MS);
    const now = clock.monotonic();
    const results = await this.#settle(owned, false, (chunk) => this.#receipts.hide(chunk.map((delivery) => ({ delivery, seconds }))));
    const overtaken = new Set(owned.filter((_, n) => results[n] === "lost").map(({ messageGroup }) => messageGroup));
    return results.map((result, n) => {
      const delivery = owned[n] as SqsDelivery;
      // One of its message group comes again, and nothing newer of it may be handled before.
      if (delivery.messageGroup !== undefined && overtaken.has(delivery.messageGroup)) return "lost";
      if (result !== "confirmed") return result;
      delivery.leaseUntil = Math.max(delivery.leaseUntil, Math.min(now + ms, delivery.endsAt));
      // It was made as long as it can be: saying more would have two owners.
      return now + ms <= delivery.endsAt ? result : { error: tooLong() };
    });
  }

  /** Sends in chunks side by side what is still ours. Nothing is ours twice: `ends` lets go of it before the first byte. */
  async #settle(
    deliveries: readonly SqsDelivery[],
    ends: boolean,
    send: (chunk: readonly SqsDelivery[]) => Promise<Failures>,
  ): Promise<SettleResult[]> {
    const now = this.#session.context.clock.monotonic();
    const results: SettleResult[] = new Array(deliveries.length).fill("lost");
    const owned: number[] = [];
    for (const [n, delivery] of deliveries.entries()) {
      const ours = this.#held.has(delivery) && delivery.leaseUntil > now;
      if (ours) owned.push(n);
      if (ends || !ours) this.#held.delete(delivery);
    }
    const run = async (chunk: readonly number[]): Promise<void> => {
      const failures = await send(chunk.map((n) => deliveries[n] as SqsDelivery)).catch((error: unknown) => chunk.map(() => error));
      for (const [at, n] of chunk.entries()) {
        const delivery = deliveries[n] as SqsDelivery;
        const error = failures[at];
        results[n] = error === undefined ? "confirmed" : isStale(error) ? "lost" : { error };
        if (results[n] === "lost") this.#held.delete(delivery);
        else if (error !== undefined) this.#held.add(delivery);
      }
    };
    const settling = sideBySide(chunked(owned), run);
    this.#track(settling);
    await settling;
    return results;
  }

  #track(work: Promise<unknown>): void {
    this.#settling.add(work);
    const done = (): void => void this.#settling.delete(work);
    work.then(done, done);
  }

  async flush(): Promise<void> {
    await Promise.allSettled(this.#settling);
  }

  // ---- leave
  close(): Promise<void> {
    this.#closing ??= this.#leave();
    return this.#closing;
  }

  async #leave(): Promise<void> {
    const { admin, subscriptions } = this.#session;
    // What is put back while a poll still waits would come to that poll, and one that is cut off takes it along until its lease ends.
    await this.#within(DRAIN_MS, this.#poller.end());
    const held = [...this.#held] as SqsDelivery[];
    this.#held.clear();
    const last =
      this.#reader === undefined
        ? this.#receipts.release([...held, ...this.#poller.unhanded()])
        : admin.readers.close(this.#request.topic, this.#reader, this.#over.signal);
    await this.#within(LEAVE_MS, Promise.allSettled([last, ...this.#settling]));
    this.#over.abort();
    await this.#poller.end();
    subscriptions.delete(this);
  }

  async #within(ms: number, work: Promise<unknown>): Promise<void> {
    const late = Promise.withResolvers<void>();
    const timer = this.#session.context.clock.timer(ms, late.resolve);
    await Promise.race([work, late.promise]);
    timer.cancel();
  }
}

function tooLong(): Error {
  return driverError("QUOTA_EXCEEDED", "A message can be held for 12 h from its receive, and this would be longer.");
}
