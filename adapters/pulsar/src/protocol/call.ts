import type { OutgoingMessage, SendResult } from "../transport.ts";
import type { Waiting } from "./lanes.ts";
import { textOf } from "./routing.ts";

/** What wrote an item. */
export interface Writer {
  /** For how long its broker has said nothing although an answer is due, ms. */
  readonly silentMs: number;
  /** Nothing of what it wrote and has no receipt for may reach the broker any more. */
  expel(): void;
  /** One message that it has not written is awaited by nobody any more. */
  forget(): void;
}

/** One message of a call, on its way to a partition. */
export interface Item extends Waiting {
  readonly call: Call;
  readonly index: number;
  readonly writer: Writer;
  /** It is in an entry that was written. */
  written: boolean;
}

/** One call of `send`: its results come together from several entries and partitions. */
export class Call {
  readonly #results: (SendResult | undefined)[];
  readonly #items: Item[] = [];
  readonly #done: PromiseWithResolvers<readonly SendResult[]> = Promise.withResolvers();
  #left: number;
  /** Keys of which a message was not stored, so that none after it may be. */
  #refused: Map<string, unknown> | undefined;

  constructor(messages: number) {
    this.#results = new Array(messages);
    this.#left = messages;
    if (messages === 0) this.#done.resolve([]);
  }

  /** All results, in the order of the messages. */
  get done(): Promise<readonly SendResult[]> {
    return this.#done.promise;
  }

  item(index: number, message: OutgoingMessage, bytes: number, writer: Writer): Item {
    const item: Item = { call: this, index, message, bytes, writer, written: false };
    this.#items.push(item);
    return item;
  }

  settle(index: number, result: SendResult): void {
    if (this.#results[index] !== undefined) return;
    this.#results[index] = result;
    this.#left -= 1;
    if (this.#left === 0) this.#done.resolve(this.#results as SendResult[]);
  }

  /** The message is not stored. What the call has of its key behind it will not be, either. */
  refuse(item: Item, error: unknown): void {
    const { key } = item.message;
    if (key !== undefined) {
      this.#refused ??= new Map();
      this.#refused.set(textOf(key), error);
    }
    this.settle(item.index, { ok: false, error, sent: "no" });
  }

  /** Whether an item may still be written; one that may not has its result. */
  admits(item: Item): boolean {
    if (this.#results[item.index] !== undefined) return false;
    const { key } = item.message;
    if (this.#refused === undefined || key === undefined) return true;
    const error = this.#refused.get(textOf(key));
    if (error === undefined) return true;
    this.settle(item.index, { ok: false, error, sent: "no" });
    return false;
  }

  /** Whether anybody waits for the result of an item. */
  awaits(item: Item): boolean {
    return this.#results[item.index] === undefined;
  }

  /** Nothing more of it is written. */
  withdraw(error: unknown): void {
    for (const item of this.#items) {
      if (item.written || !this.awaits(item)) continue;
      this.settle(item.index, { ok: false, error, sent: "no" });
      item.writer.forget();
    }
  }

  /** Those that have written something of it without a receipt. */
  get writers(): readonly Writer[] {
    return [...new Set(this.#items.filter((item) => this.awaits(item)).map(({ writer }) => writer))];
  }

  /** Settles what was written and has no receipt, and sees to it that it does not reach the broker later. */
  giveUp(error: unknown): void {
    const { writers } = this;
    for (const { index } of this.#items) this.settle(index, { ok: false, error, sent: "maybe" });
    for (const writer of writers) writer.expel();
  }
}
