import { hashText } from "../mapping.ts";

const CHUNK = 1024;

/** Ids in the order they came, and an open hash table of pairs (hash, index + 1; 0: free) that finds them. */
class Generation {
  readonly since: number;
  // Chunks, because a growing array of fresh texts costs more in garbage collection than the texts.
  readonly #ids: string[][] = [];
  readonly #times: number[][] = [];
  #size = 0;
  #table: Int32Array;

  constructor(since: number, expected: number) {
    this.since = since;
    this.#table = new Int32Array(4 * 2 ** Math.ceil(Math.log2(Math.max(1024, expected))));
  }

  get size(): number {
    return this.#size;
  }

  /** The index of an id; −1: it is not here. */
  find(id: string, hash: number): number {
    const table = this.#table;
    const mask = table.length - 1;
    for (let slot = (hash << 1) & mask; table[slot + 1] !== 0; slot = (slot + 2) & mask) {
      const at = (table[slot + 1] as number) - 1;
      if (table[slot] === hash && this.#ids[(at / CHUNK) | 0]?.[at % CHUNK] === id) return at;
    }
    return -1;
  }

  timeOf(at: number): number {
    return this.#times[(at / CHUNK) | 0]?.[at % CHUNK] ?? Number.NEGATIVE_INFINITY;
  }

  touch(at: number, now: number): void {
    (this.#times[(at / CHUNK) | 0] as number[])[at % CHUNK] = now;
  }

  add(id: string, hash: number, now: number): void {
    if (this.#size * 4 >= this.#table.length) this.#grow();
    if (this.#size % CHUNK === 0) {
      this.#ids.push([]);
      this.#times.push([]);
    }
    this.#ids[this.#ids.length - 1]?.push(id);
    this.#times[this.#times.length - 1]?.push(now);
    this.#place(hash, ++this.#size);
  }

  #place(hash: number, number: number): void {
    const table = this.#table;
    const mask = table.length - 1;
    let slot = (hash << 1) & mask;
    while (table[slot + 1] !== 0) slot = (slot + 2) & mask;
    table[slot] = hash;
    table[slot + 1] = number;
  }

  #grow(): void {
    const old = this.#table;
    this.#table = new Int32Array(old.length * 2);
    for (let slot = 0; slot < old.length; slot += 2) if (old[slot + 1] !== 0) this.#place(old[slot] as number, old[slot + 1] as number);
  }
}

/** The dedupe window of a topic. Two generations, so that forgetting costs nothing: the older is dropped whole. */
export class Recent {
  readonly #windowMs: number;
  #young = new Generation(Number.NEGATIVE_INFINITY, 0);
  #old = this.#young;

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /** Whether `id` came within the window; if not, it has come now. */
  seen(id: string, now: number): boolean {
    if (now - this.#young.since >= this.#windowMs) {
      this.#old = this.#young;
      this.#young = new Generation(now, this.#old.size);
    }
    const hash = hashText(id);
    const at = this.#young.find(id, hash);
    if (at !== -1) {
      if (now - this.#young.timeOf(at) < this.#windowMs) return true;
      this.#young.touch(at, now);
      return false;
    }
    const before = this.#old.find(id, hash);
    if (before !== -1 && now - this.#old.timeOf(before) < this.#windowMs) return true;
    this.#young.add(id, hash, now);
    return false;
  }
}
