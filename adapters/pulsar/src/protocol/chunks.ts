import type { EntryMetadata } from "./wire/entry.ts";
import { EntryError } from "./wire/errors.ts";
import type { MessageFrame } from "./wire/frame.ts";

/** Of one message, and of all that are under way in a partition. */
export const MAX_UNPACKED = 67_108_864;
const MAX_MESSAGES = 16;

/** An entry, for acknowledgements and redelivery. */
export interface Place {
  readonly ledger: number;
  readonly entry: number;
}

interface Pending {
  readonly parts: Buffer[];
  readonly places: Place[];
  bytes: number;
}

/** Messages that a producer has cut into several entries, each larger than the broker takes at once. */
export class Chunks {
  readonly #pending = new Map<string, Pending>();

  /**
   * Takes a chunk; with the last one, returns the whole payload and the entries before it. `"repeated"`: its producer has sent this one before.
   * Throws `EntryError` for what is too large to be put together here.
   */
  add(
    frame: MessageFrame,
    { uuid, index, count, size }: NonNullable<EntryMetadata["chunk"]>,
  ): { payload: Buffer; places: Place[] } | "repeated" | undefined {
    if (index === 0) this.#begin(uuid, size);
    const pending = this.#pending.get(uuid);
    // The beginning was with another consumer, or is missing: the broker delivers this again once that comes again.
    if (pending === undefined || pending.parts.length < index) return undefined;
    if (pending.parts.length > index)
      return pending.places.some(({ ledger, entry }) => ledger === frame.ledger && entry === frame.entry) ? undefined : "repeated";
    pending.parts.push(Buffer.from(frame.payload));
    pending.bytes += frame.payload.length;
    if (pending.bytes > size) throw new EntryError("CORRUPT", "The chunks of a message are larger than it.");
    if (index + 1 < count) {
      pending.places.push({ ledger: frame.ledger, entry: frame.entry });
      return undefined;
    }
    this.#pending.delete(uuid);
    return { payload: Buffer.concat(pending.parts), places: pending.places };
  }

  #begin(uuid: string, size: number): void {
    if (size > MAX_UNPACKED)
      throw new EntryError("OVERSIZE", `A message in chunks has ${size} bytes; at most ${MAX_UNPACKED} are put together.`);
    this.#pending.delete(uuid);
    // The oldest are those whose rest never came.
    let bytes = size;
    for (const { bytes: held } of this.#pending.values()) bytes += held;
    for (const [other, { bytes: held }] of this.#pending) {
      if (bytes <= MAX_UNPACKED && this.#pending.size < MAX_MESSAGES) break;
      this.#pending.delete(other);
      bytes -= held;
    }
    this.#pending.set(uuid, { parts: [], places: [], bytes: 0 });
  }

  clear(): void {
    this.#pending.clear();
  }
}
