import type { Delivery, Entry, Interruption } from "./ledger.ts";

/** A delivery that was just written down. */
export interface Handed {
  readonly entry: Entry;
  readonly delivery: Delivery;
}

interface Watched {
  readonly interruption: Interruption;
  longestMs: number;
  /** The last event before the longest silence. */
  before: number;
  /** What the first event after it wrote down. */
  first: Handed | undefined;
}

/**
 * When frozen processes stood still: in their longest silence, since an interruption is written down before its signal is sent, and its end
 * after the process runs again.
 *
 * A process may stand still in the middle of handing out a delivery: whether it is still its own has been looked at, and the handler's first
 * act, which is to write it down, comes when it wakes up. No process can know of that, and there is never more than one such delivery.
 */
export class Standstills {
  readonly #last = new Map<string, number>();
  readonly #watched = new Map<string, Watched>();

  /** The interruption of a process begins. */
  begin(interruption: Interruption): void {
    const { target, from } = interruption;
    if (target === undefined) return;
    const earlier = this.#watched.get(target);
    if (earlier !== undefined) this.#close(target, earlier);
    this.#watched.set(target, { interruption, longestMs: 0, before: from, first: undefined });
  }

  /** An event of a process, in the order of time; `handed`: it wrote down this delivery. */
  saw(process: string, t: number, handed: Handed | undefined): void {
    const last = this.#last.get(process);
    this.#last.set(process, t);
    const watched = this.#watched.get(process);
    if (watched === undefined) return;
    const { interruption } = watched;
    const before = last ?? interruption.from;
    if (t - before > watched.longestMs) Object.assign(watched, { longestMs: t - before, before, first: handed });
    if (interruption.ended && t > interruption.to) this.#close(process, watched);
  }

  /** No more events come. */
  end(): void {
    for (const [process, watched] of this.#watched) this.#close(process, watched);
  }

  #close(process: string, { interruption, before, first }: Watched): void {
    this.#watched.delete(process);
    // One that never came back was killed.
    if (!interruption.ended) return;
    interruption.stands = Math.max(interruption.from, before);
    if (first === undefined) return;
    first.delivery.t = Math.min(first.delivery.t, interruption.stands);
    first.entry.deliveries.sort((a, b) => a.t - b.t);
  }
}
