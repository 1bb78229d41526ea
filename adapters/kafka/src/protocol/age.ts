import type { Cluster, Line, TopicState } from "./cluster.ts";

/** One partition and where a reader of it stands. */
export interface Standing {
  readonly topic: TopicState;
  readonly partition: number;
  readonly offset: bigint;
}

/** How many first batches, of up to a megabyte each as a rule, are held at once. */
const AT_ONCE = 16;
const CONTROL = 0x20;
const APPEND_TIME = 0x08;

/** When the oldest of the records at these places was stored, epoch ms; `undefined` where none of them has a record behind it. */
export async function oldestAt(
  cluster: Cluster,
  places: readonly Standing[],
  isolation: 0 | 1,
  signal: AbortSignal,
): Promise<number | undefined> {
  const line = cluster.line();
  const waiting = [...places];
  let oldest: number | undefined;
  const work = async (): Promise<void> => {
    for (let place = waiting.pop(); place !== undefined; place = waiting.pop()) {
      const at = await storedAt(line, place, isolation, signal);
      if (at !== undefined) oldest = Math.min(oldest ?? at, at);
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, places.length) }, work));
    return oldest;
  } finally {
    line.close();
  }
}

async function storedAt(
  line: Line,
  { topic, partition, offset }: Standing,
  isolation: 0 | 1,
  signal: AbortSignal,
): Promise<number | undefined> {
  // One byte means one batch: a server gives the first one whole, however large it is (KIP-74).
  const wanted = { partition, currentLeaderEpoch: -1, fetchOffset: offset, lastFetchedEpoch: -1, partitionMaxBytes: 1 };
  const topics = [{ topicId: topic.id, partitions: [wanted] }];
  const leader = topic.partitions[partition]?.leader ?? -1;
  const answer = await line.ask(leader, "Fetch", [0, 0, 1, isolation, 0, -1, topics, [], ""], signal);
  for (const batch of answer.responses[0]?.partitions[0]?.records ?? []) {
    if ((batch.attributes & CONTROL) !== 0) continue;
    if ((batch.attributes & APPEND_TIME) !== 0) return Number(batch.maxTimestamp);
    const record = batch.records.find(({ offsetDelta }) => batch.firstOffset + BigInt(offsetDelta) >= offset);
    if (record !== undefined) return Number(batch.firstTimestamp + record.timestampDelta);
  }
  return undefined;
}
