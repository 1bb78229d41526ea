import type { IncomingMessage } from "../transport.ts";
import type { Place } from "./chunks.ts";

/** Where a message of an entry is. */
const [WAITING, OUT, ACKED] = [0, 1, 2];

/** An entry that was delivered and is not acknowledged as a whole: which of its messages are where. */
export class Entry {
  readonly ledger: number;
  readonly entry: number;
  readonly size: number;
  readonly #before: readonly Place[];
  readonly #messages: (IncomingMessage | undefined)[];
  readonly #states: Uint8Array;
  #left: number;

  /** Missing messages count as acknowledged. `before`: entries with the beginning of its message. */
  constructor(ledger: number, entry: number, messages: (IncomingMessage | undefined)[], before: readonly Place[]) {
    this.#before = before;
    this.ledger = ledger;
    this.entry = entry;
    this.size = messages.length;
    this.#messages = messages;
    this.#states = new Uint8Array(messages.length);
    this.#left = 0;
    for (let index = 0; index < messages.length; index++) {
      if (messages[index] === undefined) this.#states[index] = ACKED;
      else this.#left += 1;
    }
  }

  /** All entries that its messages are of. */
  get places(): readonly Place[] {
    return [...this.#before, { ledger: this.ledger, entry: this.entry }];
  }

  /** Nothing of it is left to acknowledge. */
  get complete(): boolean {
    return this.#left === 0;
  }

  /** The user has it from now on. */
  handOut(index: number): void {
    this.#states[index] = OUT;
  }

  /** Whether the user has it. */
  isOut(index: number): boolean {
    return this.#states[index] === OUT;
  }

  acknowledge(index: number): void {
    this.#states[index] = ACKED;
    this.#messages[index] = undefined;
    this.#left -= 1;
  }

  /** Takes a message back from the user, to be handed out once more. */
  takeBack(index: number): IncomingMessage | undefined {
    const message = this.#messages[index];
    if (message === undefined || this.#states[index] !== OUT) return undefined;
    this.#states[index] = WAITING;
    const again = { ...message, redeliveries: message.redeliveries + 1 };
    this.#messages[index] = again;
    return again;
  }

  /** As the protocol has it: a bit for each message that is not acknowledged. */
  ackSet(): Uint32Array {
    const bits = new Uint32Array((this.size + 31) >> 5);
    for (let index = 0; index < this.size; index++) {
      if (this.#states[index] !== ACKED) bits[index >> 5] = (bits[index >> 5] as number) | (1 << (index & 31));
    }
    return bits;
  }
}

/** The entries of one partition that one consumer has, by their place. */
export class Entries {
  readonly #ledgers = new Map<number, Map<number, Entry>>();

  get(ledger: number, entry: number): Entry | undefined {
    return this.#ledgers.get(ledger)?.get(entry);
  }

  set(entry: Entry): void {
    let ledger = this.#ledgers.get(entry.ledger);
    if (ledger === undefined) {
      ledger = new Map();
      this.#ledgers.set(entry.ledger, ledger);
    }
    ledger.set(entry.entry, entry);
  }

  delete({ ledger, entry }: Entry): void {
    const entries = this.#ledgers.get(ledger);
    entries?.delete(entry);
    if (entries?.size === 0) this.#ledgers.delete(ledger);
  }

  clear(): void {
    this.#ledgers.clear();
  }
}
