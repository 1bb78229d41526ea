import type { Cursor, Cut, ReplayRequest, WireDelivery } from "brokerkit/driver";
import { cutBefore, LATEST } from "./mapping.ts";
import type { Behaviour } from "./options.ts";
import type { Cluster } from "./protocol/cluster.ts";
import { LogReader, offsetsOf, topicNow } from "./protocol/log-reader.ts";
import { isolationLevel, type Offsets, offsetsAt } from "./protocol/offsets.ts";
import type { PartitionReader } from "./protocol/partition.ts";

/** Opens a cursor. Its end is the log's end as readers see it now, under read-committed the last stable offset, or `to` where that is before. */
export async function openCursor(
  cluster: Cluster,
  behaviour: Behaviour,
  { topic, from, to, follow, events }: ReplayRequest,
  signal: AbortSignal,
): Promise<Cursor> {
  const isolation = isolationLevel(behaviour);
  const state = await topicNow(cluster, topic, signal);
  const [latest, begin, bound] = await Promise.all([
    offsetsAt(cluster, state, LATEST, isolation, signal),
    offsetsOf(cluster, state, from, isolation, signal),
    to === undefined ? undefined : offsetsOf(cluster, state, to, isolation, signal),
  ]);
  const end: Offsets = new Map(
    state.partitions.map((_, partition) => {
      const last = latest.get(partition) ?? 0n;
      const limit = bound?.get(partition) ?? last;
      return [partition, limit < last ? limit : last];
    }),
  );
  const follows = follow && to === undefined;
  return new LogCursor(new LogReader(cluster, { topic, isolation, events }, begin, follows ? undefined : end), end, follows);
}

class LogCursor implements Cursor {
  readonly end: Cut;
  readonly #reader: LogReader;
  readonly #follow: boolean;
  /** Those that have not come to the end yet, and where that is. */
  readonly #behind: Map<PartitionReader, number>;

  constructor(reader: LogReader, end: Offsets, follow: boolean) {
    this.#reader = reader;
    this.#follow = follow;
    this.end = cutBefore(end);
    this.#behind = new Map([...reader.partitions].map((one) => [one, Number(end.get(one.partition))]));
  }

  async receive(
    max: number,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<{ readonly deliveries: readonly WireDelivery[]; readonly atEnd: boolean }> {
    const before = this.#atEnd();
    if (before && !this.#follow) return { deliveries: [], atEnd: true };
    const deliveries = await this.#reader.receive(max, waitMs, signal, () => !before && this.#atEnd());
    return { deliveries, atEnd: this.#atEnd() };
  }

  #atEnd(): boolean {
    for (const [one, end] of this.#behind) if (one.position >= end || one.exhausted) this.#behind.delete(one);
    return this.#behind.size === 0;
  }

  async close(): Promise<void> {
    this.#reader.close();
  }
}
