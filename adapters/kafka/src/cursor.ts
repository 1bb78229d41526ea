import type { Cursor, Cut, ReplayRequest, WireDelivery } from "brokerkit/driver";
import { cutBefore } from "./mapping.ts";
import type { Behaviour } from "./options.ts";
import type { Cluster } from "./protocol/cluster.ts";
import { LogReader } from "./protocol/log-reader.ts";
import { endsOf, isolationLevel, offsetsOf } from "./protocol/offsets.ts";
import { topicNow } from "./protocol/topics.ts";

/** Opens a cursor. Its end is the log's end as readers see it now, under read-committed the last stable offset, or `to` where that is before. */
export async function openCursor(
  cluster: Cluster,
  behaviour: Behaviour,
  { topic, from, to, follow, events }: ReplayRequest,
  signal: AbortSignal,
): Promise<Cursor> {
  const isolation = isolationLevel(behaviour);
  const state = await topicNow(cluster, topic, signal);
  const [end, begin] = await Promise.all([
    endsOf(cluster, state, to, isolation, signal),
    offsetsOf(cluster, state, from, isolation, signal),
  ]);
  const follows = follow && to === undefined;
  return new LogCursor(new LogReader(cluster, { topic, isolation, events, end, follows }, begin), cutBefore(end), follows);
}

class LogCursor implements Cursor {
  readonly end: Cut;
  readonly #reader: LogReader;
  readonly #follows: boolean;

  constructor(reader: LogReader, end: Cut, follows: boolean) {
    this.#reader = reader;
    this.end = end;
    this.#follows = follows;
  }

  async receive(
    max: number,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<{ readonly deliveries: readonly WireDelivery[]; readonly atEnd: boolean }> {
    const reader = this.#reader;
    const before = reader.atEnd;
    if (before && !this.#follows) return { deliveries: [], atEnd: true };
    const deliveries = await reader.receive(max, waitMs, signal, () => !before && reader.atEnd);
    return { deliveries, atEnd: reader.atEnd };
  }

  async close(): Promise<void> {
    this.#reader.close();
  }
}
