import type { Cursor, Cut, ReplayRequest, Shard, SubscriptionEvents, WireDelivery, WireStart } from "brokerkit/driver";
import { evalsha, type Link, type Reply, unknownScript } from "../client.ts";
import { topicMissing } from "../errors.ts";
import { within } from "../protocol/bounds.ts";
import type { Session } from "./client.ts";
import { compareIds, cutAt, MAIN, namesMessages, placeOf, startId } from "./mapping.ts";
import { waiting } from "./protocol/waiting.ts";
import { EntryDelivery } from "./scripts/entry.ts";
import type { TopicKeys } from "./scripts/keys.ts";
import { countFor, type Entry, FIRST_GUESS, LOOK, type Look, looked, sizeOf } from "./scripts/receive.ts";
import { END } from "./scripts/topic.ts";

type Events = Pick<SubscriptionEvents, "dataLoss">;

/** Reads a stream without a group over a connection of its own, and notices when something was removed before it was read. */
export class StreamReader {
  /** Everything up to this id has been read. */
  last = "0-0";
  /** The stream's end as of opening. */
  end = "0-0";
  readonly keys: TopicKeys;
  readonly #session: Session;
  readonly #events: Events;
  readonly #shard: Shard = { id: MAIN };
  readonly #leaving = new AbortController();
  #link: Link | undefined;
  /** How many entries the stream was ever given up to `last`; −1 where that is not known. */
  #ordinal = -1;
  #entryBytes = FIRST_GUESS;

  private constructor(session: Session, keys: TopicKeys, events: Events) {
    this.#session = session;
    this.keys = keys;
    this.#events = events;
  }

  static async open(session: Session, topic: string, from: WireStart, events: Events, signal: AbortSignal): Promise<StreamReader> {
    const reader = new StreamReader(session, session.keys(topic), events);
    const link = await session.open(signal, () => {});
    reader.#link = link;
    session.readers.add(reader);
    try {
      const start = startId(from);
      const reply = await within(signal, link.script(LOOK, reader.keys.list, [start, "-1"]));
      if (reply === null) throw topicMissing(topic);
      reader.#begin(start, namesMessages(from), looked(reply));
      return reader;
    } catch (error) {
      await reader.close();
      throw error;
    }
  }

