import { effectiveCapabilities } from "./capability/effective.ts";
import { unsupported } from "./capability/unsupported.ts";
import { decodeHeaders } from "./codec/headers.ts";
import { jsonCodec } from "./codec/json.ts";
import { decodeKey, laneOf } from "./codec/key.ts";
import { Fold } from "./dead-letter/fold.ts";
import { heldLetters, isLogged, KEEPER } from "./dead-letter/held.ts";
import { deadTopic, letterFacts, markerRecord, type ReadLetter, redriveRecord, renamed } from "./dead-letter/letter.ts";
import type { BoundTopic } from "./definition.ts";
import type { Place, WireRecord } from "./driver/wire.ts";
import { BrokerError, fromDriver, isBrokerError } from "./errors.ts";
import { checkKeys, checkNumber } from "./options.ts";
import { timeoutSignal } from "./primitives/abort.ts";
import { sleep } from "./primitives/sleep.ts";
import { UNHEARD } from "./primitives/unheard.ts";
import type { PublishLine } from "./publish.ts";
import { CursorReader, type ReplayWiring } from "./replay.ts";
import type { DeadLetter, DeadLetterFilter, DeadLetters, Stream } from "./surface.ts";

export interface DeadLettersWiring extends ReplayWiring {
  readonly publish: PublishLine;
}

const FILTER = ["ids", "reason", "since", "until", "where", "limit"] as const;
const MOVE_MS = 30_000;
/** Letters to take out of a group at a time, and to have out at once. */
const TAKE = 100;
const MOST_HELD = 65_000;
/** Whoever only looks at letters and gives them back has nothing to lose. */
/** A letter that stands, and how to say that it is dealt with. */
interface Found {
  readonly letter: DeadLetter;
  readonly read: ReadLetter;
  readonly done: (how: "redriven" | "purged") => Promise<void>;
}

/**
 * One group's dead letters: a topic of its own. Where the backend replays, it is read by bounded replays and folded by id, and what became
 * of a letter is written behind it. Elsewhere the letters wait in a group of that topic, are taken out to be looked at, and go back.
 */
export class GroupDeadLetters implements DeadLetters {
  readonly #wiring: DeadLettersWiring;
  readonly #topic: BoundTopic;
  readonly #group: string;

  constructor(wiring: DeadLettersWiring, topic: BoundTopic, group: string) {
    this.#wiring = wiring;
    this.#topic = topic;
    this.#group = group;
  }

  list(filter: DeadLetterFilter = {}): Stream<DeadLetter> {
    checkFilter(filter, FILTER);
    const stop = new AbortController();
    const letters = this.#matching(filter, stop.signal);
    const stream = (async function* () {
      for await (const found of letters) yield found.letter;
    })();
    return {
      [Symbol.asyncIterator]: () => stream,
      close: async () => {
        stop.abort();
        await stream.return(undefined);
      },
      [Symbol.asyncDispose]: async () => {
        stop.abort();
        await stream.return(undefined);
      },
    };
  }

