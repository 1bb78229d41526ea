import type { Cursor, Cut, ReplayRequest, Shard, SubscriptionEvents, WireDelivery, WireStart } from "brokerkit/driver";
import { evalsha, type Link, type Reply, type Session, unknownScript, waiting, within } from "./client.ts";
import { topicMissing } from "./errors.ts";
import { compareIds, cutAt, decodeEntry, EntryDelivery, LAST_SEQ, MAIN, placeOf, startId, type TopicKeys } from "./mapping.ts";
import { LOOK } from "./scripts/receive.ts";
import { END } from "./scripts/topic.ts";

export type Entry = readonly [id: Buffer, fields: readonly Buffer[]];

/** Bytes that one read should not exceed by much. */
const READ_BYTES = 16_777_216;

/** How many entries to ask for: fewer where entries are large. */
export function countFor(max: number, averageBytes: number): number {
  return averageBytes === 0 ? max : Math.min(max, Math.max(1, Math.floor(READ_BYTES / averageBytes)));
}

interface Look {
  /** Entries that were removed unread; −1 for "some". */
  readonly missing: number;
  /** The id to go on behind. */
  readonly last: string;
  readonly ordinal: number;
  readonly end: string;
  readonly due: number;
  readonly wake: string;
}

/** Reads a stream without a group over a connection of its own, and notices when something was removed before it was read. */
export class StreamReader {
  /** Everything up to this id has been read. */
  last = "0-0";
  /** The stream's end as of opening. */
  end = "0-0";
  readonly #session: Session;
  readonly #keys: TopicKeys;
  readonly #topic: string;
  readonly #events: Pick<SubscriptionEvents, "dataLoss">;
  readonly #shard: Shard = { id: MAIN };
  #link: Link | undefined;
  #dead: Error | undefined;
  /** How many entries the stream was ever given up to `last`; −1 where that is not known. */
  #ordinal = -1;
  #averageBytes = 0;
  readonly #leaving = new AbortController();

  private constructor(session: Session, keys: TopicKeys, topic: string, events: Pick<SubscriptionEvents, "dataLoss">) {
    this.#session = session;
    this.#keys = keys;
    this.#topic = topic;
    this.#events = events;
  }

