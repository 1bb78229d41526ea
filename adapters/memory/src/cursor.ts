import type { Cursor, Cut, ReplayRequest, WireDelivery } from "brokerkit/driver";
import { beyond } from "./errors.ts";
import { Member } from "./scripts/queue.ts";
import { cutOf, Reader } from "./scripts/reader.ts";
import type { World } from "./scripts/world.ts";

const nobody = (): void => {};

/** Reads what was published again. */
export class MemoryCursor implements Cursor {
  readonly end: Cut;
  readonly #world: World;
  readonly #reader: Reader;
  readonly #follow: boolean;
  /** Where the end is, by shard; unknown where the record says that cursors don't know their end: then it is where the log ends now. */
  readonly #ends: readonly number[] | undefined;
  readonly #closed: (cursor: MemoryCursor) => void;

  constructor(world: World, { topic: name, from, to, follow, events }: ReplayRequest, closed: (cursor: MemoryCursor) => void) {
    const topic = world.topic(name);
    const spots = topic.spots(from);
    const bounds = to === undefined ? undefined : topic.spots(to);
    const ends = topic.logs.map((log, n) => Math.min(log.next, bounds?.[n]?.next ?? log.next));
    this.#ends = world.record.cursorEnd ? ends : undefined;
    this.end = world.record.cursorEnd ? cutOf(topic.logs.map((log, n) => [log, ends[n] as number])) : new Map();
    this.#world = world;
    this.#follow = follow;
    this.#closed = closed;
    const member = new Member("cursor", {
      releasing: async () => {},
      lost: nobody,
      state: nobody,
      dataLoss: (...loss) => events.dataLoss(...loss),
    });
    this.#reader = new Reader(topic, member, spots, follow ? [] : (this.#ends ?? bounds?.map((spot) => spot.next) ?? []));
  }

  async receive(max: number, waitMs: number, signal: AbortSignal): Promise<{ deliveries: readonly WireDelivery[]; atEnd: boolean }> {
    const reader = this.#reader;
    const { receive } = this.#world.record;
    if (max > receive.maxRecords || waitMs > receive.maxWaitMs) throw beyond(`receive(${max}, ${waitMs})`);
    if (reader.error !== undefined) throw reader.error;
    let deliveries: readonly WireDelivery[] = signal.aborted ? [] : reader.take(reader.member, max, this.#world.clock.monotonic());
    const over = !this.#follow && reader.reached(this.#ends);
    if (deliveries.length === 0 && !over && waitMs > 0 && !signal.aborted && !reader.member.gone) {
      deliveries = await reader.line.wait(reader.member, max, waitMs, signal, this.#world.clock);
    }
    return { deliveries, atEnd: reader.reached(this.#ends) };
  }

  async close(): Promise<void> {
    this.#reader.leave();
    this.#closed(this);
  }
}
