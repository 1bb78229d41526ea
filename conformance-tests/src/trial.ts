import { join } from "node:path";
import { type Broker, defineTopic } from "brokerkit";
import { AssertionFailed, check } from "./assert.ts";
import {
  type Claims,
  formatVerdict,
  type GroupClaims,
  type HistoryWriter,
  check as judge,
  type KeyScope,
  openHistory,
  readHistory,
  type Verdict,
} from "./checker/index.ts";
import type { ConnectOptions, Context } from "./context.ts";
import type { Site } from "./harness.ts";
import { Consumer, type ConsumerOptions, Producer, type ProducerOptions } from "./programs/load.ts";
import { startWorker, type Worker } from "./programs/start.ts";
import { anything } from "./stage.ts";
import { now, pass, until } from "./wait.ts";

type Load<O> = Partial<Omit<O, "topic">> & { readonly connect?: ConnectOptions | undefined };

/** Producers and consumers under faults, and the history by which they are judged. */
export class Trial {
  readonly topic: string;
  readonly folder: string;
  readonly #t: Context;
  readonly #site: Site;
  readonly #main: HistoryWriter;
  readonly #writers: HistoryWriter[] = [];
  readonly #groups = new Map<string, GroupClaims>();
  readonly producers: Producer[] = [];
  readonly consumers: Consumer[] = [];
  readonly #workers: Worker[] = [];
  readonly #members: boolean;
  #ready: Promise<void> | undefined;
  #names = 0;

  /** `members`: keys are to keep their order among members, so the topic is made for that where the backend needs it. */
  constructor(t: Context, site: Site, { members = false }: { readonly members?: boolean } = {}) {
    this.#t = t;
    this.#site = site;
    this.#members = members;
    this.topic = t.topic("trial");
    this.folder = join(site.folder, `history-${this.topic}`);
    this.#main = openHistory(this.folder, "main");
    t.defer(() => {
      for (const writer of [this.#main, ...this.#writers]) writer.close();
    });
  }

  #name(role: string): string {
    this.#names += 1;
    return `${role}-${this.#names}`;
  }

  #claim(group: string, broadcast: boolean): void {
    const atLeastOnce = this.#t.capabilities.delivery.broadcast === "at-least-once";
    // A broadcast reader owns nothing: where it takes up again it may repeat what it had.
    this.#groups.set(group, { topic: this.topic, group, ...(broadcast ? { acks: "none", atLeastOnce, duplicates: "any" } : {}) });
  }

  #history(role: string): HistoryWriter {
    const writer = openHistory(this.folder, this.#name(role));
    this.#writers.push(writer);
    return writer;
  }

  async broker(o: ConnectOptions = {}): Promise<Broker> {
    const broker = await this.#t.connect({ site: this.#site, ...o });
    this.#ready ??= this.#provision(broker);
    await this.#ready;
    return broker;
  }

  /** The topic, before anybody publishes to it. */
  async #provision(broker: Broker): Promise<void> {
    if (this.#members) await broker.provision([defineTopic(this.topic, { schema: anything, ...this.#t.shared })]);
  }

  async producer({ connect, ...o }: Load<ProducerOptions> = {}): Promise<Producer> {
    const producer = new Producer(await this.broker(connect), this.#history("producer"), {
      topic: this.topic,
      keys: 500,
      window: 50,
      perSecond: 2_000,
      ...o,
    });
    this.producers.push(producer);
    producer.start();
    this.#t.defer(() => producer.stop());
    return producer;
  }

  async consumer({ connect, ...o }: Load<ConsumerOptions> = {}): Promise<Consumer> {
    const group = "group" in o ? o.group : "g";
    const consumer = new Consumer(await this.broker(connect), this.#history("consumer"), {
      topic: this.topic,
      concurrency: 200,
      handlerMs: 40,
      ...o,
      group,
    });
    await consumer.start();
    this.consumers.push(consumer);
    this.#claim(consumer.group, group === undefined);
    return consumer;
  }

  /** A process of its own; `produce`, `consume` or both. */
  async worker(job: {
    readonly produce?: Partial<ProducerOptions>;
    readonly consume?: Partial<ConsumerOptions>;
  }): Promise<Worker & { readonly name: string }> {
    const name = this.#name("worker");
    const { topic } = this;
    if (this.#ready === undefined) await this.broker();
    const worker = await startWorker({
      url: this.#t.url(this.#site),
      history: this.folder,
      name,
      ...(job.produce === undefined ? {} : { produce: { topic, keys: 500, window: 50, perSecond: 2_000, ...job.produce } }),
      ...(job.consume === undefined ? {} : { consume: { topic, group: "g", concurrency: 200, handlerMs: 40, ...job.consume } }),
    });
    if (job.consume !== undefined) this.#claim("g", false);
    this.#workers.push(worker);
    this.#t.defer(() => worker.process.kill());
    return Object.assign(worker, { name });
  }

  /** Writes that an interruption begins; the returned function writes that it is over. */
  interrupt(unit: "broker" | "process", target?: string): () => void {
    this.#main.record({ type: "info", f: "crash", unit, target });
    return () => this.#main.record({ type: "ok", f: "crash", unit, target });
  }

  /** What users are told is what a topic can have; one without partitions has what the backend itself keeps. */
  get #order(): KeyScope {
    return this.#members ? this.#t.capabilities.keyOrder : this.#t.harness.expected.keyOrder;
  }

  #claims(more: Partial<Claims>): Claims {
    const c = this.#t.capabilities;
    return {
      order: c.message.key ? this.#order : "none",
      atLeastOnce: c.delivery.group === "at-least-once",
      settle: c.settle.unit === "prefix" ? "prefix" : "each",
      ...more,
      groups: [...this.#groups.values()],
    };
  }

  /** Stops what produces, waits until everything confirmed has been handled and settled, closes all, and judges. */
  async judge(more: Partial<Claims> = {}, ms = 40_000): Promise<Verdict> {
    await Promise.all(this.producers.map((producer) => producer.stop()));
    for (const consumer of this.consumers) consumer.handlerMs = 0;
    const claims = this.#claims(more);
    let last: Verdict | undefined;
    if (claims.atLeastOnce) {
      await until(
        async () => {
          const begun = now();
          last = judge(readHistory(this.folder), claims);
          if (last.lost.count === 0 && last.gap.count === 0) return true;
          // Judging holds up everything else in this process, the consumers that are waited for too.
          await pass(4 * (now() - begun));
          return false;
        },
        () => `everything confirmed to be handled and settled\n${last === undefined ? "" : formatVerdict(last)}`,
        ms,
      ).catch(async (error: Error) => {
        // Whether the backend still has what is missing tells a loss from a delivery that does not come.
        const backlogs = await Promise.all(this.consumers.map(backlog));
        throw new AssertionFailed(`${error.message}${backlogs.join("")}`, { cause: error });
      });
    }
    await Promise.all(this.consumers.map((consumer) => consumer.close()));
    await Promise.all(this.#workers.filter((worker) => worker.process.exit === undefined).map((worker) => worker.stop()));
    const verdict = judge(readHistory(this.folder), claims);
    check(verdict.valid, () => `the checker's verdict:\n${formatVerdict(verdict)}`);
    return verdict;
  }
}

/** A line about what the backend still has for a group, as far as it says. */
async function backlog(consumer: Consumer): Promise<string> {
  const told = await consumer.backlog().catch((error: unknown) => `not known: ${error}`);
  return told === undefined ? "" : `\nThe backlog of the group "${consumer.group}": ${told}`;
}
