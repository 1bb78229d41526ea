import type { Cursor, Cut, ReplayRequest, WireDelivery } from "brokerkit/driver";
import type { Session } from "./client.ts";
import { cutAt, LogReader, offsetIn } from "./protocol/log.ts";

const HEEDLESS = { dataLoss: (): void => {} };

export async function openCursor(
  session: Session,
  { topic, from, to, follow, events }: ReplayRequest,
  signal: AbortSignal,
): Promise<Cursor> {
  const reader = await LogReader.open(session, topic, from, events, signal);
  try {
    let until = reader.end;
    if (to?.kind === "position") until = Math.min(until, offsetIn(to.cut));
    else if (to?.kind === "time") {
      const behind = await LogReader.open(session, topic, to, HEEDLESS, signal);
      until = Math.min(until, offsetIn(behind.start));
      await behind.close();
    }
    return new LogCursor(reader, until, follow && to === undefined);
  } catch (error) {
    await reader.close();
    throw error;
  }
}

/** The end of a topic's log. */
export async function endOf(session: Session, topic: string, signal: AbortSignal): Promise<Cut> {
  const reader = await LogReader.open(session, topic, { kind: "latest" }, HEEDLESS, signal);
  await reader.close();
  return cutAt(reader.end);
}

class LogCursor implements Cursor {
  readonly end: Cut;
  readonly #reader: LogReader;
  readonly #until: number;
  readonly #follow: boolean;
  #atEnd: boolean;

  constructor(reader: LogReader, until: number, follow: boolean) {
    this.#reader = reader;
    this.#until = until;
    this.#follow = follow;
    this.end = cutAt(until);
    this.#atEnd = reader.last >= until;
  }

  async receive(
    max: number,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<{ readonly deliveries: readonly WireDelivery[]; readonly atEnd: boolean }> {
    if (this.#atEnd && !this.#follow) return { deliveries: [], atEnd: true };
    const until = this.#follow ? undefined : this.#until;
    const deliveries = await this.#reader.read(max, waitMs, signal, until);
    this.#atEnd ||= this.#reader.last >= this.#until;
    return { deliveries, atEnd: this.#atEnd };
  }

  close(): Promise<void> {
    return this.#reader.close();
  }
}
