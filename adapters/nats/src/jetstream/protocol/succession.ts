import { type ConsumerInfo, floorOf, type Numbers } from "./api.ts";

/** Stream sequences, both included. */
export interface Range {
  readonly from: number;
  readonly to: number;
}

/**
 * What the only reader of a consumer must have again before it hands out anything newer: what earlier readers left pending, and what anybody
 * got besides since (a reader that stood still, a request that was long on its way). A consumer numbers its deliveries without holes, so a
 * hole shows such a one before anything behind it is handed out.
 */
export class Succession {
  /** How many are to come; `undefined`: the consumer is to be asked. */
  #left: number | undefined;
  /** Where they lie. */
  #range: Range = { from: 1, to: 0 };
  readonly #came = new Set<number>();
  /** The consumer's number of the last delivery that is accounted for. */
  #consumer: number;

  constructor(info: ConsumerInfo) {
    this.#consumer = info.delivered.consumer_seq;
    this.#left = info.num_ack_pending === 0 ? 0 : undefined;
  }

  get open(): boolean {
    return this.#left !== 0;
  }

  get left(): number {
    return this.#left ?? 0;
  }

  get range(): Range {
    return this.#range;
  }

  /** A delivery has come, in the order of coming; `again`: of what is here already. */
  came({ deliveries, stream, consumer }: Numbers, again: boolean): void {
    if (consumer !== this.#consumer + 1) this.reopen();
    this.#consumer = consumer;
    if (this.#left === undefined || this.#left === 0 || again || deliveries === 1 || stream > this.#range.to || this.#came.has(stream))
      return;
    this.#came.add(stream);
    this.#left--;
  }

  /** Something is out that is not here. */
  reopen(): void {
    this.#left = undefined;
  }

  /** What the consumer says: it has `owned` of what is pending here, for certain. */
  seen(info: ConsumerInfo, owned: number): void {
    this.#came.clear();
    this.#range = { from: floorOf(info) + 1, to: info.delivered.stream_seq };
    this.#left = Math.max(0, info.num_ack_pending - owned);
  }
}
