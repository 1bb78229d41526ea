import { type Cluster, REQUEST_MS, type TopicState } from "./cluster.ts";
import { topicLed } from "./groups.ts";
import { readSettings } from "./settings.ts";

const LIMIT = "max.message.bytes";
/** Room for the headers that a message gets on its way through an inbox. */
const SLACK = 1_024;

/**
 * Creates the inbox of a group beside its topic, as safe as the topic itself (as many copies, as many of them in sync), and resolves when
 * all of it is served. Safe to repeat, and from several places at once. Rejects with the raw error or the signal's reason.
 */
export async function createInbox(cluster: Cluster, topic: TopicState, inbox: string, signal: AbortSignal): Promise<TopicState> {
  const bound = AbortSignal.any([signal, AbortSignal.timeout(REQUEST_MS)]);
  const [replicationFactor, inherited] = await Promise.all([copiesOf(cluster, topic.name, bound), settingsOf(cluster, topic.name, bound)]);
  const configs = [{ name: "cleanup.policy", value: "delete" }, ...inherited];
  const created = { name: inbox, numPartitions: topic.partitions.length, replicationFactor, assignments: [], configs };
  try {
    await cluster.ask("any", "CreateTopics", [[created], REQUEST_MS, false], bound);
  } catch (error) {
    if (!isExisting(error)) throw error;
  }
  return topicLed(cluster, inbox, bound);
}

async function copiesOf(cluster: Cluster, topic: string, signal: AbortSignal): Promise<number> {
  const { topics } = await cluster.ask("any", "Metadata", [[topic], false, false], signal);
  return topics[0]?.partitions[0]?.replicaNodes.length ?? -1;
}

/** Who may not read a topic's settings gets an inbox with the cluster's. */
async function settingsOf(cluster: Cluster, topic: string, signal: AbortSignal): Promise<{ name: string; value: string }[]> {
  try {
    const settings = await readSettings(cluster, "any", "topic", topic, ["min.insync.replicas", LIMIT], signal);
    return [...settings].map(([name, value]) => ({ name, value: name === LIMIT ? String(Number(value) + SLACK) : value }));
  } catch (error) {
    if (signal.aborted) throw error;
    return [];
  }
}

function isExisting(error: unknown): boolean {
  const { errors } = error as { errors?: readonly { apiId?: string }[] };
  return errors?.some(({ apiId }) => apiId === "TOPIC_ALREADY_EXISTS") === true;
}
