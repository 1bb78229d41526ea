import type { RecordDelivery } from "./batches.ts";
import type { Ranges } from "./ranges.ts";

/** How much one inbox partition holds back; with more than that, what lies behind waits too. */
const MOST_RECORDS = 1_000;
const MOST_BYTES = 8 * 1_048_576;

/**
 * What an inbox partition holds back until it is due, and what of it is not acknowledged yet. It gives records out in the order in which
 * they fall due, not of their offsets: the group's committed offset is the lowest that is not over, and a note beside it says what behind it
 * is. Without that, one record that is held would have everything behind it handled again by each next owner.
 */
export class Delays {
  /** By due time, then offset. */
  readonly #held: RecordDelivery[] = [];
  #bytes = 0;
  /** Given out and not acknowledged, in that order. */
  readonly #given: number[] = [];
  /** Acknowledged, from the floor on; under earlier ownerships too. */
  readonly over: Ranges;

  constructor(over: Ranges) {
    this.over = over;
  }

  get full(): boolean {
    return this.#held.length >= MOST_RECORDS || this.#bytes >= MOST_BYTES;
  }

  /** When the next one falls due, epoch ms. */
  get next(): number {
    return this.#held[0]?.due ?? Number.POSITIVE_INFINITY;
  }

  hold(record: RecordDelivery): void {
    // Offsets only grow, so behind all that are due at the same time.
    let at = this.#held.length;
    while (at > 0 && (this.#held[at - 1] as RecordDelivery).due > record.due) at--;
    this.#held.splice(at, 0, record);
    this.#bytes += record.size;
  }

  /** The first that is due. */
  take(now: number): RecordDelivery | undefined {
    if (this.next > now) return undefined;
    const record = this.#held.shift();
    this.#bytes -= record?.size ?? 0;
    return record;
  }

  given(offset: number): void {
    this.#given.push(offset);
  }

  /** Everything that was given out up to this one, and it as well, is acknowledged. False: it was already. */
  settled(offset: number): boolean {
    const settled = this.#given.splice(0, this.#given.indexOf(offset) + 1);
    for (const one of settled) this.over.add(one);
    return settled.length > 0;
  }

  /** The lowest offset that is not over, with `position` the first that has not been read. */
  floor(position: number): number {
    let lowest = position;
    for (const { offset } of this.#held) if (offset < lowest) lowest = offset;
    for (const offset of this.#given) if (offset < lowest) lowest = offset;
    this.over.dropBefore(lowest);
    return lowest;
  }
}
