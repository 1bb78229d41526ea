/** Random values that a seed gives again: a failure names its seed. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 32 bits: a counter, mixed. */
  #bits(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let x = this.#state;
    x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
    return (x ^ (x >>> 15)) >>> 0;
  }

  /** 0 to before `end`. */
  below(end: number): number {
    return Math.floor((this.#bits() / 0x100000000) * end);
  }

  chance(of: number): boolean {
    return this.below(of) === 0;
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }

  /** Of any magnitude up to 2^53 - 1, so that every length of a number comes up. */
  number(): number {
    return this.chance(20) ? Number.MAX_SAFE_INTEGER : Math.floor(2 ** this.below(53) * (1 + this.below(1000) / 1000));
  }

  bytes(max: number): Buffer {
    return Buffer.from(Array.from({ length: this.below(max + 1) }, () => this.below(256)));
  }

  text(max: number): string {
    return Array.from({ length: this.below(max + 1) }, () => this.pick(["a", "Z", "0", "-", " ", "ü", "→", "𐍈", "\0"])).join("");
  }
}
