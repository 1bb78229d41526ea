// Writes the checker's history of one process, from outside the application: an interceptor sees every publish and every handler run, and
// the SDK's event channel says what happened in the background. Each event is in the file before the deed.
import { subscribe as onChannel } from "node:diagnostics_channel";
import { type HistoryRecord, type HistoryWriter, hashOf } from "@brokerkit/conformance/checker";
import { type BrokerEvent, type Delivery, type Interceptor, isBrokerError, type Receipt, type Subscription } from "brokerkit";

/** A message and the time it was published at, by the backend's account, ms since 1970. */
export interface Moment {
  readonly id: string;
  readonly publishedAt: number;
}

/** An ack that was asked for: the message and the handler run. */
type Ack = readonly [id: string, run: number];

export interface Membership {
  /** `undefined`: broadcast. */
  readonly group: string | undefined;
  /** An ack that has resolved is durable; otherwise only a flush says so. */
  readonly confirmed: boolean;
}

export interface Counts {
  readonly confirmed: number;
  readonly received: number;
  /** What the SDK said it lost; `unknown` says that it could not always count. */
  readonly lost: number;
  readonly unknown: boolean;
}

export interface DeadLettered {
  readonly id: string;
  readonly reason: string;
}

/** The digest by which the checker compares what was sent with what came. */
export function digest(payload: unknown): string {
  return hashOf(JSON.stringify(payload, Object.keys(payload ?? {}).sort()));
}

export class Witness implements Required<Interceptor> {
  readonly #history: HistoryWriter;
  readonly #keyOf: (payload: unknown) => string | undefined;
  #membership: Membership = { group: undefined, confirmed: false };
  readonly #seqs = new Map<string | undefined, number>();
  #handled: string[] = [];
  #buried: DeadLettered[] = [];
  readonly #accepted: Ack[] = [];
  #confirmed = 0;
  #received = 0;
  #lost = 0;
  #unknown = false;
  #moment: Moment | undefined;

  /** @param keyOf the topic's key rule: what this producer's orders are counted by */
  constructor(history: HistoryWriter, keyOf: (payload: unknown) => string | undefined) {
    this.#history = history;
    this.#keyOf = keyOf;
    onChannel("brokerkit.event", (event) => this.#happened(event as BrokerEvent));
  }

  /** To be said before anything is delivered. */
  joins(membership: Membership): void {
    this.#membership = membership;
  }

  /** A subscriber without a group is one of its own, named after its process. */
  get #group(): string {
    return this.#membership.group ?? this.#history.process;
  }

  get counts(): Counts {
    return {
      confirmed: this.#confirmed,
      received: this.#received,
      lost: this.#lost,
      unknown: this.#unknown,
    };
  }

  /** The newest delivery. */
  get moment(): Moment | undefined {
    return this.#moment;
  }

  /** What was handled, and given up, since the last call. */
  news(): { readonly handled: readonly string[]; readonly buried: readonly DeadLettered[] } {
    const news = { handled: this.#handled, buried: this.#buried };
    this.#handled = [];
    this.#buried = [];
    return news;
  }

  // ---- publish
  publish: Required<Interceptor>["publish"] = async ({ topic, id, payload }, next): Promise<Receipt> => {
    const key = this.#keyOf(payload);
    const seq = this.#seqs.get(key) ?? 0;
    this.#seqs.set(key, seq + 1);
    this.#history.record({ type: "invoke", f: "publish", topic, key, id, seq, hash: digest(payload) });
    try {
      const receipt = await next();
      this.#history.record({ type: "ok", f: "publish", topic, id, position: receipt.place });
      this.#confirmed++;
      return receipt;
    } catch (error) {
      const certain = isBrokerError(error) && !error.inDoubt;
      this.#history.record({ type: certain ? "fail" : "info", f: "publish", topic, id });
      throw error;
    }
  };

  // ---- deliver
  handle: Required<Interceptor>["handle"] = async (message: Delivery<unknown>, next): Promise<void> => {
    const { topic, id, key, place: position } = message;
    const group = this.#group;
    const run = ++this.#received;
    const hash = digest(message.payload);
    this.#history.record({ type: "ok", f: "receive", topic, group, key, id, hash, position, run });
    this.#moment = { id, publishedAt: message.publishedAt.getTime() };
    try {
      await next();
    } catch (error) {
      this.#history.record({ type: "fail", f: "done", topic, group, id, run });
      throw error;
    }
    const done: HistoryRecord = { type: "ok", f: "done", topic, group, id, run };
    this.#handled.push(id);
    if (this.#membership.group === undefined) {
      this.#history.record(done);
      return;
    }
    this.#history.record([done, { type: "invoke", f: "ack", topic, group, id, run }]);
    message.ack().then(
      () => this.#acknowledged(topic, [id, run]),
      () => this.#history.record({ type: "fail", f: "ack", topic, group, id, run }),
    );
  };

  #acknowledged(topic: string, ack: Ack): void {
    this.#accepted.push(ack);
    // Acks of one answer come together, and are written together.
    if (this.#membership.confirmed && this.#accepted.length === 1) setImmediate(() => this.#durable(topic, this.#accepted.splice(0)));
  }

  /** Where an ack is only accepted for settlement: it is durable once a flush that began later has resolved. */
  async flushed(topic: string, subscription: Subscription): Promise<void> {
    const accepted = this.#accepted.splice(0);
    if (accepted.length === 0) return;
    await subscription.flush();
    this.#durable(topic, accepted);
  }

  /** The subscription has been closed, which flushes. */
  closed(topic: string): void {
    this.#durable(topic, this.#accepted.splice(0));
  }

  #durable(topic: string, acks: readonly Ack[]): void {
    const group = this.#group;
    if (acks.length > 0) this.#history.record(acks.map(([id, run]) => ({ type: "ok", f: "ack", topic, group, id, run })));
  }

  // ---- background
  #happened(event: BrokerEvent): void {
    const { topic } = event;
    if (topic === undefined) return;
    const group = this.#group;
    if (event.type === "data-loss") {
      this.#history.record({ type: "info", f: "receive", topic, group, lost: event.missing ?? null });
      this.#lost += event.missing ?? 0;
      this.#unknown ||= event.missing === undefined;
    } else if (event.type === "lost") {
      this.#history.record({ type: "info", f: "crash", unit: "shard", topic, group });
    } else if (event.type === "dead-letter") {
      this.#buried.push({ id: event.id, reason: event.reason });
    }
  }
}
