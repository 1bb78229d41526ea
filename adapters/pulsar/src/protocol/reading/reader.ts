import type { Place, ReplayRequest, Shard, SubscriptionEvents, WireStart } from "brokerkit/driver";
import type { Session } from "../../client.ts";
import { ended } from "../../errors.ts";
import { compareSpots, idOfSpot, placeOf, type Spot, spotsOf } from "../../mapping.ts";
import type { MessageId, StartPoint, TransportConsumer } from "../../transport.ts";
import { endsOf, nobody } from "./ends.ts";
import { PulsarDelivery } from "./message.ts";

const CREDIT = 1_000;
/** Behind nothing at all: where a partition that was empty begins. */
const NOWHERE: Spot = { ledger: 0, entry: -1, index: Number.POSITIVE_INFINITY };

type Events = Pick<SubscriptionEvents, "dataLoss">;
interface Loss {
  readonly shard: string;
  readonly from: Place;
  readonly to: Place;
}

/** Reads a topic without a group. */
export class Reader {
  /** "latest" as it was when it opened, so that a reader whose connection broke misses nothing. */
  readonly start: ReadonlyMap<number, Spot> | undefined;
  readonly #session: Session;
  readonly #events: Events;
  readonly #shards = new Map<number, Shard>();
  #losses: readonly Loss[];
  #consumer: TransportConsumer | undefined;
  #dead: unknown;
  #closed = false;

  constructor(session: Session, events: Events, start: ReadonlyMap<number, Spot> | undefined, losses: readonly Loss[]) {
    this.#session = session;
    this.#events = events;
    this.start = start;
    this.#losses = losses;
  }

  async open(topic: string, from: WireStart, ends: ReadonlyMap<number, Spot>, signal: AbortSignal): Promise<void> {
    const session = this.#session;
    const closed = (error: unknown): void => {
      this.#dead = ended("reader", error);
    };
    const options = { topic: session.full(topic), ...nobody(), from: startPoint(from, ends), credit: CREDIT, events: { closed } };
    this.#consumer = await session.transport().consumer(options, signal);
    session.readers.add(this);
  }

  /** Up to `max` messages; rejects once its connection is gone, or with what can't be read. */
  async read(max: number, waitMs: number, signal: AbortSignal): Promise<PulsarDelivery[]> {
    for (const { shard, from, to } of this.#losses) this.#events.dataLoss(shard, from, to, undefined);
    this.#losses = [];
    if (this.#closed) return [];
    if (this.#dead !== undefined) throw this.#dead;
    try {
      const messages = (await this.#consumer?.receive(max, waitMs, signal)) ?? [];
      for (const message of messages) if (message.gapAfter !== undefined) this.#missed(message.id, message.gapAfter);
      return messages.map((message) => new PulsarDelivery(this.#shard(message.id.partition), false, message));
    } catch (error) {
      if (this.#closed) return [];
      throw this.#dead ?? error;
    }
  }

  /** Retention has taken what was between two messages. */
  #missed({ partition, ledger, entry }: MessageId, after: MessageId): void {
    const shard = String(partition);
    const whole = Number.POSITIVE_INFINITY;
    const from = placeOf(shard, { ledger: after.ledger, entry: after.entry, index: whole });
    this.#events.dataLoss(shard, from, placeOf(shard, { ledger, entry: entry - 1, index: whole }), undefined);
  }

  /** Up to where nothing more comes of each partition; `undefined` where the signal or a close came before the answer. */
  async floors(signal: AbortSignal): Promise<ReadonlyMap<number, Spot> | undefined> {
    try {
      const ids = (await this.#consumer?.floors(signal)) ?? [];
      return new Map(ids.map(({ partition, ledger, entry }) => [partition, { ledger, entry, index: Number.POSITIVE_INFINITY }]));
    } catch (error) {
      if (this.#closed || signal.aborted) return undefined;
      throw this.#dead ?? error;
    }
  }

  #shard(partition: number): Shard {
    const known = this.#shards.get(partition);
    if (known !== undefined) return known;
    const shard: Shard = { id: String(partition) };
    this.#shards.set(partition, shard);
    return shard;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#session.readers.delete(this);
    await this.#consumer?.close();
  }
}

export async function openReader(
  session: Session,
  { topic, from, events }: Pick<ReplayRequest, "topic" | "from" | "events">,
  signal: AbortSignal,
  known?: ReadonlyMap<number, Spot>,
): Promise<Reader> {
  const parts = await session.parts(topic, signal);
  const latest = from.kind === "latest";
  const ends = known ?? (latest ? await endsOf(session, topic, signal) : new Map<number, Spot>());
  const losses = from.kind === "position" ? await lossesOf(session, parts, spotsOf(from.cut), signal) : [];
  const start = latest ? new Map(parts.map((_, n) => [n, ends.get(n) ?? NOWHERE])) : undefined;
  const reader = new Reader(session, events, start, losses);
  await reader.open(topic, from, ends, signal);
  return reader;
}

/** Retention takes whole ledgers from the front: a start in one that is gone is a loss, as nobody knows what came behind it. */
async function lossesOf(
  session: Session,
  parts: readonly string[],
  spots: ReadonlyMap<number, Spot>,
  signal: AbortSignal,
): Promise<Loss[]> {
  if (!session.administered) return [];
  const losses = [...spots].map(async ([partition, spot]): Promise<Loss[]> => {
    const part = parts[partition];
    if (part === undefined || compareSpots(spot, NOWHERE) <= 0) return [];
    const first = (await session.rest.internalStats(part, signal)).ledgers[0];
    if (first === undefined || first.ledgerId <= spot.ledger) return [];
    const shard = String(partition);
    const behind = { ledger: first.ledgerId, entry: -1, index: Number.POSITIVE_INFINITY };
    return [{ shard, from: placeOf(shard, spot), to: placeOf(shard, behind) }];
  });
  return (await Promise.all(losses)).flat();
}

/** Where a reader begins. `ends`: the last messages as of now, behind which "latest" is. */
function startPoint(from: WireStart, ends: ReadonlyMap<number, Spot>): StartPoint {
  if (from.kind === "earliest" || from.kind === "time") return from;
  const spots = from.kind === "latest" ? ends : spotsOf(from.cut);
  return { kind: "after", ids: [...spots].map(([partition, spot]) => idOfSpot(partition, spot)) };
}
