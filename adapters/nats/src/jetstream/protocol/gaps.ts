import { type ConsumerInfo, deliveredUpTo, type Numbers } from "./api.ts";

/** Sequences that were removed before the group had read them, the first and the last of them. */
export interface Gap {
  readonly first: number;
  readonly last: number;
  readonly missing: number;
}

/**
 * What one member of a group can know of messages that were removed unread. The consumer numbers its deliveries without holes, so where
 * its numbers advance by less than the stream's, messages between were never handed to anybody. Deliveries of other members that were
 * repeated meanwhile hide as many.
 */
export class Gaps {
  #stream: number;
  #consumer: number;
  #repeated = 0;

  constructor(info: ConsumerInfo) {
    this.#stream = deliveredUpTo(info);
    this.#consumer = info.delivered.consumer_seq;
  }

  /** The hole before a delivery that has just come, in the order of coming. */
  before({ deliveries, stream, consumer }: Numbers): Gap | undefined {
    if (deliveries > 1 || stream <= this.#stream) {
      this.#repeated++;
      return undefined;
    }
    const missing = stream - this.#stream - (consumer - this.#consumer - this.#repeated);
    const gap = missing > 0 ? { first: this.#stream + 1, last: stream - 1, missing } : undefined;
    this.#stream = stream;
    this.#consumer = consumer;
    this.#repeated = 0;
    return gap;
  }
}
