import type { OutgoingMessage } from "../transport.ts";
import type { Settings } from "./options.ts";
import { laneOf, textOf } from "./routing.ts";

/** Messages that share an entry. */
export interface Batch<M> {
  readonly lane: string | number | undefined;
  readonly messages: M[];
  bytes: number;
  /** What Key_Shared dispatches the entry by, in place of the message's own key. */
  readonly orderingKey: Uint8Array | undefined;
  readonly partitionKey: Uint8Array | undefined;
}

/** What is known of a message that waits for an entry. */
export interface Waiting {
  readonly message: OutgoingMessage;
  readonly bytes: number;
}

/**
 * Puts waiting messages into batches, so that messages of one key stay in order, and that Key_Shared can dispatch each entry by one value that
 * is the same for all entries of its keys: their lane, or the key itself.
 */
export class Lanes<M extends Waiting> {
  readonly #settings: Settings["batching"];
  /** All messages keep their order, not only those of one key; so they are of one lane. */
  ordered: boolean;
  readonly #names: readonly Uint8Array[];
  /** In the order in which they were begun, which is that in which they are taken: none waits behind an endless row of others. */
  #queue: Batch<M>[] = [];
  #taken = 0;
  /** Those that still take messages. */
  readonly #open = new Map<string | number | undefined, Batch<M>>();
  #waiting = 0;

  constructor(settings: Settings["batching"], ordered: boolean) {
    this.#settings = settings;
    this.ordered = ordered;
    this.#names = Array.from({ length: settings.lanes }, (_, lane) => Buffer.from(`lane-${lane}`));
  }

  /** How many messages wait. */
  get length(): number {
    return this.#waiting;
  }

  add(item: M): void {
    const { maxMessages, maxBytes, by } = this.#settings;
    const { bytes, message } = item;
    this.#waiting += 1;
    const lane = this.#laneOf(message.key);
    let batch = this.#open.get(lane);
    if (this.ordered && batch === undefined) this.#open.clear();
    // The broker looks at the delay of entries, not of messages inside.
    const alone = maxMessages === 1 || message.deliverAt !== undefined;
    if (batch !== undefined && (alone || batch.bytes + bytes > maxBytes)) {
      this.#open.delete(lane);
      batch = undefined;
    }
    if (batch === undefined) {
      const orderingKey = typeof lane === "number" ? this.#names[lane] : undefined;
      batch = { lane, messages: [], bytes: 0, orderingKey, partitionKey: by === "key" ? message.key : undefined };
      this.#queue.push(batch);
      if (!alone) this.#open.set(lane, batch);
    }
    batch.messages.push(item);
    batch.bytes += bytes;
    if (batch.messages.length >= maxMessages) this.#open.delete(lane);
  }

  #laneOf(key: Uint8Array | undefined): string | number | undefined {
    const { by, lanes } = this.#settings;
    if (by === "lane" && this.ordered) return 0;
    if (key === undefined) return undefined;
    return by === "lane" ? laneOf(key, lanes) : textOf(key);
  }

  /** Lets go of what is not to be sent any more. The others stay in their order. */
  sift(wanted: (item: M) => boolean): void {
    const items = this.#queue.slice(this.#taken).flatMap(({ messages }) => messages.filter(wanted));
    this.#queue = [];
    this.#taken = this.#waiting = 0;
    this.#open.clear();
    for (const item of items) this.add(item);
  }

  /** The next batch to send; `undefined` when none waits. */
  take(): Batch<M> | undefined {
    const batch = this.#queue[this.#taken];
    if (batch === undefined) return undefined;
    if (this.#open.get(batch.lane) === batch) this.#open.delete(batch.lane);
    this.#taken += 1;
    this.#waiting -= batch.messages.length;
    if (this.#taken === this.#queue.length || this.#taken === 1_024) {
      this.#queue = this.#queue.slice(this.#taken);
      this.#taken = 0;
    }
    return batch;
  }
}
