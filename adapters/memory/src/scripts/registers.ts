import type { Coordination, Register } from "brokerkit/driver";

/** Small values that all drivers of a world share, changed by compare-and-set. */
export class Registers implements Coordination {
  readonly #values = new Map<string, Register>();
  #writes = 0;

  async read(name: string, signal: AbortSignal): Promise<Register | undefined> {
    signal.throwIfAborted();
    return this.#values.get(name);
  }

  async compareAndSet(name: string, expected: string | undefined, value: Uint8Array, signal: AbortSignal): Promise<string | undefined> {
    signal.throwIfAborted();
    if (this.#values.get(name)?.revision !== expected) return undefined;
    const revision = String(++this.#writes);
    this.#values.set(name, { value: value.slice(), revision });
    return revision;
  }
}
