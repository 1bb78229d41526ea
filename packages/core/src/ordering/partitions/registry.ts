import type { Clock } from "../../driver/adapter.ts";
import type { Driver } from "../../driver/driver.ts";
import { timeoutSignal } from "../../primitives/abort.ts";
import { isDerived } from "./names.ts";

const VERSION = 1;
/** How long a number is believed. */
const AGAIN_MS = 10_000;
/** How many topics to remember. */
const MOST_KNOWN = 10_000;

/** What a register says. `asked`: somebody wants so many, and looks whether the topic exists without. */
interface Stored {
  readonly partitions: number;
  readonly asked?: number;
}

interface Found {
  readonly count: number;
  readonly asked: number;
  readonly revision: string | undefined;
}

/**
 * Which topics have partitions, and how many: a register of the backend for each that has. A number never changes, so it is remembered, and
 * now and then looked at beside the work, for the topic may be deleted and made anew. That a topic has none is remembered once something has
 * been stored or read there, for then it exists without and is never given any.
 */
export class Registry {
  readonly #driver: Driver;
  readonly #clock: Clock;
  readonly #known = new Map<string, number>();
  /** When a number is to be looked at again (monotonic ms). */
  readonly #due = new Map<string, number>();

  constructor(driver: Driver, clock: Clock) {
    this.#driver = driver;
    this.#clock = clock;
  }

  /** 0: it has none. `undefined`: not known yet. */
  known(topic: string): number | undefined {
    const known = this.#known.get(topic);
    if (known !== undefined && known > 0 && this.#clock.monotonic() >= (this.#due.get(topic) ?? 0)) this.#lookAgain(topic);
    return known;
  }

  /** 0: it has none. What is remembered counts; `anew` looks all the same, as somebody else may have deleted the topic and made it anew. */
  async of(topic: string, signal: AbortSignal, anew = false): Promise<number> {
    const known = this.#known.get(topic);
    if (known !== undefined && !anew) return known;
    if (isDerived(topic)) return this.plain(topic);
    const { count } = await this.#read(topic, signal);
    if (count > 0) this.#remember(topic, count);
    else if (known !== 0) this.forget(topic);
    return count;
  }

  /** It exists without partitions. */
  plain(topic: string): 0 {
    this.#set(topic, 0);
    return 0;
  }

  /**
   * Gives a topic that does not exist yet its partitions. Resolves to how many it has; 0: it exists without. The number is asked for first
   * and looked for the topic then: of somebody who makes it without at this moment, one of the two sees the other (`made`).
   */
  async claim(topic: string, wanted: number, signal: AbortSignal): Promise<number> {
    for (;;) {
      const { count, asked, revision } = await this.#read(topic, signal);
      if (count > 0) return this.#remember(topic, count);
      const exists = await this.#exists(topic, signal);
      if (asked === 0 && exists) return this.plain(topic);
      if (asked === 0) await this.#write(topic, revision, { partitions: 0, asked: wanted }, signal);
      else if (await this.#write(topic, revision, { partitions: exists ? 0 : asked }, signal))
        return exists ? this.plain(topic) : this.#remember(topic, asked);
    }
  }

  /** The topic is there without partitions. Resolves to 0, or to how many somebody has given it meanwhile. */
  async made(topic: string, signal: AbortSignal): Promise<number> {
    if (isDerived(topic)) return this.plain(topic);
    for (;;) {
      const { count, asked, revision } = await this.#read(topic, signal);
      if (count > 0) return this.#remember(topic, count);
      if (asked === 0 || (await this.#write(topic, revision, { partitions: 0 }, signal))) return this.plain(topic);
    }
  }

  /** The topic is deleted: its name is free again, also for one without partitions. */
  async release(topic: string, signal: AbortSignal): Promise<void> {
    for (;;) {
      const { count, revision } = await this.#read(topic, signal);
      if (count === 0 || (await this.#write(topic, revision, { partitions: 0 }, signal))) break;
    }
    this.forget(topic);
  }

  /** What is known of the topic may be out of date. */
  forget(topic: string): void {
    this.#known.delete(topic);
    this.#due.delete(topic);
  }

  /** The link is a new one: others may have deleted and created meanwhile. */
  clear(): void {
    this.#known.clear();
    this.#due.clear();
  }

  #remember(topic: string, count: number): number {
    this.#set(topic, count);
    this.#due.set(topic, this.#clock.monotonic() + AGAIN_MS);
    return count;
  }

  #set(topic: string, count: number): void {
    // Topics may be as many as requests were: one for each answer, say.
    if (this.#known.size >= MOST_KNOWN) this.clear();
    this.#known.set(topic, count);
  }

  #lookAgain(topic: string): void {
    this.#due.set(topic, this.#clock.monotonic() + AGAIN_MS);
    const bound = timeoutSignal(this.#clock, AGAIN_MS);
    // What the register can't say now it says the next time.
    void this.of(topic, bound.signal, true)
      .catch(() => {})
      .finally(() => bound.done());
  }

  async #read(topic: string, signal: AbortSignal): Promise<Found> {
    const register = await this.#driver.coordination?.read(nameOf(topic), signal);
    if (register === undefined) return { count: 0, asked: 0, revision: undefined };
    const { partitions, asked = 0 } = JSON.parse(Buffer.from(register.value).toString()) as Stored;
    return { count: partitions, asked, revision: register.revision };
  }

  async #write(topic: string, revision: string | undefined, stored: Stored, signal: AbortSignal): Promise<boolean> {
    const value = Buffer.from(JSON.stringify({ version: VERSION, ...stored }));
    return (await this.#driver.coordination?.compareAndSet(nameOf(topic), revision, value, signal)) !== undefined;
  }

  /** False as well where the backend can't tell. */
  async #exists(topic: string, signal: AbortSignal): Promise<boolean> {
    const { capabilities, admin } = this.#driver;
    return capabilities.topics.describe && (await admin.describeTopic(topic, signal)) !== undefined;
  }
}

function nameOf(topic: string): string {
  return `partitions/${topic}`;
}
