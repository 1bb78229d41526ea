import type { Place, PublishResult, WireRecord } from "brokerkit/driver";
import { beyond, noGroup } from "./errors.ts";
import { sizeOf, textOf } from "./mapping.ts";
import { type Extra, type Log, Stored } from "./scripts/log.ts";
import type { Topic } from "./scripts/topic.ts";
import type { World } from "./scripts/world.ts";

/** A place is made into text when somebody reads it. */
class Receipt {
  readonly ok = true;
  readonly #log: Log;
  readonly #seq: number;

  constructor(log: Log, seq: number) {
    this.#log = log;
    this.#seq = seq;
  }

  get place(): Place | undefined {
    return this.#log.place(this.#seq);
  }
}

const DUPLICATE: PublishResult = Object.freeze({ ok: true, duplicate: true });
const DELAYED: PublishResult = Object.freeze({ ok: true });

/** Stores records, and holds core to the limits of the record. */
export class Publisher {
  readonly #world: World;
  readonly #calls = new Set<readonly WireRecord[]>();

  constructor(world: World) {
    this.#world = world;
  }

  publish(batch: readonly WireRecord[]): Promise<readonly PublishResult[]> {
    const sizes = batch.map(sizeOf);
    const violation = this.#violation(batch, sizes);
    if (violation !== undefined) {
      const error = beyond(violation);
      return Promise.resolve(batch.map(() => ({ ok: false, error, sent: "no" })));
    }
    const results = this.#store(batch, sizes);
    // The call counts as under way until its promise has settled.
    this.#calls.add(batch);
    return Promise.resolve().then(() => {
      this.#calls.delete(batch);
      return results;
    });
  }

  #store(batch: readonly WireRecord[], sizes: readonly number[]): readonly PublishResult[] {
    const now = this.#world.clock.monotonic();
    const touched = new Set<Topic>();
    const entries = this.#world.record.settle.unit === "entry" ? new Map<Log, { size: number }>() : undefined;
    let topic: Topic | undefined;
    const results = batch.map((record, n): PublishResult => {
      try {
        const { target } = record;
        if (topic === undefined || topic.name !== target.topic) {
          topic = this.#world.topic(target.topic);
          topic.enter(now);
          touched.add(topic);
        }
        return this.#add(topic, record, sizes[n] as number, now, entries);
      } catch (error) {
        return { ok: false, error, sent: "no" };
      }
    });
    for (const one of touched) one.wake(now);
    return results;
  }

  #add(topic: Topic, record: WireRecord, size: number, now: number, entries: Map<Log, { size: number }> | undefined): PublishResult {
    const { target, delayMs = 0, ttlMs, priority = 0, failures = 0 } = record;
    const inbox = target.group === undefined ? undefined : topic.groups.get(target.group)?.inbox?.log;
    if (target.group !== undefined && inbox === undefined) throw noGroup(target.topic, target.group);
    if (topic.recent?.seen(record.dedupeId, now) === true) return DUPLICATE;
    const log = inbox ?? topic.logOf(record);
    let extra: Extra | undefined;
    if (delayMs > 0 || ttlMs !== undefined || priority > 0 || failures > 0 || entries !== undefined) {
      const entry = entries?.get(log) ?? { size: 0 };
      entry.size++;
      entries?.set(log, entry);
      extra = {
        priority,
        failures,
        expires: now + (ttlMs ?? Number.POSITIVE_INFINITY),
        ticket: delayMs > 0 ? ++topic.tickets : 0,
        entry: entries === undefined ? undefined : entry,
      };
    }
    const stored = new Stored(record, size, log.slab, extra);
    if (delayMs > 0) {
      topic.delay(log, stored, now + delayMs);
      return DELAYED;
    }
    log.append(stored, now);
    return new Receipt(log, stored.seq);
  }

  #violation(batch: readonly WireRecord[], sizes: readonly number[]): string | undefined {
    const { publish, message, groupInbox, delay, ttl, priority } = this.#world.record;
    if (this.#calls.size >= publish.inFlight) return `more than ${publish.inFlight} publish calls at once`;
    if (batch.length > publish.maxRecords) return `${batch.length} records in one call`;
    let bytes = 0;
    for (let n = 0; n < batch.length; n++) {
      const record = batch[n] as WireRecord;
      const size = sizes[n] as number;
      bytes += size;
      if (size > message.maxBytes) return `a message of ${size} bytes`;
      if (record.headers.length > message.maxHeaders || (record.headers.length > 0 && !message.headers))
        return `${record.headers.length} headers`;
      if (record.key !== undefined && !message.key) return "a key";
      if (record.body === null && !message.tombstone) return "a tombstone";
      if (record.target.group !== undefined ? groupInbox === "none" : (record.delayMs ?? 0) > delay.maxMs)
        return "a group's inbox, or a delay";
      if ((record.ttlMs ?? 0) > ttl.maxMs) return `a time to live of ${record.ttlMs} ms`;
      if ((record.priority ?? 0) > Math.max(0, priority.levels - 1)) return `priority ${record.priority}`;
    }
    if (bytes > publish.maxBytes) return `${bytes} bytes in one call`;
    return publish.order === "record" || this.#calls.size > 0 ? this.#keyTwice(batch) : undefined;
  }

  /** A key may not be in two calls at once, nor twice in one where the record promises no order within a call. */
  #keyTwice(batch: readonly WireRecord[]): string | undefined {
    const nameOf = ({ target, key }: WireRecord): string | undefined =>
      key === undefined ? undefined : `${target.topic}\0${target.group ?? ""}\0${textOf(key)}`;
    const seen = new Set([...this.#calls].flat().map(nameOf));
    for (const record of batch) {
      const name = nameOf(record);
      if (name !== undefined && seen.has(name)) return "a key twice at once";
      if (this.#world.record.publish.order === "record") seen.add(name);
    }
    return undefined;
  }
}
