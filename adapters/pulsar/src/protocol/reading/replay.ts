import type { Cursor, Cut, ReplayRequest, WireDelivery } from "brokerkit/driver";
import { compareSpots, cutOf, placeOf, type Spot, spotOf, spotOfId } from "../../mapping.ts";
import type { PulsarDelivery } from "./message.ts";
import type { Reader } from "./reader.ts";

interface Bounds {
  /** What lies before its start counts as read. */
  readonly before: ReadonlyMap<number, Spot>;
  readonly ends: ReadonlyMap<number, Spot>;
  readonly follow: boolean;
}

/** Tells no losses that begin at an end or behind it: nobody has asked for what was there. */
export function lossesUpTo(ends: ReadonlyMap<number, Spot>, events: ReplayRequest["events"]): ReplayRequest["events"] {
  return {
    dataLoss(shard, from, to, missing) {
      const end = ends.get(Number(shard));
      if (end === undefined || from === undefined || compareSpots(spotOf(from), end) < 0) events.dataLoss(shard, from, to, missing);
    },
  };
}

/** A reader that knows when it has seen the end of each partition. */
export class Replay implements Cursor {
  readonly end: Cut;
  readonly #reader: Pick<Reader, "read" | "floors" | "close">;
  readonly #events: ReplayRequest["events"];
  readonly #follow: boolean;
  readonly #ends: ReadonlyMap<number, Spot>;
  /** Partitions whose end has not been seen. */
  readonly #open: Map<number, Spot>;

  constructor(reader: Pick<Reader, "read" | "floors" | "close">, events: ReplayRequest["events"], { before, ends, follow }: Bounds) {
    this.#reader = reader;
    this.#events = events;
    this.#follow = follow;
    this.#ends = ends;
    this.end = cutOf(ends);
    this.#open = new Map(ends);
    for (const [partition, spot] of before) this.#reached(partition, spot);
  }

  async receive(
    max: number,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<{ readonly deliveries: readonly WireDelivery[]; readonly atEnd: boolean }> {
    if (this.#open.size === 0 && !this.#follow) return { deliveries: [], atEnd: true };
    const came = await this.#reader.read(max, waitMs, signal);
    const idle = came.length === 0 && waitMs > 0 && this.#open.size > 0 && !signal.aborted;
    return { deliveries: this.#taken(idle ? await this.#missed(max, signal) : came), atEnd: this.#open.size === 0 };
  }

  /** Ends that were taken away while they were waited for, also where something newer is left, never come: they are given up. */
  async #missed(max: number, signal: AbortSignal): Promise<PulsarDelivery[]> {
    const floors = await this.#reader.floors(signal);
    if (floors === undefined) return [];
    // What was on its way has come before that answer.
    const came = await this.#reader.read(max, 0, signal);
    if (came.length > 0) return came;
    for (const [partition, end] of [...this.#open]) {
      const floor = floors.get(partition);
      if (floor === undefined || compareSpots(floor, end) < 0) continue;
      this.#open.delete(partition);
      this.#events.dataLoss(String(partition), undefined, placeOf(String(partition), end), undefined);
    }
    return [];
  }

  /** Of what came, what lies within the bounds. */
  #taken(came: readonly PulsarDelivery[]): PulsarDelivery[] {
    return came.filter(({ message }) => {
      const { partition } = message.id;
      const spot = spotOfId(message.id);
      const end = this.#ends.get(partition);
      this.#reached(partition, spot);
      return this.#follow || (end !== undefined && compareSpots(spot, end) <= 0);
    });
  }

  #reached(partition: number, spot: Spot): void {
    const end = this.#open.get(partition);
    if (end !== undefined && compareSpots(spot, end) >= 0) this.#open.delete(partition);
  }

  close(): Promise<void> {
    return this.#reader.close();
  }
}