  static async open(
    session: Session,
    keys: TopicKeys,
    topic: string,
    from: WireStart,
    events: Pick<SubscriptionEvents, "dataLoss">,
    signal: AbortSignal,
  ): Promise<StreamReader> {
    const reader = new StreamReader(session, keys, topic, events);
    reader.#link = await session.open(signal, (error) => {
      reader.#dead = error;
    });
    try {
      await within(signal, reader.#start(from));
      return reader;
    } catch (error) {
      reader.close();
      throw error;
    }
  }

  async #start(from: WireStart): Promise<void> {
    const start = startId(from);
    const look = this.#looked(await this.#query(start === "latest" ? `${Number.MAX_SAFE_INTEGER}-${LAST_SEQ}` : start, ""));
    this.end = look.end;
    const beyond = start === "latest" || compareIds(start, look.end) >= 0;
    // The earliest is what is there now. A time or a position names what should be there, so a hole behind it is a loss.
    if (!beyond && from.kind !== "earliest" && look.missing !== 0) {
      this.last = start;
      return this.#report(look);
    }
    this.last = beyond ? look.end : look.last;
    this.#ordinal = look.ordinal;
  }

  #query(last: string, ordinal: string): Promise<Reply> {
    const { stream, meta, delayed, wake } = this.#keys;
    return (this.#link as Link).script(LOOK, [stream, meta, delayed, wake], [last, ordinal]);
  }

  #looked(reply: Reply): Look {
    if (reply instanceof Error) throw reply;
    if (reply === null) throw topicMissing(this.#topic);
    const [missing, last, ordinal, end, , due, wake] = reply as readonly Reply[];
    return {
      missing: Number(missing),
      last: String(last),
      ordinal: Number(ordinal),
      end: String(end),
      due: Number(due),
      wake: String(wake),
    };
  }

  #report({ missing, last, ordinal }: Look): void {
    this.#events.dataLoss(MAIN, placeOf(MAIN, this.last), placeOf(MAIN, last), missing < 0 ? undefined : missing);
    this.last = last;
    this.#ordinal = ordinal;
  }

  /** Up to `max` entries, none behind `until`. Waits until `deadline` (monotonic ms) unless there is an `until`. */
  async read(max: number, deadline: number, signal: AbortSignal, until?: string | undefined): Promise<EntryDelivery[]> {
    const { clock, longestBlockMs } = this.#session;
    const stop = AbortSignal.any([signal, this.#leaving.signal]);
    for (;;) {
      if (this.#dead !== undefined) throw this.#dead;
      if (stop.aborted) return [];
      const { entries, look } = await this.#page(max, until ?? "+");
      if (entries.length > 0) return this.#deliver(entries);
      const longest = Math.min(deadline - clock.monotonic(), longestBlockMs);
      const block = Math.floor(look.due < 0 ? longest : Math.min(longest, Math.max(1, look.due)));
      if (until !== undefined || block < 1) return [];
      const read = await this.#block(max, block, look.wake, stop);
      if (read.length > 0) return this.#deliver(read);
    }
  }

  async #page(max: number, until: string): Promise<{ entries: readonly Entry[]; look: Look }> {
    const { stream, meta, delayed, wake } = this.#keys;
    const link = this.#link as Link;
    const args = [this.last, this.#ordinal < 0 ? "" : String(this.#ordinal)];
    const range = ["XRANGE", stream, `(${this.last}`, until, "COUNT", String(countFor(max, this.#averageBytes))];
    let [looked, entries] = await link.transaction([evalsha(LOOK, [stream, meta, delayed, wake], args), range]);
    if (unknownScript(looked)) looked = await this.#query(this.last, args[1] as string);
    const look = this.#looked(looked as Reply);
    if (look.missing !== 0) this.#report(look);
    else this.#ordinal = look.ordinal;
    if (entries instanceof Error) throw entries;
    return { entries: entries as unknown as readonly Entry[], look };
  }

  async #block(max: number, ms: number, wake: string, signal: AbortSignal): Promise<readonly Entry[]> {
    const link = this.#link as Link;
    const { stream, wake: wakes } = this.#keys;
    const count = String(countFor(max, this.#averageBytes));
    const read = await waiting(this.#session, link, signal, ms, () =>
      link.call(["XREAD", "COUNT", count, "BLOCK", String(ms), "STREAMS", stream, wakes, this.last, wake]),
    );
    const found = ((read ?? []) as unknown as readonly (readonly [Buffer, readonly Entry[]])[]).find(
      ([name]) => name.toString() === stream,
    );
    return found?.[1] ?? [];
  }

  #deliver(entries: readonly Entry[]): EntryDelivery[] {
    let bytes = 0;
    const deliveries = entries.map(([id, fields]) => {
      const entry = id.toString("latin1");
      for (const field of fields) bytes += field.length;
      return new EntryDelivery(this.#shard, entry, decodeEntry(entry, fields), 1, 0, Number.POSITIVE_INFINITY, 0);
    });
    this.#averageBytes = bytes / entries.length;
    this.last = (deliveries.at(-1) as EntryDelivery).entry;
    if (this.#ordinal >= 0) this.#ordinal += entries.length;
    return deliveries;
  }

  close(): void {
    this.#leaving.abort();
    this.#link?.destroy();
  }
}

export async function openCursor(session: Session, request: ReplayRequest, signal: AbortSignal): Promise<Cursor> {
  const keys = session.keys(request.topic);
  const reader = await StreamReader.open(session, keys, request.topic, request.from, request.events, signal);
  try {
    const to = request.to === undefined ? "latest" : startId(request.to);
    const bound =
      to === "latest" || compareIds(to, reader.end) >= 0
        ? reader.end
        : String(await within(signal, session.control().script(END, [keys.stream], [to])));
    return new StreamCursor(reader, bound, request.follow && request.to === undefined, session);
  } catch (error) {
    reader.close();
    throw error;
  }
}

class StreamCursor implements Cursor {
  readonly end: Cut;
  readonly #reader: StreamReader;
  readonly #bound: string;
  readonly #follow: boolean;
  readonly #session: Session;
  #atEnd: boolean;

  constructor(reader: StreamReader, bound: string, follow: boolean, session: Session) {
    this.#reader = reader;
    this.#bound = bound;
    this.#follow = follow;
    this.#session = session;
    this.end = cutAt(bound);
    this.#atEnd = bound === "" || compareIds(reader.last, bound) >= 0;
  }

  async receive(
    max: number,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<{ readonly deliveries: readonly WireDelivery[]; readonly atEnd: boolean }> {
    if (this.#atEnd && !this.#follow) return { deliveries: [], atEnd: true };
    const until = this.#atEnd ? undefined : this.#bound;
    const deliveries = await this.#reader.read(max, this.#session.clock.monotonic() + waitMs, signal, until);
    // Nothing left up to the end, or the end itself: the fetch position is there, whatever was removed in between.
    if (until !== undefined && (deliveries.length === 0 || compareIds(this.#reader.last, until) >= 0)) this.#atEnd = true;
    return { deliveries, atEnd: this.#atEnd };
  }

  async close(): Promise<void> {
    this.#reader.close();
  }
}
