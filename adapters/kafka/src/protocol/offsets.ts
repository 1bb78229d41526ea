import type { WireStart } from "brokerkit/driver";
import { nextOf } from "../mapping.ts";
import { protocolName, unavailable } from "./client-error.ts";
import type { Cluster, TopicState } from "./cluster.ts";
import { named } from "./error-names.ts";
import type { MemberEpoch } from "./membership.ts";
import type { Answer, Args, RequestName } from "./requests.ts";
import { pause } from "./waiting.ts";

/** Timestamps that ask for an offset: https://kafka.apache.org/protocol#The_Messages_ListOffsets */
export const LATEST = -1n;
export const EARLIEST = -2n;

/** Offsets by partition. */
export type Offsets = ReadonlyMap<number, bigint>;
/** Offsets by topic and partition. */
export type TopicOffsets = ReadonlyMap<string, Offsets>;

/** An administrator's commits, which the coordinator takes while the group has no members. */
const NOBODY: MemberEpoch = { generation: -1, memberId: "", instanceId: null };
/** Nothing was done: the coordinator is elected, reads what the group has stored, or is elsewhere by now. */
const COMING = named("COORDINATOR_NOT_AVAILABLE COORDINATOR_LOAD_IN_PROGRESS NOT_COORDINATOR");
const LOOK_MS = 100;

export type Isolation = "read-committed" | "read-uncommitted";

/** What the protocol calls the isolation of readers. */
export function isolationLevel({ isolation }: { readonly isolation: Isolation }): 0 | 1 {
  return isolation === "read-committed" ? 1 : 0;
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

/** Where a start lies in each partition. A partition that a position does not name begins at its first offset. */
export async function offsetsOf(
  cluster: Cluster,
  topic: TopicState,
  start: WireStart,
  isolation: 0 | 1,
  signal: AbortSignal,
): Promise<Offsets> {
  if (start.kind === "position") return new Map(topic.partitions.map((_, partition) => [partition, nextOf(start.cut, partition)]));
  if (start.kind === "earliest") return (await offsetsAt(cluster, topic, EARLIEST, isolation, signal)) as Offsets;
  // Asked for first: a record that is stored in between is found by its time, or is behind the end.
  const end = (await offsetsAt(cluster, topic, LATEST, isolation, signal)) as Offsets;
  if (start.kind === "latest") return end;
  const found = await offsetsAt(cluster, topic, BigInt(Math.max(0, Math.ceil(start.ms))), isolation, signal);
  return new Map([...end].map(([partition, latest]) => [partition, found.get(partition) ?? latest]));
}

/** Where reading ends: the log's end as readers see it now, under read-committed the last stable offset, or `to` where that is before. */
export async function endsOf(
  cluster: Cluster,
  topic: TopicState,
  to: WireStart | undefined,
  isolation: 0 | 1,
  signal: AbortSignal,
): Promise<Offsets> {
  const [latest, bound] = await Promise.all([
    offsetsAt(cluster, topic, LATEST, isolation, signal),
    to === undefined ? undefined : offsetsOf(cluster, topic, to, isolation, signal),
  ]);
  return new Map(
    [...latest].map(([partition, last = 0n]) => {
      const limit = bound?.get(partition) ?? last;
      return [partition, limit < last ? limit : last];
    }),
  );
}

/** What a group has committed of one partition. */
export interface Commit {
  readonly offset: bigint;
  /** What the committer left beside it. */
  readonly note: string | null | undefined;
}

/** What a group has committed, of these topics or of all. What is missing has no commit. Waits for transactions that commit offsets. */
export async function commitsOf(
  cluster: Cluster,
  groupId: string,
  topics: readonly TopicState[] | undefined,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, ReadonlyMap<number, Commit>>> {
  const asked = topics?.map(({ name, partitions }) => ({ name, partitionIndexes: [...partitions.keys()] })) ?? null;
  const group = { groupId, memberId: null, memberEpoch: -1, topics: asked };
  const answer = await askCoordinator(cluster, groupId, "OffsetFetch", [[group], true], signal);
  const found = new Map<string, ReadonlyMap<number, Commit>>();
  for (const { name, partitions } of answer.groups[0]?.topics ?? []) {
    const committed = partitions.filter(({ committedOffset }) => committedOffset >= 0n);
    const commits = committed.map(({ partitionIndex, committedOffset, metadata }) => {
      return [partitionIndex, { offset: committedOffset, note: metadata }] as const;
    });
    if (commits.length > 0) found.set(name, new Map(commits));
  }
  return found;
}

/** The offsets of `commitsOf`. */
export async function committedOffsets(...asked: Parameters<typeof commitsOf>): Promise<TopicOffsets> {
  const commits = await commitsOf(...asked);
  return new Map([...commits].map(([name, found]) => [name, new Map([...found].map(([partition, { offset }]) => [partition, offset]))]));
}

/** Commits all or nothing. Rejects where the committer is not, or no longer, who may do it. `noteOf`: what to leave beside an offset. */
export async function commitOffsets(
  cluster: Cluster,
  groupId: string,
  offsets: TopicOffsets,
  signal: AbortSignal,
  { generation, memberId, instanceId }: MemberEpoch = NOBODY,
  noteOf: (partition: number) => string | undefined = () => undefined,
): Promise<void> {
  const topics = [...offsets].map(([name, partitions]) => ({
    name,
    partitions: [...partitions].map(([partitionIndex, committedOffset]) => ({
      partitionIndex,
      committedOffset,
      committedLeaderEpoch: -1,
      committedMetadata: noteOf(partitionIndex) ?? null,
    })),
  }));
  await askCoordinator(cluster, groupId, "OffsetCommit", [groupId, generation, memberId, instanceId, topics], signal);
}