  #begin(start: string, named: boolean, look: Look): void {
    this.end = look.end;
    const beyond = compareIds(start, look.end) >= 0;
    this.last = beyond ? look.end : start;
    if (!beyond && named) return this.#heed(look);
    this.#ordinal = look.ordinal;
    if (!beyond) this.last = look.last;
  }

  /** Goes on behind what was removed, having said so. */
  #heed({ missing, last, ordinal }: Look): void {
    if (missing !== 0) this.#events.dataLoss(MAIN, placeOf(MAIN, this.last), placeOf(MAIN, last), missing < 0 ? undefined : missing);
    this.last = last;
    this.#ordinal = ordinal;
  }

  /** Up to `max` entries, none behind `until`. Waits until `deadline` (monotonic ms) unless there is an `until`. */
  read(max: number, deadline: number, signal: AbortSignal, until?: string | undefined): Promise<EntryDelivery[]> {
    return this.#read(max, deadline, signal, until).catch((error: unknown) => {
      if (this.#leaving.signal.aborted) return [];
      throw error;
    });
  }

  async #read(max: number, deadline: number, signal: AbortSignal, until: string | undefined): Promise<EntryDelivery[]> {
    const { clock, longestBlockMs } = this.#session;
    const stop = [signal, this.#leaving.signal];
    for (;;) {
      if (this.#link?.down !== undefined) throw this.#link.down;
      if (stop.some((one) => one.aborted)) return [];
      const { entries, due, wake } = await this.#page(max, until ?? "+");
      if (entries.length > 0) return this.#deliver(entries);
      const longest = Math.min(deadline - clock.monotonic(), longestBlockMs);
      const block = Math.floor(due < 0 ? longest : Math.min(longest, Math.max(1, due)));
      if (until !== undefined || block < 1) return [];
      const read = await this.#block(max, block, wake, stop);
      if (read.length > 0) return this.#deliver(read);
    }
  }

  async #page(max: number, until: string): Promise<Look & { readonly entries: readonly Entry[] }> {
    const link = this.#link as Link;
    const args = [this.last, String(this.#ordinal)];
    const range = ["XRANGE", this.keys.stream, `(${this.last}`, until, "COUNT", countFor(max, this.#entryBytes)];
    let [reply, entries] = (await link.transaction([evalsha(LOOK, this.keys.list, args), range])) as [Reply, Reply];
    if (unknownScript(reply)) reply = await link.script(LOOK, this.keys.list, args);
    if (reply === null) throw topicMissing(this.keys.stream);
    for (const one of [reply, entries]) if (one instanceof Error) throw one;
    const look = looked(reply);
    this.#heed(look);
    return { ...look, entries: entries as never };
  }

  async #block(max: number, ms: number, wake: string, stop: readonly AbortSignal[]): Promise<readonly Entry[]> {
    const link = this.#link as Link;
    const { stream, wake: wakes } = this.keys;
    const args = ["XREAD", "COUNT", countFor(max, this.#entryBytes), "BLOCK", String(ms), "STREAMS", stream, wakes, this.last, wake];
    const read = await waiting(this.#session, link, stop, ms, () => link.call(args));
    const streams = (read ?? []) as never as readonly (readonly [Buffer, readonly Entry[]])[];
    return streams.find(([name]) => name.toString() === stream)?.[1] ?? [];
  }

  #deliver(entries: readonly Entry[]): EntryDelivery[] {
    const deliveries = entries.map(([id, fields]) =>
      new EntryDelivery(this.#shard, id.toString("latin1"), Number.POSITIVE_INFINITY, 0, 1, 0).read(fields),
    );
    this.#entryBytes = sizeOf(entries);
    this.last = (deliveries.at(-1) as EntryDelivery).entry;
    if (this.#ordinal >= 0) this.#ordinal += entries.length;
    return deliveries;
  }

  async close(): Promise<void> {
    this.#session.readers.delete(this);
    this.#leaving.abort();
    this.#link?.destroy();
  }
}

export async function openCursor(
  session: Session,
  { topic, from, to, follow, events }: ReplayRequest,
  signal: AbortSignal,
): Promise<Cursor> {
  const reader = await StreamReader.open(session, topic, from, events, signal);
  try {
    let end = reader.end;
    if (to !== undefined && compareIds(startId(to), end) < 0) {
      end = String(await within(signal, session.control().script(END, [reader.keys.stream], [startId(to)])));
    }
    return new StreamCursor(reader, end, follow && to === undefined, session);
  } catch (error) {
    await reader.close();
    throw error;
  }
}

class StreamCursor implements Cursor {
  readonly end: Cut;
  readonly #reader: StreamReader;
  readonly #until: string;
  readonly #follow: boolean;
  readonly #session: Session;
  #atEnd: boolean;

  constructor(reader: StreamReader, until: string, follow: boolean, session: Session) {
    this.#reader = reader;
    this.#until = until;
    this.#follow = follow;
    this.#session = session;
    this.end = cutAt(until);
    this.#atEnd = until === "" || compareIds(reader.last, until) >= 0;
  }

  async receive(
    max: number,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<{ readonly deliveries: readonly WireDelivery[]; readonly atEnd: boolean }> {
    if (this.#atEnd && !this.#follow) return { deliveries: [], atEnd: true };
    const until = this.#atEnd ? undefined : this.#until;
    const deliveries = await this.#reader.read(max, this.#session.clock.monotonic() + waitMs, signal, until);
    // Nothing left up to the end, or the end itself: the fetch position is there, whatever was removed in between.
    if (until !== undefined && !signal.aborted) this.#atEnd = deliveries.length === 0 || compareIds(this.#reader.last, until) >= 0;
    return { deliveries, atEnd: this.#atEnd };
  }

  close(): Promise<void> {
    return this.#reader.close();
  }
}
