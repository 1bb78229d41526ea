import { unsubscribe as offChannel, subscribe as onChannel } from "node:diagnostics_channel";
import { type Broker, type Delivery, isBrokerError, type SubscribeOptions, type Subscription } from "brokerkit";
import { type HistoryRecord, type HistoryWriter, hashOf } from "../checker/index.ts";
import { subscribeTo } from "../sink.ts";
import { pass } from "../wait.ts";

export interface ProducerOptions {
  readonly topic: string;
  readonly keys: number;
  /** Publishes under way at once. */
  readonly window: number;
  /** Bytes of filling in each message. */
  readonly size?: number | undefined;
  /** Longest time for one publish. */
  readonly timeoutMs?: number | undefined;
  /** Messages a second; default as fast as it goes. */
  readonly perSecond?: number | undefined;
}

/** Publishes and records, in a checker's history, until it is stopped. Ids are `<process>-<n>`. */
export class Producer {
  readonly #broker: Broker;
  readonly #history: HistoryWriter;
  readonly #o: ProducerOptions;
  readonly #seqs = new Map<string, number>();
  #running: Promise<void> | undefined;
  #stopping = false;
  #next = 0;
  unsettled = 0;
  confirmed = 0;
  /** Kept, so that a drain can tell what is due. */
  readonly confirmedIds: string[] = [];
  failed = 0;
  inDoubt = 0;

  constructor(broker: Broker, history: HistoryWriter, o: ProducerOptions) {
    this.#broker = broker;
    this.#history = history;
    this.#o = o;
  }

  get published(): number {
    return this.#next;
  }

  start(): void {
    const lanes = Array.from({ length: this.#o.window }, () => this.#lane());
    this.#running = Promise.all(lanes).then(() => {});
  }

  /** Begins nothing new; resolves when everything under way has settled. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#running;
  }

  /** So many publishes at once, beside the usual ones. */
  burst(count: number): void {
    const all = Array.from({ length: count }, () => this.#publish());
    const before = this.#running ?? Promise.resolve();
    this.#running = before.then(async () => {
      await Promise.all(all);
    });
  }

  async #lane(): Promise<void> {
    const { perSecond, window } = this.#o;
    while (!this.#stopping) {
      await this.#publish();
      if (perSecond !== undefined) await pass((1_000 * window) / perSecond);
    }
  }

  async #publish(): Promise<void> {
    const { topic, keys, size = 0, timeoutMs = 20_000 } = this.#o;
    const n = this.#next++;
    const key = this.#broker.capabilities.message.key ? `${this.#history.process}-k${n % keys}` : undefined;
    const seq = this.#seqs.get(key ?? "") ?? 0;
    this.#seqs.set(key ?? "", seq + 1);
    const id = `${this.#history.process}-${n}`;
    const payload = { id, filling: "x".repeat(size) };
    this.#history.record({ type: "invoke", f: "publish", topic, key, id, seq, hash: hashOf(JSON.stringify(payload)) });
    this.unsettled += 1;
    try {
      const receipt = await this.#broker.topic(topic).publish(payload, { id, key, timeoutMs });
      this.#history.record({ type: "ok", f: "publish", topic, id, position: receipt.place });
      this.confirmed += 1;
      this.confirmedIds.push(id);
    } catch (error) {
      const certain = isBrokerError(error) && !error.inDoubt;
      this.#history.record({ type: certain ? "fail" : "info", f: "publish", topic, id });
      if (certain) this.failed += 1;
      else this.inDoubt += 1;
      // A broker that refuses everything must not make this a busy loop.
      await pass(20);
    } finally {
      this.unsettled -= 1;
    }
  }
}

export interface ConsumerOptions {
  readonly topic: string;
  /** `undefined`: broadcast, a group of its own named after its process. */
  readonly group: string | undefined;
  readonly concurrency: number;
  readonly handlerMs: number;
  readonly subscribe?: Partial<SubscribeOptions> | undefined;
}

/** Handles and records until it is closed. What is acknowledged counts as durable when a flush after it has resolved. */
export class Consumer {
  readonly #broker: Broker;
  readonly #history: HistoryWriter;
  readonly #o: ConsumerOptions;
  readonly group: string;
  #subscription: Subscription | undefined;
  readonly #lostAt = new Map<string | undefined, number>();
  #accepted: string[] = [];
  #flushing: Promise<void> = Promise.resolve();
  #closed = false;
  received = 0;
  acknowledged = 0;
  reported = 0;
  readonly acknowledgedIds: Set<string> = new Set<string>();
  handlerMs: number;

