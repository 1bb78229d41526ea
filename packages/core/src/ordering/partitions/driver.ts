import { withPartitions } from "../../capabilities.ts";
import type { Adapter, Clock } from "../../driver/adapter.ts";
import type { Capabilities } from "../../driver/capabilities.ts";
import type { Admin, Cursor, Driver, ReplayRequest, SubscribeRequest, Subscription } from "../../driver/driver.ts";
import type { Classified, DriverError } from "../../driver/errors.ts";
import type { PublishResult, Target, WireRecord } from "../../driver/wire.ts";
import { settleBy } from "../../primitives/race.ts";
import { PartitionedAdmin } from "./admin.ts";
import { replayParts } from "./cursor.ts";
import { eachPart } from "./each.ts";
import { murmur2 } from "./hash.ts";
import { Merged } from "./merged.ts";
import { innerStart, outerPlace, partName } from "./names.ts";
import { Part } from "./part.ts";
import { Registry } from "./registry.ts";
import { share } from "./sharing.ts";

/**
 * Gives an adapter's topics partitions where its backend has none but keeps registers: a topic created with `partitions: n` is n topics of the
 * backend, a key belongs to one of them, and the members of a group divide them among themselves, each read by one member at a time. So a
 * key is handled by one member at a time, in order. Other adapters, and topics without partitions, are as they were.
 */
export function partitioned(adapter: Adapter): Adapter {
  if (!adapter.capabilities.coordination) return adapter;
  return {
    ...adapter,
    capabilities: withPartitions(adapter.capabilities),
    open: (context): Driver => new PartitionedDriver(adapter.open(context), context.clock),
  };
}

const CLOSE_MS = 3_000;
/** How many topics' and inboxes' targets to keep. */
const MOST_TARGETS = 1_000;

class PartitionedDriver implements Driver {
  readonly capabilities: Capabilities;
  readonly admin: Admin;
  readonly #inner: Driver;
  readonly #clock: Clock;
  readonly #registry: Registry;
  readonly #open = new Set<Merged>();
  /** Where records of partitioned topics go: targets by topic and, for inboxes, by group. */
  readonly #targets = new Map<string, readonly Target[]>();

