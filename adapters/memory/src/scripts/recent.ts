import { hashText } from "../mapping.ts";

/** Ids in the order they came, found by an open hash table: a third of the time and half the memory of a `Map` of fresh texts. */
class Generation {
  readonly since: number;
  readonly ids: string[] = [];
  readonly times: number[] = [];
  #hashes = new Int32Array(1024);
  /** Index + 1 of an id; 0: free. */
  #table = new Int32Array(2048);

  constructor(since: number) {
    this.since = since;
  }

  find(id: string, hash: number): number {
    const table = this.#table;
    const mask = table.length - 1;
    for (let slot = hash & mask; table[slot] !== 0; slot = (slot + 1) & mask) {
      const at = (table[slot] as number) - 1;
      if (this.#hashes[at] === hash && this.ids[at] === id) return at;
    }
    return -1;
  }

  add(id: string, hash: number, now: number): void {
    const at = this.ids.length;
    if (at === this.#hashes.length) this.#grow();
    this.ids.push(id);
    this.times.push(now);
    this.#hashes[at] = hash;
    this.#place(at, hash);
  }

  #place(at: number, hash: number): void {
    const mask = this.#table.length - 1;
    let slot = hash & mask;
    while (this.#table[slot] !== 0) slot = (slot + 1) & mask;
    this.#table[slot] = at + 1;
  }

  #grow(): void {
    const old = this.#hashes;
    this.#hashes = new Int32Array(old.length * 2);
    this.#hashes.set(old);
    this.#table = new Int32Array(old.length * 4);
    for (let at = 0; at < old.length; at++) this.#place(at, old[at] as number);
  }
}

/** The dedupe window of a topic. Two generations, so that forgetting costs nothing: the older is dropped whole. */
export class Recent {
  readonly #windowMs: number;
  #young = new Generation(0);
  #old = new Generation(0);

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /** Whether `id` came within the window; if not, it has come now. */
  seen(id: string, now: number): boolean {
    if (now - this.#young.since >= this.#windowMs) {
      this.#old = this.#young;
      this.#young = new Generation(now);
    }
    const hash = hashText(id);
    for (const generation of [this.#young, this.#old]) {
      const at = generation.find(id, hash);
      if (at === -1) continue;
      if (now - (generation.times[at] as number) < this.#windowMs) return true;
      generation.times[at] = Number.NEGATIVE_INFINITY;
    }
    const again = this.#young.find(id, hash);
    if (again === -1) this.#young.add(id, hash, now);
    else this.#young.times[again] = now;
    return false;
  }
}
