import { randomBytes } from "node:crypto";
import { driverError, type SettleResult, type SubscribeRequest, type Subscription, type WireDelivery } from "brokerkit/driver";
import type { Session } from "../../client.ts";
import { ended, groupMissing, isMissing } from "../../errors.ts";
import type { AckResult, ConsumerOptions } from "../../transport.ts";
import { makeGroup, makeInbox } from "./groups.ts";
import type { PulsarDelivery } from "./message.ts";
import { Source } from "./source.ts";

/** Messages on their way to a member at most, whatever core would own. */
const MOST_CREDIT = 1_000;
const INBOX_CREDIT = 100;
/** A broker answers an acknowledgement before it is stored; only then does it outlive the broker. */
const STORED_MS = 250;

/** One member of a group: a consumer of the topic, and one of the group's inbox. Their names are the same, and so are the keys they get. */
export class Member implements Subscription {
  readonly created: boolean;
  readonly #session: Session;
  readonly #events: SubscribeRequest["events"];
  readonly #settling = new Set<Promise<unknown>>();
  #sources: readonly Source[] = [];
  /** When something was acknowledged last. */
  #settledAt = Number.NEGATIVE_INFINITY;
  #dead: unknown;
  #closing: Promise<void> | undefined;
  #wake: (() => void) | undefined;

  private constructor(session: Session, request: SubscribeRequest, created: boolean) {
    this.#session = session;
    this.#events = request.events;
    this.created = created;
  }

  static async open(session: Session, request: SubscribeRequest, group: string, signal: AbortSignal): Promise<Member> {
    const { topic, from } = request;
    const made = await makeGroup(session, topic, group, from, signal);
    const member = new Member(session, request, made === "created");
    await member.#join(request, group, signal);
    return member;
  }

  async #join({ topic, credit, from }: SubscribeRequest, group: string, signal: AbortSignal): Promise<void> {
    const session = this.#session;
    const shared = {
      subscription: group,
      type: session.settings.subscriptionType,
      durable: true,
      // The subscription is there; what this says holds for partitions that are added later.
      from: from.kind === "latest" && !session.administered ? from : ({ kind: "earliest" } as const),
      name: `brokerkit-${randomBytes(9).toString("base64url")}`,
    };
    const open = async (inbox: boolean, full: string, most: number): Promise<Source> => {
      let source: Source | undefined;
      const events: ConsumerOptions["events"] = {
        closed: (error) => this.#ended(error),
        active: (partition, active) => {
          if (!active) this.#lose(source, partition, "another member is the active one");
        },
      };
      const consumer = await session.transport().consumer({ ...shared, topic: full, credit: Math.min(credit, most), events }, signal);
      source = new Source(session, inbox, consumer, () => this.#wake?.());
      return source;
    };
    const opening = [
      open(false, session.full(topic), MOST_CREDIT),
      this.#inbox(topic, group, () => open(true, session.inbox(topic, group), INBOX_CREDIT), signal),
    ];
    const opened = await Promise.allSettled(opening);
    this.#sources = opened.flatMap((one) => (one.status === "fulfilled" && one.value !== undefined ? [one.value] : []));
    const failed = opened.find((one) => one.status === "rejected");
    if (failed === undefined && this.#dead === undefined) {
      session.readers.add(this);
      return;
    }
    await this.close();
    const error = failed?.reason ?? this.#dead;
    throw isMissing(error) ? groupMissing(topic, group) : error;
  }

  /** Where others have made the group, or who did was interrupted, it may be missing; who can't make topics does without. */
  async #inbox(topic: string, group: string, open: () => Promise<Source>, signal: AbortSignal): Promise<Source | undefined> {
    try {
      return await open();
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
    if (!this.#session.administered) return undefined;
    await makeInbox(this.#session, topic, group, signal);
    return await open().catch((error: unknown) => {
      if (isMissing(error)) return undefined;
      throw error;
    });
  }

  /** A consumer has ended: connection, unload or seek. What came of both is void, as the member joins anew with both. */
  #ended(error: unknown): void {
    if (this.#dead !== undefined || this.#closing !== undefined) return;
    this.#dead = ended("consumer", error);
    for (const source of this.#sources) this.#lose(source, undefined, error instanceof Error ? error.message : String(error));
    this.#wake?.();
  }

  #lose(source: Source | undefined, partition: number | undefined, reason: string): void {
    for (const shard of source?.lose(partition) ?? []) this.#events.lost(shard, reason);
  }

  async receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    const { clock } = this.#session;
    let over = signal.aborted;
    const wake = (): void => this.#wake?.();
    const end = (): void => {
      over = true;
      wake();
    };
    signal.addEventListener("abort", end, { once: true });
    const timer = clock.timer(waitMs, end);
    try {
      for (;;) {
        for (const source of this.#sources) if (source.failure !== undefined) this.#ended(source.failure);
        if (this.#dead !== undefined) throw this.#dead;
        const taken: PulsarDelivery[] = [];
        // What was kept back for this group is little, and must not starve behind a long backlog.
        for (const source of this.#sources.toReversed()) if (taken.length < max) taken.push(...source.handOut(max - taken.length));
        if (taken.length > 0 || over || this.#closing !== undefined) return taken;
        for (const source of this.#sources) source.pull(max);
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = undefined;
      }
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", end);
    }
  }

  async ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    const results: SettleResult[] = new Array(deliveries.length).fill("lost");
    const work = Promise.all(this.#sources.map((source) => this.#ackOf(source, deliveries as readonly PulsarDelivery[], results)));
    this.#settling.add(work);
    await work;
    this.#settling.delete(work);
    return results;
  }

  async #ackOf(source: Source, deliveries: readonly PulsarDelivery[], results: SettleResult[]): Promise<void> {
    const indexes: number[] = [];
    for (const [index, delivery] of deliveries.entries()) {
      if (delivery.inbox !== source.inbox || !source.owns(delivery)) continue;
      delivery.settled = true;
      indexes.push(index);
    }
    if (indexes.length === 0) return;
    const answers = await source.consumer.ack(indexes.map((index) => (deliveries[index] as PulsarDelivery).message.id));
    this.#settledAt = this.#session.clock.monotonic();
    for (const [n, index] of indexes.entries()) {
      const answer = answers[n] as AckResult | "recorded";
      results[index] = answer;
      // Nobody knows whose the message is now: whoever joins anew gets it again, unless this time counted.
      if (typeof answer === "object") this.#ended(answer.error);
    }
  }

  async flush(): Promise<void> {
    while (this.#settling.size > 0) await Promise.allSettled([...this.#settling]);
    const { clock } = this.#session;
    const left = this.#settledAt + STORED_MS - clock.monotonic();
    if (left > 0 && this.#dead === undefined) await new Promise<void>((resolve) => void clock.timer(left, resolve));
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#session.readers.delete(this);
    this.#wake?.();
    await Promise.all(this.#sources.map((source) => source.close()));
    this.#dead ??= driverError("CLOSED", "The subscription is closed. Subscribe again.");
    for (const source of this.#sources) source.lose();
  }
}
