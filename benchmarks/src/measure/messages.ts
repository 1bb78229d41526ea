import { poolOf, type Workload } from "./workload.ts";

/** The number in a body's first four bytes. */
export function indexOf(body: Uint8Array): number {
  return ((body[0] as number) | ((body[1] as number) << 8) | ((body[2] as number) << 16) | ((body[3] as number) << 24)) >>> 0;
}

/**
 * The messages of a run: the index stands in the body, the rest is filling. Bodies are made before anything is measured and used again,
 * so no more than `limit` may be unconfirmed at once.
 */
export class Messages {
  readonly keys: number;
  readonly limit: number;
  readonly size: number;
  readonly #bodies: Buffer[];
  readonly #mask: number;
  readonly #keys: string[];
  readonly #filling: string;

  constructor({ size, keys }: Pick<Workload, "size" | "keys">) {
    this.size = Math.max(16, size);
    this.keys = keys;
    const limit = poolOf(this.size);
    this.limit = limit;
    this.#mask = limit - 1;
    const all = Buffer.alloc(limit * this.size, "brokerkit ");
    this.#bodies = Array.from({ length: limit }, (_, n) => all.subarray(n * this.size, (n + 1) * this.size));
    this.#keys = Array.from({ length: keys }, (_, n) => `key-${n}`);
    this.#filling = "x".repeat(Math.max(0, this.size - 24));
  }

  /** The body of message `index`: valid until it is confirmed. */
  body(index: number): Buffer {
    const body = this.#bodies[index & this.#mask] as Buffer;
    body[0] = index;
    body[1] = index >>> 8;
    body[2] = index >>> 16;
    body[3] = index >>> 24;
    return body;
  }

  /** A key's messages are `keys` apart. */
  key(index: number): string | undefined {
    return this.keys === 0 ? undefined : (this.#keys[index % this.keys] as string);
  }

  /** The same message for columns that speak JSON, about as large. */
  json(index: number): { readonly index: number; readonly filling: string } {
    return { index, filling: this.#filling };
  }
}
