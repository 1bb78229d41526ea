// Where the tour plays: the director's own broker, the processes, and waiting for what has been seen.
import { setTimeout as pass } from "node:timers/promises";
import { type HistoryRecord, type HistoryWriter, openHistory } from "@brokerkit/conformance/checker";
import { type FaultProxy, startProxy, until } from "@brokerkit/conformance/faults";
import { type Broker, connect, type Topic } from "brokerkit";
import { addressOf, withShortLease } from "./address.ts";
import { GROUP, type Order, orders } from "./app.ts";
import { eventsOf, Member } from "./crew.ts";
import type { Job } from "./line.ts";
import { type Plan, planFor } from "./plan.ts";
import { number, type Screen } from "./screen.ts";

/** The tour could not be run: nothing is said about the backend. */
export class TourError extends Error {
  override readonly name = "TourError";
}

export interface Setting {
  readonly url: string;
  readonly orders: number;
  readonly fault: boolean;
  /** Folder of the history; it exists and is empty. */
  readonly history: string;
  /** The file whose presence is the deployed fix. */
  readonly fix: string;
  readonly screen: Screen;
  /** Ends the run early. */
  readonly signal: AbortSignal;
}

/** One line of the table: a step that was shown, or the words that say why it was not. */
export interface Shown {
  readonly step: string;
  readonly shown: boolean;
  readonly text: string;
}

const CUSTOMERS = 500;
const PRODUCERS = ["producer-1", "producer-2"];
/** Orders come in as fast as this, a second, all producers together; in a small run slower, so that it has a middle. */
const PER_SECOND = 3_000;
const SHORTEST_S = 1.5;
const PATIENCE_MS = 60_000;
const WATCH_MS = 100;
/** The longest time that a timer can have. */
const NEVER_MS = 2 ** 31 - 1;

export class Stage implements AsyncDisposable {
  readonly setting: Setting;
  readonly plan: Plan;
  readonly topic: Topic<typeof Order>;
  readonly producers: Member[] = [];
  readonly workers: Member[] = [];
  readonly shown: Shown[] = [];
  /** Orders that some worker has handled, by id. */
  readonly handled = new Set<string>();
  lag: number | undefined;
  peakLag = 0;
  readonly #broker: Broker;
  readonly #url: string;
  readonly #prefix: string;
  readonly #history: HistoryWriter;
  readonly #broken = new AbortController();
  readonly #signal: AbortSignal;
  #allowed = 0;
  #proxy: FaultProxy | undefined;
  #arriving: Promise<void> | undefined;
  #watching: Promise<void> | undefined;
  #over = false;

  private constructor(setting: Setting, broker: Broker, url: string, prefix: string) {
    this.setting = setting;
    this.#broker = broker;
    this.#url = url;
    this.#prefix = prefix;
    this.plan = planFor(url, broker.capabilities);
    this.topic = broker.topic(orders);
    this.#history = openHistory(setting.history, "director");
    this.#signal = AbortSignal.any([setting.signal, this.#broken.signal]);
  }

  /** Connects. Rejects with the SDK's typed error where that fails. */
  static async open(setting: Setting): Promise<Stage> {
    const prefix = `tour-${process.pid}-${Date.now().toString(36)}.`;
    const broker = await connect(setting.url, { prefix });
    const shorter = await withShortLease(setting.url, broker, prefix);
    return shorter === undefined
      ? new Stage(setting, broker, setting.url, prefix)
      : new Stage(setting, shorter.broker, shorter.url, prefix);
  }

  get capabilities(): Broker["capabilities"] {
    return this.#broker.capabilities;
  }

  /** How long a dead worker's deliveries stay its own, ms. */
  get leaseMs(): number {
    return this.capabilities.lease.ms;
  }

  /** Whether the workers have nothing left to do: all is handled but what nobody can. */
  get idle(): boolean {
    return this.handled.size + (this.plan.deadLetter.shown ? 1 : 0) >= this.confirmed;
  }

  get confirmed(): number {
    return sum(this.producers.map(({ counts }) => counts.confirmed));
  }