  async count(): Promise<number> {
    let count = 0;
    for await (const _ of this.#matching({}, new AbortController().signal)) count++;
    return count;
  }

  async redrive(
    o: DeadLetterFilter & { dryRun?: boolean | undefined; perSecond?: number | undefined; signal?: AbortSignal | undefined } = {},
  ): Promise<{ readonly matched: number; readonly moved: number }> {
    const { dryRun = false, perSecond, signal, ...filter } = o;
    checkFilter(filter, FILTER);
    checkNumber("perSecond", perSecond, 0.001);
    await this.#topic.ready();
    const { capabilities } = this.#topic;
    if (capabilities.groupInbox === "none") throw unsupported("redrive", this.#wiring.adapter, this.#topic.name);
    let matched = 0;
    let moved = 0;
    const began = this.#wiring.clock.monotonic();
    const stop = signal ?? new AbortController().signal;
    // Taken out one at a time where each has to wait for its turn: none is held for longer than that.
    for await (const { read, done } of this.#matching(filter, stop, perSecond === undefined ? TAKE : 1)) {
      matched++;
      if (dryRun) continue;
      if (perSecond !== undefined)
        await sleep(this.#wiring.clock, began + (moved * 1_000) / perSecond - this.#wiring.clock.monotonic(), stop);
      if (stop.aborted) break;
      // One after the other: the order among the redriven stays, and a crash between the two leaves at most one of them twice.
      await this.#store(redriveRecord(read, this.#topic.wire, this.#group));
      await done("redriven");
      moved++;
    }
    return { matched, moved };
  }

  async purge(filter: DeadLetterFilter): Promise<number> {
    checkFilter(filter, FILTER);
    let purged = 0;
    for await (const { done } of this.#matching(filter, new AbortController().signal)) {
      await done("purged");
      purged++;
    }
    return purged;
  }

  async *#matching(filter: DeadLetterFilter, stop: AbortSignal, take: number = TAKE): AsyncGenerator<Found, void, void> {
    await this.#topic.ready();
    const { adapter, connection } = this.#wiring;
    if (effectiveCapabilities(this.#topic.capabilities).supply.deadLetterList === "none")
      throw unsupported("deadLetter.list", adapter, this.#topic.name);
    let yielded = 0;
    for await (const { read, done } of isLogged(connection.capabilities) ? this.#logged(stop) : this.#held(stop, take)) {
      if (stop.aborted) continue;
      const letter = view(read);
      if (!matches(filter, letter)) continue;
      yield { letter, read, done };
      if (++yielded === filter.limit) break;
    }
  }

  async *#logged(stop: AbortSignal): AsyncGenerator<Pick<Found, "read" | "done">, void, void> {
    const fold = new Fold();
    const first = await this.#reader(stop);
    if (first === undefined) return;
    const { reader, end } = first;
    for await (const wire of records(reader)) fold.learn(wire);
    const second = await this.#reader(stop, end);
    if (second === undefined) return;
    for await (const wire of records(second.reader)) {
      const read = fold.stands(wire);
      if (read === undefined) continue;
      const done: Found["done"] = (how) => this.#store(markerRecord(read, this.#topic.wire, this.#group, how, this.#wiring.clock.now()));
      yield { read, done };
    }
  }

  async *#held(stop: AbortSignal, take: number): AsyncGenerator<Pick<Found, "read" | "done">, void, void> {
    const { adapter, connection, clock } = this.#wiring;
    const topic = deadTopic(this.#topic.wire, this.#group);
    const wrap = (raw: unknown): BrokerError => fromDriver(connection.driver, raw, { adapter, doing: "read", topic });
    const most = Math.min(connection.capabilities.hold.maxUnacked, MOST_HELD);
    const full = (): never => {
      const text = `[${adapter}] "${topic}" holds more than the ${most} dead letters that can be out at once. Pass a limit, and redrive or purge some first.`;
      throw new BrokerError("QUOTA_EXCEEDED", text, { details: undefined, adapter, topic });
    };
    const bound = timeoutSignal(clock, MOVE_MS, stop);
    try {
      await connection.ready();
      const request = { topic, group: KEEPER, from: { kind: "latest" } as const, credit: most, events: UNHEARD };
      const subscription = await connection.driver.subscribe(request, bound.signal);
      const { maxRecords } = connection.capabilities.receive;
      for await (const { read, settle } of heldLetters(subscription, { max: Math.min(take, maxRecords), most, stop, full }))
        yield { read, done: settle };
    } catch (raw) {
      const error = wrap(raw);
      // No message has died yet.
      if (!isBrokerError(error, "NOT_FOUND")) throw error;
    } finally {
      bound.done();
    }
  }

  /** A reader over what is there now (or up to `end`); `undefined` where no message has died yet. */
  async #reader(
    stop: AbortSignal,
    end?: ReadonlyMap<string, Place>,
  ): Promise<{ reader: CursorReader; end: ReadonlyMap<string, Place> } | undefined> {
    const topic = deadTopic(this.#topic.wire, this.#group);
    const to = end === undefined || end.size === 0 ? undefined : ({ kind: "position", cut: end } as const);
    const reader = new CursorReader(this.#wiring, { topic, from: { kind: "earliest" }, to, follow: false, stop });
    try {
      return { reader, end: await reader.open() };
    } catch (raw) {
      const error = reader.wrap(raw);
      if (isBrokerError(error, "NOT_FOUND")) return undefined;
      throw error;
    }
  }

  /** Confirmed, and stored by this act: a `duplicate` that no doubt of ours explains is published again under a new name. */
  async #store(record: WireRecord): Promise<void> {
    const lane = record.key && laneOf(record.key);
    const receipt = await this.#wiring.publish.publishRecord(record, lane, MOVE_MS);
    if (receipt.duplicate) await this.#wiring.publish.publishRecord(renamed(record), lane, MOVE_MS);
  }
}

async function* records(reader: CursorReader) {
  try {
    for (;;) {
      const { deliveries, atEnd } = await reader.next();
      yield* deliveries;
      if (atEnd) return;
    }
  } catch (raw) {
    throw reader.wrap(raw);
  } finally {
    await reader.close();
  }
}

function view(read: ReadLetter): DeadLetter {
  const { wire, id } = read;
  const facts = letterFacts(wire);
  const bytes = wire.body ?? new Uint8Array(0);
  return {
    id,
    key: wire.key === undefined ? undefined : decodeKey(wire.key),
    headers: decodeHeaders(wire.headers),
    bytes,
    json: () => {
      try {
        return jsonCodec.decode(bytes);
      } catch (cause) {
        throw new BrokerError("DECODE", `The body of the dead letter "${id}" is no JSON.`, { details: undefined, cause });
      }
    },
    reason: facts.reason,
    error: facts.error,
    attempts: facts.attempts,
    firstFailedAt: new Date(facts.firstFailedAt),
    lastFailedAt: new Date(facts.lastFailedAt),
    origin: { topic: facts.topic, group: facts.group, place: facts.place as Place | undefined },
  };
}

function checkFilter(filter: DeadLetterFilter, known: readonly string[]): void {
  checkKeys("filter", filter, known);
  checkNumber("limit", filter.limit, 1, true);
}

function matches(filter: DeadLetterFilter, letter: DeadLetter): boolean {
  if (filter.ids !== undefined && !filter.ids.includes(letter.id)) return false;
  if (filter.reason !== undefined && letter.reason !== filter.reason) return false;
  if (filter.since !== undefined && letter.lastFailedAt < filter.since) return false;
  if (filter.until !== undefined && letter.lastFailedAt >= filter.until) return false;
  return filter.where?.(letter) ?? true;
}
