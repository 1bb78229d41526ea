import { groupIdOf } from "../mapping.ts";
import { protocolName } from "./client-error.ts";
import type { Cluster, TopicState } from "./cluster.ts";
import { askCoordinator, committedOffsets } from "./offsets.ts";
import type { Answer } from "./requests.ts";

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

/** The groups that may be a topic's, by their names and by the node that coordinates them. */
export async function namesIn(cluster: Cluster, topic: string, signal: AbortSignal): Promise<ReadonlyMap<number, readonly string[]>> {
  const prefix = groupIdOf(topic, "");
  const listed = await Promise.all(
    cluster.nodes.map(async (node) => {
      const { groups } = await cluster.ask(node, "ListGroups", [[], []], signal);
      const names = groups.map(({ groupId }) => groupId);
      return [node, names.filter((id) => id.startsWith(prefix) && /^[A-Za-z0-9_-]+$/.test(id.slice(prefix.length)))] as const;
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