  constructor(broker: Broker, history: HistoryWriter, o: ConsumerOptions) {
    this.#broker = broker;
    this.#history = history;
    this.#o = o;
    this.group = o.group ?? history.process;
    this.handlerMs = o.handlerMs;
  }

  /** Handed to a handler and not known to be settled for good. */
  get unsettled(): number {
    return this.received - this.acknowledged;
  }

  get subscription(): Subscription {
    if (this.#subscription === undefined) throw new Error("the consumer has not started");
    return this.#subscription;
  }

  async start(): Promise<void> {
    const { topic, group, concurrency, subscribe } = this.#o;
    onChannel("brokerkit.event", this.#listen);
    const way = group === undefined ? { broadcast: true } : { group };
    const o = { ...way, concurrency, onDataLoss: "skip", ...subscribe } as SubscribeOptions;
    this.#subscription = await subscribeTo(this.#broker.topic(topic), o, (message) => this.#handle(message));
    if (group !== undefined) this.#flushing = this.#flushLoop();
  }

  /** What the backend says of its group's backlog; `undefined`: it reads alone, or the backend says nothing of it. */
  async backlog(): Promise<string | undefined> {
    const { topic, group } = this.#o;
    if (group === undefined || this.#broker.capabilities.lag.count === "none") return undefined;
    const { messages, kind, inFlight } = await this.#broker.topic(topic).group(group).lag();
    return `${messages ?? "?"} (${kind}), ${inFlight ?? "?"} of them in flight`;
  }

  async close(): Promise<void> {
    // What it hands back goes to others, behind what they have had.
    if (this.#o.group !== undefined)
      this.#history.record({ type: "info", f: "crash", unit: "shard", topic: this.#o.topic, group: this.group });
    await this.#subscription?.close();
    this.#closed = true;
    await this.#flushing;
    this.#durable(this.#accepted.splice(0));
    offChannel("brokerkit.event", this.#listen);
  }

  readonly #listen = (message: unknown): void => {
    const event = message as {
      readonly type: string;
      readonly topic?: string;
      readonly missing?: number;
      readonly group?: string;
      readonly shard?: string;
    };
    if (event.topic !== this.#o.topic || event.group !== this.#o.group) return;
    if (event.type === "data-loss") {
      this.reported += event.missing ?? 0;
      this.#history.record({ type: "info", f: "receive", topic: this.#o.topic, group: this.group, lost: event.missing ?? null });
    }
    if (event.type === "lost") this.#lost(event.shard);
  };

  /** One interruption for each shard in half a second: deliveries of one cause are told of one by one. */
  #lost(shard: string | undefined): void {
    const now = performance.now();
    if (now - (this.#lostAt.get(shard) ?? Number.NEGATIVE_INFINITY) < 500) return;
    this.#lostAt.set(shard, now);
    this.#history.record({ type: "info", f: "crash", unit: "shard", topic: this.#o.topic, group: this.group, shard });
  }

  async #handle(message: Delivery<unknown>): Promise<void> {
    const { topic } = this.#o;
    const { id } = message;
    const { group } = this;
    this.#history.record({
      type: "ok",
      f: "receive",
      topic,
      group,
      key: message.key,
      id,
      hash: hashOf(JSON.stringify(message.payload)),
      position: message.place,
    });
    this.received += 1;
    if (this.handlerMs > 0) await pass(this.handlerMs);
    if (this.#o.group === undefined) {
      this.acknowledged += 1;
      this.acknowledgedIds.add(id);
      return;
    }
    const events: HistoryRecord[] = [
      { type: "ok", f: "done", topic, group, id },
      { type: "invoke", f: "ack", topic, group, id },
    ];
    this.#history.record(events);
    // Known to be lost before it is asked for: refused. Lost on the way: nobody knows whether it arrived.
    const refused = message.signal.aborted;
    try {
      await message.ack();
      this.#accepted.push(id);
    } catch {
      this.#history.record({ type: refused ? "fail" : "info", f: "ack", topic, group, id });
      this.acknowledged += 1;
    }
  }

  /** What was accepted before a flush is durable after it. */
  async #flushLoop(): Promise<void> {
    while (!this.#closed) {
      await pass(25);
      const accepted = this.#accepted;
      if (accepted.length === 0) continue;
      this.#accepted = [];
      try {
        await this.subscription.flush();
        this.#durable(accepted);
      } catch {
        this.#accepted.push(...accepted);
      }
    }
  }

  #durable(ids: readonly string[]): void {
    if (ids.length === 0) return;
    const { topic } = this.#o;
    this.#history.record(ids.map((id): HistoryRecord => ({ type: "ok", f: "ack", topic, group: this.group, id })));
    this.acknowledged += ids.length;
    for (const id of ids) this.acknowledgedIds.add(id);
  }
}
