import type { Cut, Retention, WireRecord, WireStart } from "brokerkit/driver";
import { hashBytes } from "../mapping.ts";
import { Alarm } from "./alarm.ts";
import { Group } from "./group.ts";
import { Heap } from "./heap.ts";
import { Log, Spot, type Stored } from "./log.ts";
import { cutOf } from "./reader.ts";
import { Recent } from "./recent.ts";
import { type Laws, placesReaders, type Read, type Source } from "./source.ts";

interface Delayed {
  readonly due: number;
  readonly ticket: number;
  readonly log: Log;
  readonly stored: Stored;
}

export class Topic implements Read {
  readonly name: string;
  readonly laws: Laws;
  readonly retention: Retention;
  readonly logs: readonly Log[];
  readonly groups: Map<string, Group> = new Map();
  readonly sources: Set<Source> = new Set();
  readonly recent: Recent | undefined;
  /** Delayed publishes so far. A delayed message enters its log when it is due, and has no place before. */
  tickets = 0;
  readonly #later = new Heap<Delayed>((a, b) => a.due < b.due || (a.due === b.due && a.ticket < b.ticket));
  readonly #alarm: Alarm;
  #turn = 0;

  constructor(laws: Laws, name: string, partitions: number, retention: Retention) {
    const { places, dedupe } = laws.record;
    this.laws = laws;
    this.name = name;
    this.retention = retention;
    const share = retention.bytes === undefined ? retention : { ...retention, bytes: retention.bytes / partitions };
    this.logs = Array.from({ length: partitions }, (_, n) => new Log(String(n), { ...places, readers: placesReaders(laws.record) }, share));
    this.recent = dedupe.windowMs > 0 ? new Recent(dedupe.windowMs) : undefined;
    this.#alarm = new Alarm(laws.clock, () => {
      const now = laws.clock.monotonic();
      this.enter(now);
      this.wake(now);
      this.arm(true);
    });
  }

  /** The group's, made with its start if there is none yet. */
  group(name: string, from: WireStart): { readonly group: Group; readonly created: boolean } {
    const existing = this.groups.get(name);
    if (existing !== undefined) return { group: existing, created: false };
    const group = new Group(this, name, this.spots(from));
    this.groups.set(name, group);
    this.sources.add(group);
    return { group, created: true };
  }

  spots(from: WireStart): Spot[] {
    this.enter(this.laws.clock.monotonic());
    return this.logs.map((log) => new Spot(log, from, this.tickets));
  }

  /** The log that a record without a group goes to: its key's, or the next one. */
  logOf({ key }: WireRecord): Log {
    const { logs } = this;
    if (logs.length === 1) return logs[0] as Log;
    return logs[(key === undefined ? this.#turn++ : hashBytes(key) >>> 0) % logs.length] as Log;
  }

  delay(log: Log, stored: Stored, due: number): void {
    this.#later.push({ due, ticket: stored.extra?.ticket ?? 0, log, stored });
    this.#alarm.at(due);
  }

  /** How many delayed publishes of a log are not due, of those after a turn. */
  delayed(log: Log, since: number): number {
    return this.#later.size === 0 ? 0 : this.#later.items.filter((one) => one.log === log && one.ticket > since).length;
  }

  /** Brings the logs up to now: what was delayed enters, what is too old leaves. */
  enter(now: number): void {
    for (let first = this.#later.first; first !== undefined && first.due <= now; first = this.#later.first) {
      this.#later.pop();
      first.log.append(first.stored, now);
    }
    for (const log of this.logs) log.trim(now);
  }

  wake(now: number): void {
    for (const source of this.sources) source.serve(now);
    if (this.laws.keeps) return;
    for (const log of this.logs) {
      let floor = log.next;
      for (const source of this.sources) floor = Math.min(floor, source.floor(log));
      log.drop(floor);
    }
  }

  /** Timers run only while somebody is connected. */
  arm(connected: boolean): void {
    if (!connected) this.#alarm.cancel();
    else if (this.#later.first !== undefined) this.#alarm.at(this.#later.first.due);
  }

  end(): Cut {
    return cutOf(this.logs.map((log) => [log, log.next]));
  }

  close(error: Error): void {
    this.#alarm.cancel();
    for (const source of this.sources) source.end(error);
    this.sources.clear();
  }
}
