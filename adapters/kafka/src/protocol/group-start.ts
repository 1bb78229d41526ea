import type { WireStart } from "brokerkit/driver";
import { protocolName } from "./client-error.ts";
import type { Cluster } from "./cluster.ts";
import { named } from "./error-names.ts";
import { type Assigned, keyOf, type MemberEpoch } from "./membership.ts";
import { commitOffsets, commitsOf, committedOffsets, EARLIEST, offsetsAt, offsetsOf } from "./offsets.ts";
import { Ranges } from "./ranges.ts";
import { topicNow } from "./topics.ts";
import { pause } from "./waiting.ts";

const LOOK_MS = 25;
/** The group moves on; whose turn it is then to commit its start is seen at the next look. */
const MOVING = named("ILLEGAL_GENERATION STALE_MEMBER_EPOCH REBALANCE_IN_PROGRESS UNKNOWN_MEMBER_ID UNKNOWN_TOPIC_OR_PARTITION");

export interface GroupStart {
  readonly groupId: string;
  readonly topic: string;
  /** Where a new group begins. */
  readonly from: WireStart;
  readonly isolation: 0 | 1;
}

/**
 * Sees to it that the group has a start. The owner of the topic's first partition commits it for all of them, the others wait for that.
 * `owner`: what this member commits under while it is that owner. Resolves to whether it was this member that made the start.
 */
export async function startGroup(
  cluster: Cluster,
  { groupId, topic, from, isolation }: GroupStart,
  owner: () => MemberEpoch | undefined,
  signal: AbortSignal,
): Promise<boolean> {
  for (;;) {
    const state = await topicNow(cluster, topic, signal);
    // Before the commits are read: what another owner commits meanwhile must not be overwritten, and is not under an epoch that is over.
    const epoch = owner();
    const committed = await committedOffsets(cluster, groupId, [state], signal);
    if (committed.has(topic)) return false;
    if (epoch !== undefined) {
      const offsets = await offsetsOf(cluster, state, from, isolation, signal);
      try {
        await commitOffsets(cluster, groupId, new Map([[topic, offsets]]), signal, epoch);
        return true;
      } catch (error) {
        if (!MOVING.has(protocolName(error) ?? "")) throw error;
      }
    }
    await pause(cluster, LOOK_MS, signal);
  }
}

/** Where to read a partition, and what of it is over already. */
export interface Start {
  readonly from: number;
  readonly over: Ranges;
}

/**
 * Where to read partitions: behind what is committed. A partition without a commit is newer than the group's start. Those that no server
 * knows of yet are missing.
 */
export async function startsOf(
  cluster: Cluster,
  { groupId, isolation }: GroupStart,
  partitions: readonly Assigned[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, Start>> {
  // What is assigned exists, perhaps since a moment ago: what was known before does not count.
  const states = await cluster.topics([...new Set(partitions.map(({ topic }) => topic))], signal, 0);
  const present = [...states.values()].filter((state) => state !== undefined);
  const committed = await commitsOf(cluster, groupId, present, signal);
  const found = new Map<string, Start>();
  for (const state of present) {
    const mine = partitions.filter(({ topic }) => topic === state.name);
    const known = committed.get(state.name);
    const first = mine.every(({ partition }) => known?.has(partition) === true)
      ? undefined
      : await offsetsAt(cluster, state, EARLIEST, isolation, signal);
    for (const { partition } of mine) {
      const commit = known?.get(partition);
      const from = Number(commit?.offset ?? first?.get(partition) ?? 0n);
      found.set(keyOf({ topic: state.name, partition }), { from, over: Ranges.parse(commit?.note, from) });
    }
  }
  return found;
}
