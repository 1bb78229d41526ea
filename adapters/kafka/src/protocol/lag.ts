import type { WireLag } from "brokerkit/driver";
import type { Cluster, TopicState } from "./cluster.ts";
import type { Line } from "./line.ts";
import { bounds, type TopicOffsets } from "./offsets.ts";

/** One partition and where a reader of it stands. */
interface Standing {
  readonly topic: TopicState;
  readonly partition: number;
  readonly offset: bigint;
}

/** How many first batches, of up to a megabyte each as a rule, are held at once. */
const AT_ONCE = 16;
const CONTROL = 0x20;
const APPEND_TIME = 0x08;

/**
 * How far these commits are behind the topics' ends. What a transaction holds back that nobody ends waits as well, so the ends are those of
 * readers of everything.
 */
export async function lagOf(
  cluster: Cluster,
  topics: readonly TopicState[],
  committed: TopicOffsets,
  signal: AbortSignal,
): Promise<WireLag> {
  let count = 0n;
  const behind: Standing[] = [];
  for (const topic of topics) {
    const { first, end } = await bounds(cluster, topic, 0, signal);
    for (const [partition, latest] of end) {
      const kept = first.get(partition) ?? 0n;
      let offset = committed.get(topic.name)?.get(partition) ?? kept;
      // What retention has taken waits for nobody.
      if (offset < kept) offset = kept;
      if (offset >= latest) continue;
      count += latest - offset;
      behind.push({ topic, partition, offset });
    }
  }
  const oldest = await oldestAt(cluster, behind, signal);
  const oldestMs = Number.isFinite(oldest) ? Math.max(0, cluster.clock.now() - oldest) : undefined;
  return { count: Number(count), inFlight: undefined, oldestMs: behind.length === 0 ? 0 : oldestMs };
}

/** When the oldest of the records at these places was stored, epoch ms; `Infinity` where none of them has a record behind it. */
async function oldestAt(cluster: Cluster, places: readonly Standing[], signal: AbortSignal): Promise<number> {
  const line = cluster.line();
  let oldest = Number.POSITIVE_INFINITY;
  try {
    for (let n = 0; n < places.length; n += AT_ONCE) {
      const times = await Promise.all(places.slice(n, n + AT_ONCE).map((place) => storedAt(line, place, signal)));
      oldest = Math.min(oldest, ...times);
    }
    return oldest;
  } finally {
    line.close();
  }
}

async function storedAt(line: Line, { topic, partition, offset }: Standing, signal: AbortSignal): Promise<number> {
  // One byte means one batch: a server gives the first one whole, however large it is (KIP-74).
  const wanted = { partition, currentLeaderEpoch: -1, fetchOffset: offset, lastFetchedEpoch: -1, partitionMaxBytes: 1 };
  const topics = [{ topicId: topic.id, partitions: [wanted] }];
  const leader = topic.partitions[partition]?.leader ?? -1;
  const answer = await line.ask(leader, "Fetch", [0, 0, 1, 0, 0, -1, topics, [], ""], signal);
  for (const batch of answer.responses[0]?.partitions[0]?.records ?? []) {
    if ((batch.attributes & CONTROL) !== 0) continue;
    if ((batch.attributes & APPEND_TIME) !== 0) return Number(batch.maxTimestamp);
    const record = batch.records.find(({ offsetDelta }) => batch.firstOffset + BigInt(offsetDelta) >= offset);
    if (record !== undefined) return Number(batch.firstTimestamp + record.timestampDelta);
  }
  return Number.POSITIVE_INFINITY;
}
