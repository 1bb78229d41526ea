import type { Clock } from "../../driver/adapter.ts";
import type { Cursor, Driver, ReplayRequest } from "../../driver/driver.ts";
import type { Cut, Place, WireDelivery } from "../../driver/wire.ts";
import { Fifo } from "../../primitives/fifo.ts";
import { UNHEARD } from "../../primitives/unheard.ts";
import { eachPart } from "./each.ts";
import { Merge, type Strand } from "./merge.ts";
import { innerStart, outerCut, outerPlace, outerShard, partName } from "./names.ts";
import { Part, PartDelivery } from "./part.ts";

const DRY_MS = 50;

/** Reads all partitions of a topic again. */
export async function replayParts(
  driver: Driver,
  clock: Clock,
  request: ReplayRequest,
  parts: number,
  signal: AbortSignal,
): Promise<Cursor> {
  const { topic, from, to, follow, events } = request;
  const opened: Cursor[] = [];
  try {
    const cursors = await eachPart(parts, async (part) => {
      const place = (inner: Place | undefined): Place | undefined => (inner === undefined ? undefined : outerPlace(part, inner));
      const cursor = await driver.replay(
        {
          topic: partName(topic, part),
          from: innerStart(from, part),
          to: to && innerStart(to, part),
          follow,
          events: { dataLoss: (shard, a, b, missing) => events.dataLoss(outerShard(part, shard), place(a), place(b), missing) },
        },
        signal,
      );
      opened.push(cursor);
      return cursor;
    });
    return new PartCursor(clock, cursors, follow, driver.capabilities.receive.maxWaitMs);
  } catch (error) {
    await Promise.allSettled(opened.map((cursor) => cursor.close()));
    throw error;
  }
}

/** One partition's cursor among others. */
class Reading implements Strand {
  readonly buffer: Fifo<WireDelivery> = new Fifo();
  receiving = false;
  readonly over = false;
  readonly #part: Part;
  readonly #cursor: Cursor;
  readonly #follow: boolean;
  #ended = false;

  constructor(part: number, cursor: Cursor, follow: boolean) {
    this.#part = new Part(part, UNHEARD, () => undefined);
    this.#cursor = cursor;
    this.#follow = follow;
  }

  /** Its fetch position has reached the end. */
  get ended(): boolean {
    return this.#ended;
  }

  get still(): boolean {
    return this.#ended && !this.#follow;
  }

  async fill(max: number, waitMs: number, signal: AbortSignal): Promise<void> {
    // Until it has said that its end is reached, somebody waits for that rather than for news.
    const { deliveries, atEnd } = await this.#cursor.receive(max, this.#ended ? waitMs : Math.min(waitMs, DRY_MS), signal);
    this.#ended ||= atEnd;
    for (const delivery of deliveries) this.buffer.push(new PartDelivery(this.#part, delivery));
  }

  close(): Promise<void> {
    return this.#cursor.close();
  }
}

class PartCursor implements Cursor {
  readonly end: Cut;
  readonly #readings: readonly Reading[];
  readonly #merge: Merge;

  constructor(clock: Clock, cursors: readonly Cursor[], follow: boolean, waitMs: number) {
    this.end = outerCut(cursors.map((cursor) => cursor.end));
    this.#readings = cursors.map((cursor, part) => new Reading(part, cursor, follow));
    this.#merge = new Merge(clock, waitMs, { done: () => !follow && this.#ended });
    for (const reading of this.#readings) this.#merge.add(reading);
  }

  async receive(max: number, waitMs: number, signal: AbortSignal): Promise<{ deliveries: readonly WireDelivery[]; atEnd: boolean }> {
    const deliveries = await this.#merge.receive(max, waitMs, signal);
    return { deliveries, atEnd: this.#ended && this.#readings.every(({ buffer }) => buffer.length === 0) };
  }

  async close(): Promise<void> {
    this.#merge.close();
    await Promise.allSettled(this.#readings.map((reading) => reading.close()));
  }

  get #ended(): boolean {
    return this.#readings.every((reading) => reading.ended);
  }
}
