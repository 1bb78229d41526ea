import { Fifo } from "../primitives/fifo.ts";

/** Bounds what waits inside, in records and bytes. Who finds it full waits in line; nobody overtakes. */
export class Gate {
  readonly #maxRecords: number;
  readonly #maxBytes: number;
  #records = 0;
  #bytes = 0;
  readonly #line = new Fifo<{ bytes: number; enter: () => void }>();

  constructor(maxRecords: number, maxBytes: number) {
    this.#maxRecords = maxRecords;
    this.#maxBytes = maxBytes;
  }

  get records(): number {
    return this.#records;
  }

  /** `undefined`: entered. Otherwise a promise that resolves once entered; `bytes` may exceed the bound when nothing else is inside. */
  enter(bytes: number): Promise<void> | undefined {
    if (this.#line.length === 0 && this.#fits(bytes)) {
      this.#records++;
      this.#bytes += bytes;
      return undefined;
    }
    return new Promise((enter) => this.#line.push({ bytes, enter }));
  }

  leave(bytes: number): void {
    this.#records--;
    this.#bytes -= bytes;
    for (let next = this.#line.peek(); next !== undefined && this.#fits(next.bytes); next = this.#line.peek()) {
      this.#line.shift();
      this.#records++;
      this.#bytes += next.bytes;
      next.enter();
    }
  }

  #fits(bytes: number): boolean {
    return this.#records === 0 || (this.#records < this.#maxRecords && this.#bytes + bytes <= this.#maxBytes);
  }
}
