import type { WireStart } from "brokerkit/driver";
import { protocolName, unavailable } from "../errors.ts";
import { EARLIEST, LATEST, timestampOf } from "../mapping.ts";
import type { Behaviour } from "../options.ts";
import type { Answer, Args, Cluster, RequestName, TopicState } from "./cluster.ts";

export { EARLIEST, LATEST };

/** Offsets by partition. */
export type Offsets = ReadonlyMap<number, bigint>;
/** Offsets by topic and partition. */
export type TopicOffsets = ReadonlyMap<string, Offsets>;

/** Whose commits these are. Left out, they are an administrator's, which the coordinator takes while the group has no members. */
export interface Committer {
  readonly generation: number;
  readonly memberId: string;
  readonly instanceId: string | null;
}

const NOBODY: Committer = { generation: -1, memberId: "", instanceId: null };
/** Nothing was done: the coordinator is elected, reads what the group has stored, or is elsewhere by now. */
const COMING: ReadonlySet<string> = new Set(["COORDINATOR_NOT_AVAILABLE", "COORDINATOR_LOAD_IN_PROGRESS", "NOT_COORDINATOR"]);
const LOOK_MS = 100;

/** What the protocol calls the isolation of readers. */
export function isolationLevel({ isolation }: Pick<Behaviour, "isolation">): 0 | 1 {
  return isolation === "read-committed" ? 1 : 0;
}

/** Resolves after `ms`, or rejects with the signal's reason. */
export function pause(cluster: Cluster, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const abort = (): void => {
      timer.cancel();
      reject(signal.reason);
    };
    const timer = cluster.clock.timer(ms, () => {
      signal.removeEventListener("abort", abort);
      resolve();
    });
    signal.addEventListener("abort", abort, { once: true });
  });
}

/** Asks a group's coordinator. While there is none yet, as in a new cluster or after a restart, it waits for it until the signal aborts. */
export async function askCoordinator<N extends RequestName>(
  cluster: Cluster,
  groupId: string,
  name: N,
  args: Args<N>,
  signal: AbortSignal,
): Promise<Answer<N>> {
  for (;;) {
    try {
      return await cluster.ask(await cluster.coordinator(groupId, signal), name, args, signal);
    } catch (error) {
      const reason = protocolName(error);
      const coming = reason !== undefined && COMING.has(reason);
      if (coming || reason === undefined) cluster.coordinatorMoved(groupId);
      if (!coming) throw error;
    }
    await pause(cluster, LOOK_MS, signal);
  }
}

/**
 * Where each partition of a topic stands for a timestamp: the first offset at or after it, `undefined` where there is none; `LATEST` and
 * `EARLIEST` always have one. All leaders are asked at once. With isolation 1 the latest is the end of what is committed.
 */
export async function offsetsAt(
  cluster: Cluster,
  { name, partitions }: TopicState,
  timestamp: bigint,
  isolation: 0 | 1,
  signal: AbortSignal,
): Promise<ReadonlyMap<number, bigint | undefined>> {
  const byLeader = Map.groupBy(partitions.keys(), (partition) => partitions[partition]?.leader ?? -1);
  if (byLeader.has(-1)) {
    cluster.stale(name);
    throw unavailable(`Partition ${byLeader.get(-1)?.[0]} of the topic "${name}" has no leader at the moment.`);
  }
  const found = new Map<number, bigint | undefined>();
  try {
    await Promise.all(
      [...byLeader].map(async ([leader, led]) => {
        const asked = led.map((partitionIndex) => ({ partitionIndex, currentLeaderEpoch: -1, timestamp }));
        const answer = await cluster.ask(leader, "ListOffsets", [-1, isolation, [{ name, partitions: asked }]], signal);
        for (const { partitionIndex, offset } of answer.topics[0]?.partitions ?? []) {
          found.set(partitionIndex, offset < 0n ? undefined : offset);
        }
      }),
    );
  } catch (error) {
    cluster.stale(name);
    throw error;
  }
  return found;
}

/** The first and the next offset of each partition. */
export async function bounds(
  cluster: Cluster,
  topic: TopicState,
  isolation: 0 | 1,
  signal: AbortSignal,
): Promise<{ readonly first: Offsets; readonly end: Offsets }> {
  const [first, end] = await Promise.all([EARLIEST, LATEST].map((timestamp) => offsetsAt(cluster, topic, timestamp, isolation, signal)));
  return { first: first as Offsets, end: end as Offsets };
}

/** The offset to read first in each partition. */
export async function startOffsets(
  cluster: Cluster,
  topic: TopicState,
  start: Exclude<WireStart, { kind: "position" }>,
  isolation: 0 | 1,
  signal: AbortSignal,
): Promise<Offsets> {
  if (start.kind !== "time") return (await offsetsAt(cluster, topic, timestampOf(start), isolation, signal)) as Offsets;
  // Asked for first: a record that is stored in between is found by its time, or is behind the end.
  const end = await offsetsAt(cluster, topic, LATEST, isolation, signal);
  const found = await offsetsAt(cluster, topic, timestampOf(start), isolation, signal);
  return new Map([...end].map(([partition, latest]) => [partition, found.get(partition) ?? latest ?? 0n]));
}

/** What a group has committed, of these topics or of all. What is missing has no commit. Waits for transactions that commit offsets. */
export async function committedOffsets(
  cluster: Cluster,
  groupId: string,
  topics: readonly TopicState[] | undefined,
  signal: AbortSignal,
): Promise<TopicOffsets> {
  const asked = topics?.map(({ name, partitions }) => ({ name, partitionIndexes: [...partitions.keys()] })) ?? null;
  const group = { groupId, memberId: null, memberEpoch: -1, topics: asked };
  const answer = await askCoordinator(cluster, groupId, "OffsetFetch", [[group], true], signal);
  const found = new Map<string, Offsets>();
  for (const { name, partitions } of answer.groups[0]?.topics ?? []) {
    const committed = partitions.filter(({ committedOffset }) => committedOffset >= 0n);
    if (committed.length > 0) found.set(name, new Map(committed.map((one) => [one.partitionIndex, one.committedOffset])));
  }
  return found;
}

/** Commits all or nothing. Rejects where the committer is not, or no longer, who may do it. */
export async function commitOffsets(
  cluster: Cluster,
  groupId: string,
  offsets: TopicOffsets,
  signal: AbortSignal,
  { generation, memberId, instanceId }: Committer = NOBODY,
): Promise<void> {
  const topics = [...offsets].map(([name, partitions]) => ({
    name,
    partitions: [...partitions].map(([partitionIndex, committedOffset]) => ({
      partitionIndex,
      committedOffset,
      committedLeaderEpoch: -1,
      committedMetadata: null,
    })),
  }));
  await askCoordinator(cluster, groupId, "OffsetCommit", [groupId, generation, memberId, instanceId, topics], signal);
}
