import { protocolName } from "../errors.ts";
import { type Answer, type Cluster, METADATA_MS, type TopicState } from "./cluster.ts";
import { askCoordinator, committedOffsets, EARLIEST, offsetsAt, pause } from "./offsets.ts";

const LOOK_MS = 20;

/** Resolves to what these names are, once `settled` agrees: servers learn of topics that come and go one after the other. */
export async function topicsOnce(
  cluster: Cluster,
  names: readonly string[],
  settled: (state: TopicState | undefined) => boolean,
  signal: AbortSignal,
): Promise<void> {
  for (let wait = LOOK_MS; ; wait = Math.min(wait * 2, METADATA_MS)) {
    const states = await cluster.topics(names, signal, 0);
    if ([...states.values()].every(settled)) return;
    await pause(cluster, wait, signal);
  }
}

/** What a leader answers that is one in name only so far. */
const BECOMING: ReadonlySet<string> = new Set(["NOT_LEADER_OR_FOLLOWER", "UNKNOWN_TOPIC_OR_PARTITION", "LEADER_NOT_AVAILABLE"]);

/** Resolves to a topic that was just made when each of its partitions has a leader that leads. */
export async function topicLed(cluster: Cluster, name: string, signal: AbortSignal): Promise<TopicState> {
  for (;;) {
    const state = (await cluster.topics([name], signal, 0)).get(name);
    if (state !== undefined && state.partitions.length > 0 && (await leads(cluster, state, signal))) return state;
    await pause(cluster, LOOK_MS, signal);
  }
}

async function leads(cluster: Cluster, state: TopicState, signal: AbortSignal): Promise<boolean> {
  if (state.partitions.some(({ leader }) => leader < 0)) return false;
  try {
    await offsetsAt(cluster, state, EARLIEST, 0, signal);
  } catch (error) {
    if (signal.aborted) throw error;
    // Who may create a topic need not be allowed to look into it.
    return !BECOMING.has(protocolName(error) ?? "");
  }
  return true;
}

/** Who is in a group, as its coordinator names them: client and host. Both protocols' groups are asked for. */
export async function membersOf(cluster: Cluster, groupId: string, signal: AbortSignal): Promise<readonly string[]> {
  const classic = await askCoordinator(cluster, groupId, "DescribeGroups", [[groupId], false], signal);
  const names = (members: readonly { readonly clientId: string; readonly clientHost: string }[] = []): string[] =>
    members.map(({ clientId, clientHost }) => `${clientId} (${clientHost.replace(/^\//, "")})`);
  const found = names(classic.groups[0]?.members);
  if (found.length > 0 || !cluster.knows("ConsumerGroupDescribe")) return found;
  try {
    const modern = await askCoordinator(cluster, groupId, "ConsumerGroupDescribe", [[groupId], false], signal);
    return names(modern.groups[0]?.members);
  } catch (error) {
    if (protocolName(error) === "GROUP_ID_NOT_FOUND") return [];
    throw error;
  }
}

/** The groups whose names fit, by the node that coordinates them. */
export async function groupsLike(
  cluster: Cluster,
  fits: (groupId: string) => boolean,
  signal: AbortSignal,
): Promise<ReadonlyMap<number, readonly string[]>> {
  const listed = await Promise.all(
    cluster.nodes.map(async (node) => {
      const { groups } = await cluster.ask(node, "ListGroups", [[], []], signal);
      return [node, groups.map(({ groupId }) => groupId).filter(fits)] as const;
    }),
  );
  return new Map(listed);
}

/** Those of these groups that have committed something on a topic. */
export async function groupsOf(
  cluster: Cluster,
  { name, partitions }: TopicState,
  candidates: ReadonlyMap<number, readonly string[]>,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const topics = [{ name, partitionIndexes: [...partitions.keys()] }];
  const answers = await Promise.all(
    [...candidates].map(async ([node, groupIds]): Promise<Answer<"OffsetFetch">["groups"]> => {
      if (groupIds.length === 0) return [];
      const groups = groupIds.map((groupId) => ({ groupId, memberId: null, memberEpoch: -1, topics }));
      return (await cluster.ask(node, "OffsetFetch", [groups, false], signal)).groups;
    }),
  );
  const committed = answers.flat().filter((group) => group.topics.some((one) => one.partitions.some((p) => p.committedOffset >= 0n)));
  return committed.map(({ groupId }) => groupId).sort();
}

/**
 * Removes what a group has committed on these topics, and the group itself where it has nothing else: an application may use one group for
 * many topics. Rejects `NON_EMPTY_GROUP` or `GROUP_SUBSCRIBED_TO_TOPIC` where it has members; a group that is not there is no error.
 */
export async function dropGroup(cluster: Cluster, groupId: string, names: readonly string[], signal: AbortSignal): Promise<void> {
  const committed = await committedOffsets(cluster, groupId, undefined, signal);
  const ours = [...committed].filter(([name]) => names.includes(name));
  try {
    if (ours.length === committed.size) {
      await askCoordinator(cluster, groupId, "DeleteGroups", [[groupId]], signal);
    } else if (ours.length > 0) {
      const topics = ours.map(([name, offsets]) => ({
        name,
        partitions: [...offsets.keys()].map((partitionIndex) => ({ partitionIndex })),
      }));
      await askCoordinator(cluster, groupId, "OffsetDelete", [groupId, topics], signal);
    }
  } catch (error) {
    if (protocolName(error) !== "GROUP_ID_NOT_FOUND") throw error;
  }
}
