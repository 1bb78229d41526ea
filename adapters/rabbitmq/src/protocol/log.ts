import { randomUUID } from "node:crypto";
import type { ConsumeMessage } from "amqplib";
import type { Cut, Place, Shard, SubscriptionEvents, WireDelivery, WireHeader, WireStart } from "brokerkit/driver";
import type { Reader, Session } from "../client.ts";
import { isMissing, logMissing, topicMissing, unavailable } from "../errors.ts";
import { logOf } from "../mapping.ts";
import { decode, isMark, MARK, type Message } from "./message.ts";
import { type Offset, offsetOf, StreamConsumer } from "./stream.ts";
import { hasTopic } from "./topology.ts";

const SHARD = "0";
/** A publisher's clock may be ahead of the server's by this much. */
const SKEW_MS = 5_000;
/**
 * Each segment but the first begins with a chunk of the server's own, of one offset, that nobody gets. So a message that is gone leaves a hole
 * of two at the least: its own offset, and that of the segment behind it.
 */
const OWN = 1;
/** How far to look back for the last message, at first. */
const [LOOK_BACK, READ] = [64, 1_000];

type Events = Pick<SubscriptionEvents, "dataLoss">;

/** Opens a consumer of one log, closed with the others if opening fails. */
type Consume = (offset: Offset) => Promise<StreamConsumer>;

/** The end of a log: the last message, and the mark behind it that was the newest at some moment since this was asked. */
interface End {
  readonly last: number;
  readonly mark: number;
  readonly id: string;
}

/** What was found last, of each log. The same end is found at once as long as nothing is published. */
const ends = new WeakMap<Session, Map<string, End>>();

export function cutAt(offset: number): Cut {
  return offset < 0 ? new Map() : new Map([[SHARD, placeAt(offset)]]);
}

/** The offset that a cut covers; −1: nothing. */
export function offsetIn(cut: Cut): number {
  return Number(cut.get(SHARD)?.slice(SHARD.length + 1) ?? -1);
}

function placeAt(offset: number): Place {
  return `${SHARD}:${offset}` as Place;
}

class LogDelivery implements WireDelivery {
  readonly shard: Shard;
  readonly place: Place;
  readonly id: string;
  readonly key: Uint8Array | undefined;
  readonly headers: readonly WireHeader[];
  readonly body: Uint8Array | null;
  readonly publishedAt: number;
  readonly deliveries = 1;
  readonly failures = 0;
  readonly inbox = false;
  readonly leaseUntil: number = Number.POSITIVE_INFINITY;
  readonly offset: number;

  /** `reached`: the publish time of the message before, for one that does not say its own. */
  constructor(shard: Shard, message: ConsumeMessage, reached: number) {
    const decoded = decode(message as Message);
    this.shard = shard;
    this.offset = offsetOf(message);
    this.place = placeAt(this.offset);
    this.id = decoded.id;
    this.key = decoded.key;
    this.headers = decoded.headers;
    this.body = decoded.body;
    this.publishedAt = decoded.publishedAt === 0 ? reached : decoded.publishedAt;
  }
}

/** Reads the log of a topic, and notices when something was removed before it was read. */
export class LogReader implements Reader {
  /** The last message that was there when this was opened; where none was left, the last that is gone, or −1. */
  readonly end: number;
  /** What this reader starts behind. */
  start: Cut = new Map();
  readonly #session: Session;
  readonly #events: Events;
  readonly #shard: Shard = { id: SHARD };
  readonly #consumer: StreamConsumer;
  /** Received up to this offset, and of that not handed out yet. */
  #received: number;
  #next: LogDelivery[] = [];
  /** Publish time from which on messages are this reader's, until there was one. */
  #since: number | undefined;
  /** Nothing before what is left is this reader's. */
  #fromLeft = false;
  #reached = 0;

  private constructor(session: Session, consumer: StreamConsumer, events: Events, { last }: End, begin: number) {
    this.#session = session;
    this.#consumer = consumer;
    this.#events = events;
    this.end = last;
    this.#received = begin;
  }

  static async open(session: Session, topic: string, from: WireStart, events: Events, signal: AbortSignal): Promise<LogReader> {
    const stream = logOf(topic);
    const opened: StreamConsumer[] = [];
    const consume: Consume = async (offset) => {
      const consumer = await StreamConsumer.open(session, stream, offset, signal);
      opened.push(consumer);
      return consumer;
    };
    try {
      // A time in the future is the end as of now: what comes first must come later than this.
      const timed = from.kind === "time" ? await consume(timestamp(from.ms)) : undefined;
      const end = await findEnd(session, stream, consume, signal);
      const asked = from.kind === "position" ? offsetIn(from.cut) : end.mark;
      const begin = Math.min(asked, end.mark);
      const consumer = timed ?? (await consume(from.kind === "earliest" ? "first" : begin + 1));
      const reader = new LogReader(session, consumer, events, end, begin);
      await reader.#begin(from, end.mark, consume, signal);
      reader.start = cutAt(reader.last);
      for (const other of opened) if (other !== consumer) other.close();
      session.readers.add(reader);
      return reader;
    } catch (error) {
      for (const consumer of opened) consumer.close();
      if (!isMissing(error)) throw error;
      throw (await hasTopic(session, topic, signal)) ? logMissing(topic) : topicMissing(topic);
    }
  }

