import type { Link, Reply } from "../../client.ts";
import { UNBLOCK_MS, type Waits } from "./waiting.ts";

export interface DoorbellWaits extends Waits {
  readonly longestBlockMs: number;
  /** The order of a stream's ids. */
  readonly compareIds: (a: string, b: string) => number;
}

/** By stream, the id behind which something is waited for. */
export type After = ReadonlyMap<string, string>;

interface Waiter {
  readonly after: After;
  readonly over: (error?: unknown) => void;
}

/**
 * Waits for many streams over one connection, for any number of readers, and takes nothing: whoever is woken looks for itself. One read
 * waits for all; it is ended and asked anew for who needs more than it was asked for.
 */
export class Doorbell {
  readonly #link: Link;
  readonly #waits: DoorbellWaits;
  readonly #waiters = new Set<Waiter>();
  /** What the read under way was asked for. */
  #asked: After | undefined;
  /** The last one that was told to end. */
  #ended: After | undefined;

  constructor(link: Link, waits: DoorbellWaits) {
    this.#link = link;
    this.#waits = waits;
  }

  /** Resolves when something may have come, after `ms`, or when a signal aborts. Rejects when the link is down. */
  wait(after: After, ms: number, stop: readonly AbortSignal[]): Promise<void> {
    return new Promise((resolve, reject) => {
      const ring = (): void => waiter.over();
      const over = (error?: unknown): void => {
        this.#waiters.delete(waiter);
        timer.cancel();
        for (const signal of stop) signal.removeEventListener("abort", ring);
        if (error === undefined) resolve();
        else reject(error);
      };
      const waiter = { after, over };
      const timer = this.#waits.clock.timer(ms, ring);
      for (const signal of stop) signal.addEventListener("abort", ring, { once: true });
      if (stop.some((signal) => signal.aborted)) return ring();
      this.#waiters.add(waiter);
      if (this.#asked === undefined) void this.#listen();
      else if (!this.#covers(this.#asked, after)) this.#end(this.#asked);
    });
  }

  async #listen(): Promise<void> {
    while (this.#waiters.size > 0) {
      const lowest = new Map<string, string>();
      for (const { after } of this.#waiters) {
        for (const [stream, id] of after) {
          if (this.#waits.compareIds(id, lowest.get(stream) ?? id) <= 0) lowest.set(stream, id);
        }
      }
      this.#asked = lowest;
      const block = ["BLOCK", String(this.#waits.longestBlockMs), "STREAMS"];
      try {
        const read = await this.#link.call(["XREAD", "COUNT", "1", ...block, ...lowest.keys(), ...lowest.values()]);
        const rung = new Set(((read ?? []) as readonly (readonly Reply[])[]).map(([stream]) => String(stream)));
        for (const waiter of this.#waiters) if ([...waiter.after.keys()].some((stream) => rung.has(stream))) waiter.over();
      } catch (error) {
        for (const waiter of this.#waiters) waiter.over(error);
      }
    }
    this.#asked = undefined;
  }

  #covers(asked: After, after: After): boolean {
    return [...after].every(([stream, id]) => this.#waits.compareIds(asked.get(stream) ?? id, id) <= 0 && asked.has(stream));
  }

  #end(asked: After): void {
    if (this.#ended === asked) return;
    this.#ended = asked;
    const unblock = async (): Promise<unknown> => this.#waits.control().call(["CLIENT", "UNBLOCK", String(this.#link.id)]);
    const tell = (): void => {
      if (this.#asked !== asked) return;
      void unblock().catch(() => {});
      // It may not have begun to wait yet, so once is not enough.
      this.#waits.clock.timer(UNBLOCK_MS, tell);
    };
    tell();
  }
}
