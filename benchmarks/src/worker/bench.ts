import { Account } from "../measure/account.ts";
import type { Consumer, Session, Site, Verified } from "../measure/column.ts";
import { Messages } from "../measure/messages.ts";
import { type Measure, metered } from "../measure/meter.ts";
import { openLoop } from "../measure/open-loop.ts";
import { type Delays, delaysOf } from "../measure/percentiles.ts";
import type { Workload } from "../measure/workload.ts";
import type { Round, Tasks } from "./protocol.ts";

const FIRST_COUNT = 50;
const FEWEST = 50;
/** Time for the consumer to be at rest before the first message of an open loop. */
const LEAD_MS = 20;
const SAMPLE_MS = 20;

export interface BenchSetting {
  readonly site: Site;
  readonly workload: Workload;
  readonly stallMs: number;
  /** The core that the site's broker has to itself. */
  readonly brokerCore?: number | undefined;
}

interface Slow {
  readonly account: Account;
  readonly consumer: Consumer;
  readonly sampler: NodeJS.Timeout;
  readonly baseline: number;
  peak: number;
}

/** One column at work in its process: what each task does. */
export class Bench {
  readonly #session: Session;
  readonly #site: Site;
  readonly #workload: Workload;
  readonly #stallMs: number;
  readonly #brokerCore: number | undefined;
  readonly #messages: Messages;
  /** How many keys the messages have whose order is judged. */
  readonly #keys: number;
  #topics = 0;
  #slow: Slow | undefined;

  constructor(session: Session, { site, workload, stallMs, brokerCore }: BenchSetting) {
    this.#session = session;
    this.#site = site;
    this.#workload = workload;
    this.#stallMs = stallMs;
    // A backend that is a file, or in the process, has none.
    this.#brokerCore = site.host === "" ? undefined : brokerCore;
    this.#messages = new Messages(workload);
    this.#keys = site.ordered === false ? 0 : workload.keys;
  }

  async warmUp(): Promise<Tasks["warmUp"]["answer"]> {
    const { count: most, roundMs, warmUpMs } = this.#workload;
    const start = performance.now();
    let count = Math.min(FIRST_COUNT, most);
    for (;;) {
      const { publish, consume, live } = await this.round(count);
      const slowest = Math.max(publish.ms, consume?.ms ?? 0, live.ms) / count;
      const worth = Math.min(most, Math.max(FEWEST, Math.round(roundMs / slowest)));
      if (performance.now() - start >= warmUpMs) return { count: worth };
      count = Math.min(worth, count * 8);
    }
  }

  async round(count: number): Promise<Round> {
    const stored = await this.#stored(count);
    return { ...stored, live: this.#workload.topics > 1 ? stored.publish : await this.#live(count) };
  }

  /** Publishes, then consumes what was published. */
  async #stored(count: number): Promise<Omit<Round, "live">> {
    const { backlog, topics } = this.#workload;
    const session = this.#session;
    await this.#fresh();
    await this.#publish(0, backlog);
    const publish = await this.#metered(count, () => session.publish(this.#messages, backlog, count));
    let consume: Measure | null = null;
    if (this.#site.delivery === "stored" && topics === 1) {
      const account = new Account({ count: backlog + count, keys: this.#keys, stallMs: this.#stallMs });
      let consumer: Consumer | undefined;
      consume = await this.#metered(backlog + count, async () => {
        consumer = await session.consume(account);
        await account.complete;
        await consumer.flush();
      });
      await consumer?.close();
      account.close();
    }
    await session.remove();
    return { publish, consume };
  }

  async #live(count: number): Promise<Measure> {
    await this.#fresh();
    const account = new Account({ count, keys: this.#keys, stallMs: this.#stallMs });
    const consumer = await this.#session.consume(account);
    const live = await this.#metered(count, async () => {
      await Promise.all([this.#session.publish(this.#messages, 0, count), account.complete]);
      await consumer.flush();
    });
    await consumer.close();
    account.close();
    await this.#session.remove();
    return live;
  }

  #metered(count: number, work: () => Promise<void>): Promise<Measure> {
    return metered(count, work, this.#brokerCore);
  }

  async latency(perSecond: number, ms: number): Promise<Delays> {
    await this.#fresh();
    const count = Math.max(20, Math.round((perSecond * ms) / 1_000));
    const apart = 1_000 / perSecond;
    const account = new Account({ count, keys: this.#keys, stallMs: Math.max(this.#stallMs, 50 * apart) });
    const consumer = await this.#session.consume(account);
    const start = performance.now() + LEAD_MS;
    const took = account.time(start, apart);
    await Promise.all([openLoop(this.#session, this.#messages, { count, apart, start }), account.complete]);
    await consumer.flush();
    await consumer.close();
    account.close();
    await this.#session.remove();
    return delaysOf(took, perSecond);
  }

  async verify(folder: string, count: number): Promise<Verified | null> {
    if (this.#session.verify === undefined || this.#workload.topics > 1) return null;
    await this.#fresh();
    const verified = await this.#session.verify(folder, count);
    await this.#session.remove();
    return verified;
  }

  // ---- the slow consumer: two processes, one of them slow
  async makeTopic(topic: string): Promise<null> {
    this.#session.attach(topic);
    await this.#session.create();
    return null;
  }

  async fillTopic(topic: string, count: number): Promise<{ readonly perSecond: number }> {
    this.#session.attach(topic);
    const { ms } = await metered(count, () => this.#publish(0, count));
    return { perSecond: (count * 1_000) / ms };
  }

  async removeTopic(topic: string): Promise<null> {
    this.#session.attach(topic);
    await this.#session.remove();
    return null;
  }

  async startSlow(topic: string, restMs: number, count: number): Promise<null> {
    this.#session.attach(topic);
    const account = new Account({ count, keys: this.#keys, stallMs: 2 ** 30 });
    account.slow(restMs);
    const consumer = await this.#session.consume(account);
    const baseline = process.memoryUsage.rss();
    const sampler = setInterval(() => {
      slow.peak = Math.max(slow.peak, process.memoryUsage.rss());
    }, SAMPLE_MS);
    const slow: Slow = { account, consumer, sampler, baseline, peak: baseline };
    this.#slow = slow;
    return null;
  }

  async stopSlow(): Promise<Tasks["stopSlow"]["answer"]> {
    const slow = this.#slow as Slow;
    clearInterval(slow.sampler);
    slow.account.abandon();
    const { received } = slow.account;
    await slow.consumer.close();
    return { handled: received, baseline: slow.baseline, peak: slow.peak };
  }

  async close(): Promise<null> {
    await this.#session.close();
    return null;
  }

  async #fresh(): Promise<void> {
    this.#session.attach(`bench-${process.pid}-${this.#topics++}`);
    await this.#session.create();
  }

  /** Any number, in parts that the pool of bodies can hold. */
  async #publish(first: number, count: number): Promise<void> {
    for (let n = 0; n < count; n += this.#messages.limit) {
      await this.#session.publish(this.#messages, first + n, Math.min(this.#messages.limit, count - n));
    }
  }
}