  /** Knows where it begins when this resolves, and what is missing there. Up to the mark there is always something to come. */
  async #begin(from: WireStart, mark: number, consume: Consume, signal: AbortSignal): Promise<void> {
    if (from.kind === "latest") return;
    if (from.kind !== "position") this.#received = Number.NaN;
    this.#fromLeft = from.kind === "earliest";
    if (from.kind === "time") this.#since = from.ms;
    let first: number | undefined;
    while (this.#next.length === 0 && !(this.#received >= mark)) {
      const messages = await this.#consumer.take(READ, Number.POSITIVE_INFINITY, signal);
      if (signal.aborted) throw unavailable("Aborted while opening the log.", signal.reason);
      first ??= messages.length === 0 ? undefined : offsetOf(messages[0] as ConsumeMessage);
      this.#accept(messages);
    }
    this.#fromLeft = false;
    if (from.kind !== "time" || first === undefined || first === 0 || this.#next[0]?.offset !== first) return;
    // Nothing older than the time was seen: is there anything?
    const whole = await consume("first");
    await readUntil(whole, signal, (_, oldest) => {
      if (oldest === first) this.#lose(-1, first);
      return true;
    });
  }

  /** Everything up to this offset has been handed out, or is none of this reader's. */
  get last(): number {
    const [next] = this.#next;
    return next === undefined ? this.#received : next.offset - 1;
  }

  /** Up to `max` messages, none behind `until`; waited for up to `waitMs`. None, too, when `until` is reached. */
  async read(max: number, waitMs: number, signal: AbortSignal, until: number = Number.POSITIVE_INFINITY): Promise<readonly LogDelivery[]> {
    const deadline = this.#session.clock.monotonic() + waitMs;
    while (this.#next.length === 0 && this.last < until) {
      const messages = await this.#consumer.take(max, deadline, signal);
      if (messages.length === 0) return [];
      this.#accept(messages);
    }
    const given = this.#next.length <= max ? this.#next : this.#next.splice(0, max);
    if (given === this.#next) this.#next = [];
    const newest = given.at(-1)?.offset ?? until;
    return newest <= until ? given : given.filter(({ offset }) => offset <= until);
  }

  #accept(messages: readonly ConsumeMessage[]): void {
    for (const message of messages) {
      const offset = offsetOf(message);
      // A chunk comes whole, whatever was asked for.
      if (offset <= this.#received) continue;
      if (offset > this.#received + 1 + OWN) this.#lose(this.#received, offset);
      this.#received = offset;
      if (isMark(message)) continue;
      const delivery = new LogDelivery(this.#shard, message, this.#reached);
      this.#reached = delivery.publishedAt;
      if (this.#since !== undefined && delivery.publishedAt < this.#since) continue;
      this.#since = undefined;
      this.#next.push(delivery);
    }
  }

  /** Marks may have been among them, so how many is not known. */
  #lose(last: number, next: number): void {
    // What was the oldest when it was asked for went while it was on its way.
    if (this.#fromLeft) this.#next = [];
    else this.#events.dataLoss(SHARD, last < 0 ? undefined : placeAt(last), placeAt(next - 1), undefined);
  }

  async close(): Promise<void> {
    this.#session.readers.delete(this);
    this.#consumer.close();
  }
}

/** Chunks have times of whole seconds, by the server's clock. */
function timestamp(ms: number): Offset {
  return { "!": "timestamp", value: Math.max(0, Math.floor((ms - SKEW_MS) / 1_000)) };
}

/**
 * The end of a log. No request tells it: "last" is a chunk, whose length is not told, and behind the end one waits. So a mark is written, and
 * read for; what lies before it was there when this was asked.
 */
async function findEnd(session: Session, stream: string, consume: Consume, signal: AbortSignal): Promise<End> {
  const tail = await consume("last");
  const id = `mark-${randomUUID()}`;
  await session.store(stream, { messageId: id, headers: [[MARK, ""]] }, signal);
  const known = ends.get(session) ?? new Map<string, End>();
  ends.set(session, known);
  const before = known.get(stream);
  let [first, last, mark] = [-1, -1, -1];
  await readUntil(tail, signal, (message, offset) => {
    if (first < 0) first = offset;
    if (!isMark(message)) last = offset;
    else if (message.properties.messageId === before?.id && offset === before?.mark) last = before.last;
    if (message.properties.messageId === id) mark = offset;
    return mark >= 0;
  });
  tail.close();
  // Marks only, none of them known: the last message is further back.
  for (let high = first, step = LOOK_BACK; last < 0 && high > 0; high -= step, step *= 2) {
    const low = Math.max(0, high - step);
    const earlier = await consume(low);
    let oldest = -1;
    await readUntil(earlier, signal, (message, offset) => {
      if (oldest < 0) oldest = offset;
      if (offset < high && !isMark(message)) last = offset;
      return offset >= high - 1;
    });
    earlier.close();
    // Nothing is left of what was before.
    if (oldest > low + OWN && last < 0) last = oldest - 1;
  }
  const end = { last, mark, id };
  known.set(stream, end);
  return end;
}

async function readUntil(
  consumer: StreamConsumer,
  signal: AbortSignal,
  done: (message: ConsumeMessage, offset: number) => boolean,
): Promise<void> {
  for (;;) {
    const messages = await consumer.take(READ, Number.POSITIVE_INFINITY, signal);
    if (signal.aborted) throw unavailable("Aborted while looking for the end of the log.", signal.reason);
    for (const message of messages) if (done(message, offsetOf(message))) return;
  }
}
