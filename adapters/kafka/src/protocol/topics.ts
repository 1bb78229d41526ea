import { topicMissing } from "../errors.ts";
import { protocolName, unavailable } from "./client-error.ts";
import { type Cluster, METADATA_MS, type TopicState } from "./cluster.ts";
import { named } from "./error-names.ts";
import { type Node, REQUEST_MS } from "./line.ts";
import { EARLIEST, offsetsAt } from "./offsets.ts";
import { bounded, pause } from "./waiting.ts";

/** What a setting belongs to: https://kafka.apache.org/protocol#The_Messages_DescribeConfigs */
const KINDS = { topic: 2, broker: 4 } as const;
/** How long the controller may take for a change, ms. */
const CHANGE_MS = 10_000;
const LOOK_MS = 20;
const LARGEST = "max.message.bytes";
/** Room for the headers that a message gets on its way through an inbox. */
const SLACK = 1_024;

/** The topic as it is now. Rejects `NOT_FOUND`. */
export async function topicNow(cluster: Cluster, topic: string, signal: AbortSignal): Promise<TopicState> {
  const state = (await cluster.topics([topic], signal, 0)).get(topic);
  if (state === undefined) throw topicMissing(topic);
  return state;
}

// ---- settings
/** By Kafka's names, those inherited included. What is secret, or has no value, is missing. */
async function settingsOf(
  cluster: Cluster,
  node: Node,
  kind: keyof typeof KINDS,
  name: string,
  names: readonly string[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, string>> {
  const resource = { resourceType: KINDS[kind], resourceName: name, configurationKeys: [...names] };
  const { results } = await cluster.ask(node, "DescribeConfigs", [[resource], false, false], signal);
  return new Map((results[0]?.configs ?? []).flatMap(({ name: key, value }) => (typeof value === "string" ? [[key, value] as const] : [])));
}

/** A topic's settings by name; `undefined` where the server does not tell this user. `NOT_FOUND` for a missing topic. */
export async function topicSettings(
  cluster: Cluster,
  topic: string,
  names: readonly string[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, string> | undefined> {
  return settingsOf(cluster, "any", "topic", topic, names, signal).catch((error: unknown) => {
    if (protocolName(error) === "TOPIC_AUTHORIZATION_FAILED") return undefined;
    throw protocolName(error) === "UNKNOWN_TOPIC_OR_PARTITION" ? topicMissing(topic) : error;
  });
}

/** Of the first server that answers: all of them should have the same. Nothing where the user may not ask. */
export async function serverSettings(
  cluster: Cluster,
  names: readonly string[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, string>> {
  let failure: unknown = unavailable("The cluster has no server at the moment.");
  for (const node of cluster.nodes) {
    try {
      return await settingsOf(cluster, node, "broker", String(node), names, signal);
    } catch (error) {
      if (protocolName(error) === "CLUSTER_AUTHORIZATION_FAILED") return new Map();
      if (signal.aborted) throw error;
      failure = error;
    }
  }
  throw failure;
}

// ---- making and dropping
export interface NewTopic {
  readonly name: string;
  /** −1: the cluster's default. */
  readonly partitions: number;
  readonly replicationFactor: number;
  /** By Kafka's names. */
  readonly settings: Iterable<readonly [name: string, value: string]>;
}

/** Resolves when the servers know of the topic, and those that lead it lead it. Safe to repeat, and from several places at once. */
export async function createTopic(
  cluster: Cluster,
  { name, partitions, replicationFactor, settings }: NewTopic,
  signal: AbortSignal,
): Promise<"created" | "existing"> {
  const configs = [...settings].map(([key, value]) => ({ name: key, value }));
  const topic = { name, numPartitions: partitions, replicationFactor, assignments: [], configs };
  try {
    await cluster.ask("any", "CreateTopics", [[topic], CHANGE_MS, false], signal);
  } catch (error) {
    if (protocolName(error) !== "TOPIC_ALREADY_EXISTS") throw error;
    // One that was there may be missing a leader for long.
    await topicsOnce(cluster, [name], (state) => state !== undefined, signal);
    return "existing";
  }
  await topicLed(cluster, name, signal);
  return "created";
}

/**
 * Creates the inbox of a group beside its topic, as safe as the topic itself (as many copies, as many of them in sync), and resolves when
 * all of it is served. Who may not read the topic's settings gets an inbox with the cluster's. Safe to repeat, and from several places at
 * once. Rejects with the raw error or the signal's reason.
 */
export function createInbox(cluster: Cluster, topic: TopicState, inbox: string, signal: AbortSignal): Promise<TopicState> {
  const late = (): unknown => unavailable(`The topic "${inbox}" was not there within ${REQUEST_MS} ms.`);
  const make = async (bound: AbortSignal): Promise<TopicState> => {
    const inherited = (await topicSettings(cluster, topic.name, ["min.insync.replicas", LARGEST], bound)) ?? new Map<string, string>();
    const settings = new Map([["cleanup.policy", "delete"], ...inherited]);
    if (inherited.has(LARGEST)) settings.set(LARGEST, String(Number(inherited.get(LARGEST)) + SLACK));
    const { partitions, replicas: replicationFactor } = topic;
    await createTopic(cluster, { name: inbox, partitions: partitions.length, replicationFactor, settings }, bound);
    return topicLed(cluster, inbox, bound);
  };
  return bounded(cluster.clock, REQUEST_MS, late, make, signal);
}

/** Resolves when the cluster knows none of them any more. */
export async function dropTopics(cluster: Cluster, names: readonly string[], signal: AbortSignal): Promise<void> {
  const there = [...(await cluster.topics(names, signal, 0))].filter(([, state]) => state !== undefined).map(([name]) => ({ name }));
  for (const topic of there) {
    await cluster.ask("any", "DeleteTopics", [[topic], CHANGE_MS], signal).catch((error: unknown) => {
      if (protocolName(error) !== "UNKNOWN_TOPIC_OR_PARTITION") throw error;
    });
  }
  await topicsOnce(cluster, names, (state) => state === undefined, signal);
}

/** Resolves once `settled` agrees to what each of these is: servers learn of topics that come and go one after the other. */
async function topicsOnce(
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
const BECOMING = named("NOT_LEADER_OR_FOLLOWER UNKNOWN_TOPIC_OR_PARTITION LEADER_NOT_AVAILABLE");

/** Resolves to a topic that was just made when each of its partitions has a leader that leads. */
async function topicLed(cluster: Cluster, name: string, signal: AbortSignal): Promise<TopicState> {
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
