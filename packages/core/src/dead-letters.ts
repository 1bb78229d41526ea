import { unsupported } from "./capability/unsupported.ts";
import { decodeHeaders } from "./codec/headers.ts";
import { jsonCodec } from "./codec/json.ts";
import { decodeKey, laneOf } from "./codec/key.ts";
import { Fold } from "./dead-letter/fold.ts";
import { deadTopic, letterFacts, markerRecord, type ReadLetter, redriveRecord, renamed } from "./dead-letter/letter.ts";
import type { BoundTopic } from "./definition.ts";
import type { Place, WireRecord } from "./driver/wire.ts";
import { BrokerError, isBrokerError } from "./errors.ts";
import { checkKeys, checkNumber } from "./options.ts";
import { sleep } from "./primitives/sleep.ts";
import type { PublishLine } from "./publish.ts";
import { CursorReader, type ReplayWiring } from "./replay.ts";
import type { DeadLetter, DeadLetterFilter, DeadLetters, Stream } from "./surface.ts";

export interface DeadLettersWiring extends ReplayWiring {
  readonly publish: PublishLine;
}

const FILTER = ["ids", "reason", "since", "until", "where", "limit"] as const;
const MOVE_MS = 30_000;

/** One group's dead letters: a topic of its own, read by bounded replays and folded by id. */
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
    for await (const { read } of this.#matching(filter, stop)) {
      matched++;
      if (dryRun) continue;
      if (perSecond !== undefined)
        await sleep(this.#wiring.clock, began + (moved * 1_000) / perSecond - this.#wiring.clock.monotonic(), stop);
      if (stop.aborted) break;
      // One after the other: the order among the redriven stays, and a crash between the two leaves at most one of them twice.
      await this.#store(redriveRecord(read, this.#topic.wire, this.#group));
      await this.#store(markerRecord(read, this.#topic.wire, this.#group, "redriven", this.#wiring.clock.now()));
      moved++;
    }
    return { matched, moved };
  }

  async purge(filter: DeadLetterFilter): Promise<number> {
    checkFilter(filter, FILTER);
    let purged = 0;
    for await (const { read } of this.#matching(filter, new AbortController().signal)) {
      await this.#store(markerRecord(read, this.#topic.wire, this.#group, "purged", this.#wiring.clock.now()));
      purged++;
    }
    return purged;
  }

  async *#matching(filter: DeadLetterFilter, stop: AbortSignal): AsyncGenerator<{ letter: DeadLetter; read: ReadLetter }, void, void> {
    const { adapter } = this.#wiring;
    await this.#topic.ready();
    if (!this.#topic.capabilities.from.replay.includes("earliest")) throw unsupported("deadLetter.list", adapter, this.#topic.name);
    const fold = new Fold();
    const first = await this.#reader(stop);
    if (first === undefined) return;
    const { reader, end } = first;
    for await (const wire of records(reader)) fold.learn(wire);
    const second = await this.#reader(stop, end);
    if (second === undefined) return;
    let yielded = 0;
    for await (const wire of records(second.reader)) {
      const read = fold.stands(wire);
      if (read === undefined || stop.aborted) continue;
      const letter = view(read);
      if (!matches(filter, letter)) continue;
      yield { letter, read };
      if (++yielded === filter.limit) break;
    }
    await second.reader.close();
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