  // ---- processes
  /** Starts the producers and workers and waits until they have connected. `proxied`: that worker's link leads through a proxy. */
  async cast(workers: readonly string[], poison: boolean, proxied: string | undefined): Promise<void> {
    const each = this.setting.orders / PRODUCERS.length;
    // Early enough to be among the first that are handled, and of the first producer only.
    const nth = poison ? Math.floor(each / 20) : -1;
    const [producers, others] = await Promise.all([
      Promise.all(PRODUCERS.map((name, n) => this.#start("producer", name, this.#url, n === 0 ? nth : -1))),
      Promise.all(workers.map(async (name) => this.#start("worker", name, name === proxied ? await this.#throughProxy() : this.#url))),
    ]);
    this.producers.push(...producers);
    this.workers.push(...others);
    await this.wait(() => [...producers, ...others].every(({ ready }) => ready), "the processes to connect");
  }

  /** One more worker. The story goes on while it starts; `complete` waits for it. */
  replace(name: string): void {
    this.#arriving = this.#arrive(name).catch((error: unknown) => this.#broken.abort(error));
  }

  /** Every worker that was asked for is at work. */
  async complete(): Promise<void> {
    await this.#arriving;
    this.#signal.throwIfAborted();
  }

  async #arrive(name: string): Promise<void> {
    const worker = await this.#start("worker", name, this.#url);
    this.workers.push(worker);
    await this.wait(() => worker.ready, `${name} to connect`);
    await this.begin([worker]);
  }

  /** Lets workers subscribe; resolves when they have. */
  async begin(workers: readonly Member[]): Promise<void> {
    for (const worker of workers) await worker.say({ say: "begin" });
    await this.wait(() => workers.every(({ begun }) => begun !== undefined), "the workers to subscribe");
    if (this.plan.way === "group" && workers.some(({ begun }) => begun?.created)) {
      throw new TourError(
        `${this.plan.name}: the workers' group "${GROUP}" is not the director's: each process has a backend of its own. ` +
          "Name one that processes can share, such as sqlite:tour.db.",
      );
    }
  }

  /** Lets the producers go on until this part of all orders is published (0 … 1). */
  upto(part: number): Promise<void> {
    return this.more(Math.floor((this.setting.orders * part) / PRODUCERS.length) - this.#allowed);
  }

  /** Lets each producer publish so many more. */
  async more(each: number): Promise<void> {
    this.#allowed += Math.max(0, each);
    for (const producer of this.producers) await producer.say({ say: "upto", orders: this.#allowed });
  }

  /** The proxy in front of one worker, where there is one. */
  get proxy(): FaultProxy | undefined {
    return this.#proxy;
  }

  /** Lets every process finish what is under way, and end. */
  async dismiss(): Promise<void> {
    for (const members of [this.producers, this.workers]) {
      await Promise.all(members.map((member) => member.stop()));
      await this.wait(() => members.every(({ over }) => over), "the processes to end");
    }
  }

  #start(role: Job["role"], name: string, url: string, poison = -1): Promise<Member> {
    const perSecond = Math.min(PER_SECOND, this.setting.orders / SHORTEST_S) / PRODUCERS.length;
    const { history } = this.setting;
    const job: Job = {
      role,
      name,
      history,
      prefix: this.#prefix,
      orders: this.setting.orders / PRODUCERS.length,
      perSecond,
      customers: CUSTOMERS,
      poison,
    };
    const env = { ...process.env, BROKER_URL: url, BILLING_FIX: this.setting.fix };
    const failed = (error: Error): void => {
      const hint = url === this.#url ? "" : " (its link leads through a proxy; --no-fault leaves that out)";
      this.#broken.abort(new TourError(`${error.message}${hint}`));
    };
    return Member.start(job, { env, failed, handled: (id) => this.handled.add(id) });
  }

  async #throughProxy(): Promise<string> {
    const target = addressOf(this.#url);
    if (target === undefined) return this.#url;
    this.#proxy = await startProxy(target);
    return `${target.before}${this.#proxy.host}:${this.#proxy.port}${target.after}`;
  }

  // ---- the director's own history
  record(events: HistoryRecord | readonly HistoryRecord[]): void {
    this.#history.record(events);
  }

  /** When an order was confirmed to its producer, in the history's time. */
  confirmedAt(id: string): number {
    for (const { name } of this.producers) {
      for (const event of eventsOf(this.setting.history, name)) {
        if (event.f === "publish" && event.type === "ok" && event.id === id) return event.t;
      }
    }
    throw new TourError(`${id} was received, and its producer's history does not know it`);
  }

  /** How many orders the workers finished between two times of the history. */
  handledBetween(from: number, to: number): number {
    let found = 0;
    for (const { name } of this.workers) {
      for (const { f, type, t } of eventsOf(this.setting.history, name)) if (f === "done" && type === "ok" && t >= from && t <= to) found++;
    }
    return found;
  }

  // ---- waiting
  /** Looks until it holds. Rejects when a process has failed, the run is to end, or nothing has moved for a long time. */
  async wait(condition: () => boolean | Promise<boolean>, what: string, quietMs: number = PATIENCE_MS): Promise<void> {
    if (await this.#look(condition, what, quietMs)) return;
    throw new TourError(`waited in vain for ${what}: nothing has moved for ${Math.round(quietMs / 1_000)} s`);
  }

  /** The same, for what the verdict is about: false when nothing has moved for longer than a lease may take. */
  settled(condition: () => boolean | Promise<boolean>, what: string): Promise<boolean> {
    return this.#look(condition, what, Math.max(30_000, 3 * this.leaseMs));
  }

  async #look(condition: () => boolean | Promise<boolean>, what: string, quietMs: number): Promise<boolean> {
    let moved = "";
    let at = performance.now();
    let held = false;
    const look = async (): Promise<boolean> => {
      const now = [...this.producers, ...this.workers].map(({ mark }) => mark).join();
      if (now !== moved) at = performance.now();
      moved = now;
      held = await condition();
      return held || performance.now() - at > quietMs;
    };
    try {
      await until(look, { timeoutMs: NEVER_MS, what, signal: this.#signal });
    } catch (error) {
      // What ended the run says more than what was waited for.
      this.#signal.throwIfAborted();
      throw error;
    }
    return held;
  }

  // ---- watching
  /** From now on the bar moves; lag is asked of the backend where it can say. */
  watch(): void {
    this.#watching = this.#watch().catch((error: unknown) => this.#broken.abort(error));
  }

  async #watch(): Promise<void> {
    const told = new Set<string>();
    while (!this.#over) {
      if (this.plan.lag.shown) {
        // Watching is not the tour: a question that fails is asked again.
        this.lag = await this.topic
          .group(GROUP)
          .lag()
          .then(
            ({ messages }) => messages,
            () => undefined,
          );
        this.peakLag = Math.max(this.peakLag, this.lag ?? 0);
      }
      for (const { buried } of this.workers) {
        for (const { id, reason } of buried) {
          if (told.has(id)) continue;
          told.add(id);
          this.setting.screen.story(
            "dead letter",
            `${id} is given up (reason: ${reason}) and kept aside.`,
            "Only its customer's orders waited for it; they go on now.",
          );
        }
      }
      this.#draw();
      await pass(WATCH_MS);
    }
  }

  #draw(): void {
    const each = this.plan.way === "broadcast";
    const done = each ? sum(this.workers.map((worker) => worker.handled.size)) : this.handled.size;
    const total = this.setting.orders * (each ? this.workers.length : 1);
    const lag = this.lag === undefined ? "" : `   lag ${number(this.lag)}`;
    const who = each ? ` by ${this.workers.length} workers` : "";
    this.setting.screen.progress({ done, total, text: `published ${number(this.confirmed)}   handled ${number(done)}${who}${lag}` });
  }

  // ---- the end
  /** Ends watching, draws the bar a last time and closes the director's part of the history. */
  async finish(): Promise<void> {
    this.#over = true;
    await this.#watching;
    if (this.producers.length > 0) this.#draw();
    this.setting.screen.progress(undefined);
    this.#history.close();
  }

  /** Whatever happened: no process, no proxy and no topic of this run is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true;
    this.setting.screen.progress(undefined);
    this.#broken.abort(new TourError("the tour is over"));
    await this.#arriving;
    await Promise.all([...this.producers, ...this.workers].map((member) => member.kill()));
    await this.#watching;
    this.#history.close();
    await this.#proxy?.close();
    // The run's own topic, on a backend that others may use too; a broker that has just failed can't.
    await this.topic.delete().catch(() => {});
    await this.#broker.close();
  }
}

export function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}
