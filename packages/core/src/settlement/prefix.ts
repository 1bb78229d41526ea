import type { Shard } from "../driver/wire.ts";
import { Fifo } from "../primitives/fifo.ts";
import type { Entry } from "./entry.ts";

interface Track {
  readonly order: Fifo<Entry>;
  /** Settled heads whose commit is on the way, in order. */
  readonly committing: Fifo<Entry>;
}

/**
 * The contiguous head of each shard, in *delivered* order: offsets of a log are not dense (compaction, transactional markers), so "the
 * next one" is the next delivered, not the next number.
 */
export class PrefixTracker {
  readonly #tracks = new Map<Shard, Track>();
  readonly #settled = new Set<Entry>();

  /** Settled ones that wait behind a gap. */
  get recorded(): number {
    return this.#settled.size;
  }

  delivered(entry: Entry): void {
    const track = this.#tracks.get(entry.wire.shard);
    if (track !== undefined) track.order.push(entry);
    else {
      const fresh: Track = { order: new Fifo(), committing: new Fifo() };
      fresh.order.push(entry);
      this.#tracks.set(entry.wire.shard, fresh);
    }
  }

  /** Marks it; returns the new head if the head moved. */
  settled(entry: Entry): Entry | undefined {
    const track = this.#tracks.get(entry.wire.shard);
    if (track === undefined) return undefined;
    this.#settled.add(entry);
    let head: Entry | undefined;
    for (let first = track.order.peek(); first !== undefined && this.#settled.has(first); first = track.order.peek()) {
      track.order.shift();
      this.#settled.delete(first);
      track.committing.push(first);
      head = first;
    }
    return head;
  }

  /** The backend has this head: everything up to it is over. */
  committed(head: Entry): Entry[] {
    const track = this.#tracks.get(head.wire.shard);
    const covered: Entry[] = [];
    for (let first = track?.committing.shift(); first !== undefined; first = track?.committing.shift()) {
      covered.push(first);
      if (first === head) break;
    }
    return covered;
  }

  /** An ownership is over (`undefined`: all are): nothing is kept of it. */
  lost(shard: Shard | undefined): void {
    if (shard === undefined) {
      this.#tracks.clear();
      this.#settled.clear();
      return;
    }
    const track = this.#tracks.get(shard);
    if (track === undefined) return;
    for (const entry of track.order) this.#settled.delete(entry);
    this.#tracks.delete(shard);
  }
}
