// Writes the checker's history of one process, from outside the application: an interceptor sees every publish and every handler run, and
// the SDK's event channel says what happened in the background. Each event is in the file before the deed.
import { subscribe as onChannel } from "node:diagnostics_channel";
import { type HistoryRecord, type HistoryWriter, hashOf, historyTime } from "@brokerkit/conformance/checker";
import { type Delivery, type Interceptor, isBrokerError, type Receipt, type Subscription } from "brokerkit";

/** What an order is to the witness: enough to name and to order it. */
interface Named {
  readonly id: string;
  readonly customer: string;
}

/** Where a message was in time: from here on, everything published later is stored later. */
export interface Moment {
  /** The message's publish time by the backend's account, ms since 1970. */
  readonly publishedAt: number;
  /** When it was received, in the history's time. */
  readonly t: number;
}

export interface Counts {
  readonly confirmed: number;
  readonly received: number;
  /** In a handler's hands, or handled and not known to be acknowledged. */
  readonly unsettled: number;
  /** What the SDK said it lost; `unknown` says that it could not always count. */
  readonly lost: number;
  readonly unknown: boolean;
}

export interface DeadLettered {
  readonly id: string;
  readonly reason: string;
}

/** The digest by which the checker compares what was sent with what came. */
export function digest(payload: object): string {
  return hashOf(JSON.stringify(payload, Object.keys(payload).sort()));
}

export class Witness implements Required<Interceptor> {
  readonly #history: HistoryWriter;
  readonly #groupOf: () => string | undefined;
  readonly #seqs = new Map<string, number>();
  #handled: string[] = [];
  #buried: DeadLettered[] = [];
  #accepted: [id: string, run: number][] = [];
  #confirmed = 0;
  #received = 0;
  #settled = 0;
  #lost = 0;
  #unknown = false;
  #moment: Moment | undefined;

  /** @param group the group whose member this process is; `undefined` for broadcast, which the history names after the process */
  constructor(history: HistoryWriter, group: () => string | undefined) {
    this.#history = history;
    this.#groupOf = group;
    onChannel("brokerkit.event", (event) => this.#happened(event));
  }

  get #group(): string {
    return this.#groupOf() ?? this.#history.process;
  }

  get counts(): Counts {
    return {
      confirmed: this.#confirmed,
      received: this.#received,
      unsettled: this.#received - this.#settled,
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
  publish: Required<Interceptor>["publish"] = async ({ topic, payload }, next): Promise<Receipt> => {
    const { id, customer: key } = payload as Named;
    const seq = this.#seqs.get(key) ?? 0;
    this.#seqs.set(key, seq + 1);
    this.#history.record({ type: "invoke", f: "publish", topic, key, id, seq, hash: digest(payload as Named) });
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
    const hash = digest(message.payload as Named);
    this.#history.record({ type: "ok", f: "receive", topic, group, key, id, hash, position, run });
    this.#moment = { publishedAt: message.publishedAt.getTime(), t: historyTime() };
    try {
      await next();
    } catch (error) {
      this.#history.record({ type: "fail", f: "done", topic, group, id, run });
      this.#settled++;
      throw error;
    }
    const done: HistoryRecord = { type: "ok", f: "done", topic, group, id, run };
    this.#handled.push(id);
    if (this.#groupOf() === undefined) {
      this.#history.record(done);
      this.#settled++;
      return;
    }
    this.#history.record([done, { type: "invoke", f: "ack", topic, group, id, run }]);
    message.ack().then(
      () => this.#accepted.push([id, run]),
      () => {
        this.#history.record({ type: "fail", f: "ack", topic, group, id, run });
        this.#settled++;
      },
    );
  };

  /** What was accepted for settlement is durable once a flush that began later has resolved. */
  async flushed(topic: string, subscription: Subscription): Promise<void> {
    const accepted = this.#accepted;
    if (accepted.length === 0) return;
    this.#accepted = [];
    await subscription.flush();
    this.#durable(topic, accepted);
  }

  /** All of them: the subscription has been closed, which flushes. */
  closed(topic: string): void {
    this.#durable(topic, this.#accepted);
    this.#accepted = [];
  }

  #durable(topic: string, accepted: readonly [id: string, run: number][]): void {
    const group = this.#group;
    if (accepted.length > 0) this.#history.record(accepted.map(([id, run]) => ({ type: "ok", f: "ack", topic, group, id, run })));
    this.#settled += accepted.length;
  }

  // ---- background
  #happened(message: unknown): void {
    const event = message as {
      readonly type: string;
      readonly topic?: string;
      readonly id?: string;
      readonly reason?: string;
      readonly missing?: number;
    };
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
      this.#buried.push({ id: event.id ?? "?", reason: event.reason ?? "?" });
    }
  }
}
