import type { ShardId } from "../driver/wire.ts";

/**
 * Bounds what may be unsettled in one shard of a log: behind a message that is held for its next attempt everything later piles up. At the
 * bound that shard pauses, and no other; it goes on at half of it.
 */
export class ShardHold {
  readonly #max: number;
  readonly #pause: (shard: ShardId) => void;
  readonly #resume: (shard: ShardId) => void;
  readonly #unsettled = new Map<ShardId, number>();
  readonly #paused = new Set<ShardId>();

  constructor(max: number, pause: (shard: ShardId) => void, resume: (shard: ShardId) => void) {
    this.#max = max;
    this.#pause = pause;
    this.#resume = resume;
  }

  /** Shards that pause now. */
  get paused(): number {
    return this.#paused.size;
  }

  added(shard: ShardId): void {
    const unsettled = (this.#unsettled.get(shard) ?? 0) + 1;
    this.#unsettled.set(shard, unsettled);
    if (unsettled < this.#max || this.#paused.has(shard)) return;
    this.#paused.add(shard);
    this.#pause(shard);
  }

  removed(shard: ShardId): void {
    const unsettled = (this.#unsettled.get(shard) ?? 0) - 1;
    if (unsettled > 0) this.#unsettled.set(shard, unsettled);
    else this.#unsettled.delete(shard);
    if (!this.#paused.has(shard) || unsettled > this.#max / 2) return;
    this.#paused.delete(shard);
    this.#resume(shard);
  }
}
