import type { Cursor, Cut, ReplayRequest, Shard, SubscriptionEvents, WireDelivery, WireStart } from "brokerkit/driver";
import { evalsha, type Link, LONGEST_BLOCK_MS, type Reply, unknownScript } from "./client.ts";
import { type Session, within } from "./driver.ts";
import { topicMissing } from "./errors.ts";
import { compareIds, cutAt, decodeEntry, EntryDelivery, LAST_SEQ, MAIN, placeOf, startId, type TopicKeys } from "./mapping.ts";
import { LOOK } from "./scripts/receive.ts";
import { END } from "./scripts/topic.ts";

const SHORT_BLOCK_MS = 800;
const UNBLOCK_MS = 20;
const UNBLOCK_TRIES = 35;
const READ_BYTES = 16_777_216;

type Entry = readonly [id: Buffer, fields: readonly Buffer[]];

interface Look {
  readonly missing: number;
  readonly from: string;
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
  #blocked = false;
  #closed = false;

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
    // "Earliest" is what is there now; a time or a position names what should be there, so a hole behind it is a loss.
    const probe = start === "latest" ? `${Number.MAX_SAFE_INTEGER}-${LAST_SEQ}` : start;
    const look = this.#looked(await this.#query(probe, from.kind === "earliest" ? "0" : ""));
    const known = start === "latest" || compareIds(start, look.end) >= 0;
    this.last = known ? look.end : from.kind === "earliest" ? "0-0" : start;
    this.#ordinal = known || from.kind === "earliest" ? -1 : look.ordinal;
    this.end = look.end;
    if (from.kind === "earliest") this.#ordinal = look.ordinal;
    else if (!known && look.missing !== 0) this.#report(look);
  }

  #query(last: string, ordinal: string): Promise<Reply> {
    const { stream, meta, delayed, wake } = this.#keys;
    return (this.#link as Link).script(LOOK, [stream, meta, delayed, wake], [last, ordinal]);
  }

  #looked(reply: Reply): Look {
    if (reply instanceof Error) throw reply;
    if (reply === null) throw topicMissing(this.#topic);
    const [missing, last, ordinal, end, , due, wake] = reply as readonly Reply[];
    return { missing: Number(missing), from: this.last, last: String(last), ordinal: Number(ordinal), end: String(end), due: Number(due), wake: String(wake) };
  }

  #report({ missing, last, ordinal }: Look): void {
    this.#events.dataLoss(MAIN, placeOf(MAIN, this.last), placeOf(MAIN, last), missing < 0 ? undefined : missing);
    this.last = last;
    this.#ordinal = ordinal;
  }

  /** Up to `max` entries, none behind `until`. Waits until `deadline` (monotonic ms) unless there is an `until`. */
  async read(max: number, deadline: number, signal: AbortSignal, until?: string | undefined): Promise<EntryDelivery[]> {
    const { clock, canUnblock } = this.#session;
    for (;;) {
      if (this.#dead !== undefined) throw this.#dead;
      const { entries, look } = await this.#page(max, until ?? "+");
      if (entries.length > 0) return this.#deliver(entries);
      const longest = Math.min(deadline - clock.monotonic(), canUnblock ? LONGEST_BLOCK_MS : SHORT_BLOCK_MS);
      const block = Math.floor(look.due < 0 ? longest : Math.min(longest, Math.max(1, look.due)));
      if (until !== undefined || block < 1 || signal.aborted || this.#closed) return [];
      const read = await this.#block(max, block, look.wake, signal);
      if (read.length > 0) return this.#deliver(read);
      if (signal.aborted || this.#closed) return [];
    }
  }

  #count(max: number): string {
    return String(this.#averageBytes === 0 ? max : Math.min(max, Math.max(1, Math.floor(READ_BYTES / this.#averageBytes))));
  }

  async #page(max: number, until: string): Promise<{ entries: readonly Entry[]; look: Look }> {
    const { stream, meta, delayed, wake } = this.#keys;
    const link = this.#link as Link;
    const args = [this.last, this.#ordinal < 0 ? "" : String(this.#ordinal)];
    const range = ["XRANGE", stream, `(${this.last}`, until, "COUNT", this.#count(max)];
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
    const interrupt = (): void => void this.#interrupt();
    signal.addEventListener("abort", interrupt, { once: true });
    this.#blocked = true;
    try {
      const streams = ["STREAMS", this.#keys.stream, this.#keys.wake, this.last, wake];
      const read = await link.call(["XREAD", "COUNT", this.#count(max), "BLOCK", String(ms), ...streams]);
      const found = ((read ?? []) as unknown as readonly (readonly [Buffer, readonly Entry[]])[]).find(([name]) => name.utf8Slice() === this.#keys.stream);
      return found?.[1] ?? [];
    } finally {
      this.#blocked = false;
      signal.removeEventListener("abort", interrupt);
    }
  }

  #deliver(entries: readonly Entry[]): EntryDelivery[] {
    let bytes = 0;
    const deliveries = entries.map(([id, fields]) => {
      const entry = id.latin1Slice();
      for (const field of fields) bytes += field.length;
      return new EntryDelivery(this.#shard, entry, decodeEntry(entry, fields), 1, 0, Number.POSITIVE_INFINITY, 0);
    });
    this.#averageBytes = bytes / entries.length;
    this.last = (deliveries.at(-1) as EntryDelivery).entry;
    if (this.#ordinal >= 0) this.#ordinal += entries.length;
    return deliveries;
  }

  async #interrupt(): Promise<void> {
    const link = this.#link as Link;
    if (!this.#session.canUnblock) return;
    for (let tries = 0; this.#blocked && tries < UNBLOCK_TRIES; tries++) {
      try {
        void this.#session.control().call(["CLIENT", "UNBLOCK", String(link.id)]).catch(() => {});
      } catch {
        break;
      }
      await new Promise<void>((resolve) => this.#session.clock.timer(UNBLOCK_MS, resolve));
    }
    if (this.#blocked) link.destroy();
  }

  close(): void {
    this.#closed = true;
    this.#link?.destroy();
  }
}

export async function openCursor(session: Session, request: ReplayRequest, signal: AbortSignal): Promise<Cursor> {
  const keys = session.keys(request.topic);
  const reader = await StreamReader.open(session, keys, request.topic, request.from, request.events, signal);
  try {
    const to = request.to === undefined ? "latest" : startId(request.to);
    const bound = to === "latest" || compareIds(to, reader.end) >= 0 ? reader.end : String(await within(signal, session.control().script(END, [keys.stream], [to])));
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

  async receive(max: number, waitMs: number, signal: AbortSignal): Promise<{ readonly deliveries: readonly WireDelivery[]; readonly atEnd: boolean }> {
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