  constructor(inner: Driver, clock: Clock) {
    this.capabilities = withPartitions(inner.capabilities);
    this.#inner = inner;
    this.#clock = clock;
    this.#registry = new Registry(inner, clock);
    this.admin = new PartitionedAdmin(inner, this.#registry);
  }

  async connect(signal: AbortSignal): Promise<Capabilities> {
    const found = await this.#inner.connect(signal);
    this.#registry.clear();
    return withPartitions(found);
  }

  async describe(topic: string, signal: AbortSignal): Promise<Capabilities> {
    return this.#in(topic, signal, async (count) => {
      if (count > 0) return this.#describePart(topic, count, signal);
      return { ...(await this.#inner.describe(topic, signal)), coordination: false };
    });
  }

  publish(batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
    for (const { target } of batch) if (this.#registry.known(target.topic) !== 0) return this.#spread(batch, signal);
    return this.#inner.publish(batch, signal);
  }

  async subscribe(request: SubscribeRequest, signal: AbortSignal): Promise<Subscription> {
    const { topic, group } = request;
    const { coordination } = this.#inner;
    const join = async (parts: number): Promise<Subscription> => {
      if (parts === 0 || coordination === undefined) {
        const subscription = await this.#inner.subscribe(request, signal);
        this.#registry.plain(topic);
        return subscription;
      }
      const capabilities = await this.#describePart(topic, parts, signal);
      const wiring = { driver: this.#inner, clock: this.#clock, parts, capabilities };
      const subscription =
        group === undefined
          ? await this.#broadcast(request, parts, capabilities, signal)
          : await share({ ...wiring, coordination, request: { ...request, group } }, signal);
      this.#open.add(subscription);
      void subscription.ended.then(() => this.#open.delete(subscription));
      return subscription;
    };
    // Whoever joins looks anew: members that count with different numbers would never agree.
    return this.#in(topic, signal, join, true);
  }

  async replay(request: ReplayRequest, signal: AbortSignal): Promise<Cursor> {
    return this.#in(request.topic, signal, (parts) =>
      parts === 0 ? this.#inner.replay(request, signal) : replayParts(this.#inner, this.#clock, request, parts, signal),
    );
  }

  ping(signal: AbortSignal): Promise<void> {
    return this.#inner.ping(signal);
  }

  classify(error: unknown): Classified {
    return this.#inner.classify(error);
  }

  async close(): Promise<void> {
    const closing = Promise.allSettled([...this.#open].map((subscription) => subscription.close()));
    await settleBy(this.#clock, this.#clock.monotonic() + CLOSE_MS, closing);
    await this.#inner.close();
  }

  /** Works on a topic with so many partitions; 0: none. What turns out to be gone is looked up anew the next time. */
  async #in<T>(topic: string, signal: AbortSignal, work: (count: number) => Promise<T>, anew = false): Promise<T> {
    try {
      return await work(await this.#registry.of(topic, signal, anew));
    } catch (error) {
      this.#failed(topic, error);
      throw error;
    }
  }

  #failed(topic: string, error: unknown): void {
    const code = (error as Partial<DriverError> | undefined)?.driverCode ?? this.#inner.classify(error).code;
    if (code === "NOT_FOUND") this.#registry.forget(topic);
  }

  async #describePart(topic: string, count: number, signal: AbortSignal): Promise<Capabilities> {
    const found = await this.#inner.describe(partName(topic, 0), signal);
    return { ...found, keyOrder: "members", topics: { ...found.topics, partitions: count }, receive: { ...found.receive, concurrency: 1 } };
  }

  /** Every partition's reader as one; all of them, as a broadcast reader shares with nobody. */
  async #broadcast(request: SubscribeRequest, count: number, capabilities: Capabilities, signal: AbortSignal): Promise<Merged> {
    const merged = new Merged({
      clock: this.#clock,
      capabilities,
      created: true,
      broadcast: true,
      check: () => {},
      broken: (error) => merged.fail(error),
      forfeit: () => {},
      leave: (closeParts) => closeParts(),
    });
    try {
      await eachPart(count, async (number) => {
        const part = new Part(number, request.events, () => undefined);
        const from = innerStart(request.from, number);
        const topic = partName(request.topic, number);
        part.inner = await this.#inner.subscribe({ ...request, topic, from, events: part.events }, signal);
        merged.add(part);
      });
      return merged;
    } catch (error) {
      await merged.close();
      throw error;
    }
  }

  /** Publishes a batch of which some records may go to partitions. */
  async #spread(batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
    const results: PublishResult[] = [];
    const counts = new Map<string, number | { readonly error: unknown }>();
    for (const { target } of batch) {
      if (!counts.has(target.topic)) counts.set(target.topic, await this.#registry.of(target.topic, signal).catch((error) => ({ error })));
    }
    const sent: WireRecord[] = [];
    const turns: { readonly at: number; readonly part: number | undefined }[] = [];
    for (const [at, record] of batch.entries()) {
      const { topic } = record.target;
      const count = counts.get(topic);
      if (typeof count === "object") {
        results[at] = { ok: false, error: count.error, sent: "no" };
        continue;
      }
      const part = count === undefined || count === 0 ? undefined : partOf(record, count);
      turns.push({ at, part });
      sent.push(part === undefined ? record : { ...record, target: this.#targetsOf(record.target, count as number)[part] as Target });
    }
    const answers = sent.length === 0 ? [] : await this.#inner.publish(sent, signal);
    for (const [n, { at, part }] of turns.entries()) results[at] = this.#answer(answers[n] as PublishResult, batch[at] as WireRecord, part);
    return results;
  }

  #answer(result: PublishResult, { target }: WireRecord, part: number | undefined): PublishResult {
    if (result.ok && part === undefined) this.#registry.plain(target.topic);
    if (result.ok) return part === undefined || result.place === undefined ? result : { ...result, place: outerPlace(part, result.place) };
    this.#failed(target.topic, result.error);
    return result;
  }

  #targetsOf({ topic, group }: Target, count: number): readonly Target[] {
    const name = group === undefined ? topic : `${topic}/${group}`;
    const known = this.#targets.get(name);
    if (known?.length === count) return known;
    const targets = Array.from({ length: count }, (_, part): Target => ({ topic: partName(topic, part), ...(group && { group }) }));
    if (this.#targets.size >= MOST_TARGETS) this.#targets.clear();
    this.#targets.set(name, targets);
    return targets;
  }
}

/** The partition of a record: its key's. Without one, what it is published as decides, so that repeating it meets the same dedupe window. */
function partOf({ key, dedupeId }: WireRecord, count: number): number {
  return murmur2(key ?? Buffer.from(dedupeId)) % count;
}
