import type { WireDelivery } from "../driver/wire.ts";
import { type ReadLetter, readLetter } from "./letter.ts";

/**
 * Which records of a dead topic are letters that still stand: the last one of each id that no marker follows. Dead topics have one shard, so
 * reading order is writing order. Two passes over the same bounded range: `learn` remembers ids and ordinals only, so that a list of
 * millions needs no bodies in memory; `stands` tells them apart.
 */
export class Fold {
  readonly #standing = new Map<string, { readonly ordinal: number; readonly cycle: number }>();
  #learned = 0;
  #asked = 0;

  /** First pass. */
  learn(wire: WireDelivery): void {
    const ordinal = this.#learned++;
    const letter = readLetter(wire);
    if (letter === undefined) return;
    const { id, kind, cycle } = letter;
    if (kind === "dead") this.#standing.set(id, { ordinal, cycle });
    // A redriven message may die again before its marker is written: the marker is about the letter of its own trip.
    else if ((this.#standing.get(id)?.cycle ?? cycle) <= cycle) this.#standing.delete(id);
  }

  /** Second pass, in the same order: the letter if this record is the one that stands. */
  stands(wire: WireDelivery): ReadLetter | undefined {
    const ordinal = this.#asked++;
    const letter = readLetter(wire);
    return letter?.kind === "dead" && this.#standing.get(letter.id)?.ordinal === ordinal ? letter : undefined;
  }
}
