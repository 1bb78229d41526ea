import type { Cursor, Cut, ReplayRequest, WireDelivery, WireStart } from "brokerkit/driver";
import type { Session } from "./client.ts";
import { cutAt, sequenceOf } from "./mapping.ts";
import { policyOf } from "./protocol/api.ts";
import { StreamReader } from "./protocol/reader.ts";

export async function openCursor(
  session: Session,
  { topic, from, to, follow, events }: ReplayRequest,
  signal: AbortSignal,
): Promise<Cursor> {
  const reader = await StreamReader.open(session, topic, from, events, signal);
  try {
    let end = reader.end;
    if (to?.kind === "position") end = Math.min(end, sequenceOf(to.cut));
    else if (to?.kind === "time") end = Math.min(end, await sequenceBefore(session, session.names(topic).stream, to, signal));
    return new StreamCursor(reader, end, follow && to === undefined, session);
  } catch (error) {
    await reader.close();
    throw error;
  }
}

class StreamCursor implements Cursor {
  readonly end: Cut;
  readonly #reader: StreamReader;
  readonly #until: number;
  readonly #follow: boolean;
  readonly #session: Session;
  #atEnd: boolean;

  constructor(reader: StreamReader, until: number, follow: boolean, session: Session) {
    this.#reader = reader;
    this.#until = until;
    this.#follow = follow;
    this.#session = session;
    this.end = cutAt(until);
    this.#atEnd = reader.last >= until;
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
    if (until !== undefined) this.#atEnd = this.#reader.exhausted || this.#reader.last >= until;
    return { deliveries, atEnd: this.#atEnd };
  }

  close(): Promise<void> {
    return this.#reader.close();
  }
}

/** The last sequence before a time. A consumer that starts there knows it. */
async function sequenceBefore(session: Session, stream: string, at: WireStart, signal: AbortSignal): Promise<number> {
  const { name, delivered } = await session.api.createReader(stream, 1_000, policyOf(at, 0), signal);
  await session.api.deleteConsumer(stream, name, signal);
  return delivered.stream_seq;
}
