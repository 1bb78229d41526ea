import {
  type Admin,
  type Cut,
  driverError,
  type Retention,
  type SubscribeRequest,
  type Subscription,
  type TopicInfo,
  type TopicSpec,
  type WireLag,
  type WireStart,
} from "brokerkit/driver";
import { groupMissing, protocolName, topicMissing } from "./errors.ts";
import { cutBefore, inboxOf, LATEST, nextOf } from "./mapping.ts";
import { type Behaviour, groupIdOf } from "./options.ts";
import { oldestAt, type Standing } from "./protocol/age.ts";
import type { Cluster, TopicState } from "./protocol/cluster.ts";
import { dropGroup, groupsLike, groupsOf, membersOf, topicLed, topicsOnce } from "./protocol/groups.ts";
import {
  bounds,
  commitOffsets,
  committedOffsets,
  isolationLevel,
  type Offsets,
  offsetsAt,
  startOffsets,
  type TopicOffsets,
} from "./protocol/offsets.ts";
import { readSettings } from "./protocol/settings.ts";

/** A topic's options for this backend: `defineTopic(name, { …, native: { kafka: { replicationFactor: 3 } } })`. */
export interface KafkaTopicOptions {
  /** Copies of each partition. Default: the cluster's `default.replication.factor`. */
  replicationFactor?: number | undefined;
  /** Topic settings by Kafka's own names, such as `{ "min.insync.replicas": "2" }`. */
  config?: Readonly<Record<string, string>> | undefined;
}

/** What administration needs of the driver. */
export interface Session {
  readonly behaviour: Behaviour;
  /** Makes a call on the cluster; its errors are such as an application should see. */
  run<T>(call: (cluster: Cluster) => Promise<T>): Promise<T>;
  subscribe(request: SubscribeRequest, signal: AbortSignal): Promise<Subscription>;
}

/** A group that exists, with its topics as they are now. */
interface Found {
  readonly groupId: string;
  /** The topic, and the inbox where there is one. */
  readonly topics: readonly [TopicState, ...TopicState[]];
  readonly committed: TopicOffsets;
}

/** How long the controller may take for a change, ms. */
const CHANGE_MS = 10_000;
const ACTIVE: ReadonlySet<string> = new Set([
  "UNKNOWN_MEMBER_ID",
  "ILLEGAL_GENERATION",
  "STALE_MEMBER_EPOCH",
  "REBALANCE_IN_PROGRESS",
  "NON_EMPTY_GROUP",
  "GROUP_SUBSCRIBED_TO_TOPIC",
]);

export class KafkaAdmin implements Admin {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  createTopic(spec: TopicSpec, signal: AbortSignal): Promise<"created" | "existing"> {
    return this.#session.run(async (cluster) => {
      const { replicationFactor = -1, config = {} } = nativeOf(spec);
      const settings = { ...settingsOf(spec.retention), ...config };
      const configs = Object.entries(settings).map(([name, value]) => ({ name, value }));
      const topic = { name: spec.name, numPartitions: spec.partitions ?? -1, replicationFactor, assignments: [], configs };
      const outcome = await cluster.ask("any", "CreateTopics", [[topic], CHANGE_MS, false], signal).then(
        () => "created" as const,
        (error: unknown) => {
          if (protocolName(error) === "TOPIC_ALREADY_EXISTS") return "existing" as const;
          throw error;
        },
      );
      // One that was there may be missing a leader for long.
      if (outcome === "created") await topicLed(cluster, spec.name, signal);
      else await topicsOnce(cluster, [spec.name], (state) => state !== undefined, signal);
      return outcome;
    });
  }

  describeTopic(topic: string, signal: AbortSignal): Promise<TopicInfo | undefined> {
    return this.#session.run(async (cluster) => {
      const state = (await cluster.topics([topic], signal, 0)).get(topic);
      if (state === undefined) return undefined;
      const [settings, groups] = await Promise.all([
        topicSettings(cluster, topic, ["cleanup.policy", "retention.ms", "retention.bytes"], signal),
        this.#groupsOf(cluster, state, signal),
      ]);
      return { partitions: state.partitions.length, retention: settings && retentionOf(settings), groups };
    });
  }

  deleteTopic(topic: string, signal: AbortSignal): Promise<void> {
    return this.#session.run(async (cluster) => {
      const groups = [...(await this.#candidates(cluster, topic, signal)).values()].flat();
      // Topics first: the groups say which inboxes there are, should this be interrupted and done again.
      const names = [topic, ...groups.map((groupId) => inboxOf(topic, groupId.slice(topic.length + 1)))];
      await dropTopics(cluster, names, signal);
      for (const groupId of groups) {
        // What a group with members has committed goes with the topic.
        await dropGroup(cluster, groupId, names, signal).catch(ignoring(ACTIVE));
      }
    });
  }

  createGroup(topic: string, group: string, from: WireStart, signal: AbortSignal): Promise<"created" | "existing"> {
    return this.#session.run(async (cluster) => {
      const state = await this.#topic(cluster, topic, signal);
      const committed = await committedOffsets(cluster, this.#session.behaviour.groupId(topic, group), [state], signal);
      if (committed.has(topic)) return "existing";
      // A member for a moment: of several that start a group at once, one decides.
      const events = { lost: () => {}, state: () => {}, dataLoss: () => {} };
      const member = await this.#session.subscribe({ topic, group, from, credit: 1, events }, signal);
      await member.close();
      return member.created ? "created" : "existing";
    });
  }

  deleteGroup(topic: string, group: string, signal: AbortSignal): Promise<void> {
    return this.#session.run(async (cluster) => {
      const inbox = inboxOf(topic, group);
      const groupId = this.#session.behaviour.groupId(topic, group);
      await whileIdle(cluster, groupId, dropGroup(cluster, groupId, [topic, inbox], signal), signal);
      await dropTopics(cluster, [inbox], signal);
    });
  }

  position(topic: string, group: string | undefined, signal: AbortSignal): Promise<Cut> {
    return this.#session.run(async (cluster) => {
      if (group !== undefined) return cutBefore((await this.#found(cluster, topic, group, signal)).committed.get(topic) ?? new Map());
      const state = await this.#topic(cluster, topic, signal);
      return cutBefore((await offsetsAt(cluster, state, LATEST, this.#isolation, signal)) as Offsets);
    });
  }

  seek(topic: string, group: string, to: WireStart, signal: AbortSignal): Promise<void> {
    return this.#session.run(async (cluster) => {
      const { groupId, topics } = await this.#found(cluster, topic, group, signal);
      const [main, ...inboxes] = topics;
      const offsets = new Map<string, Offsets>();
      const offsetOf = (cut: Cut): Offsets => new Map(main.partitions.map((_, partition) => [partition, nextOf(cut, partition)]));
      offsets.set(topic, to.kind === "position" ? offsetOf(to.cut) : await startOffsets(cluster, main, to, this.#isolation, signal));
      // What waits in the inbox is cleared.
      for (const inbox of inboxes) offsets.set(inbox.name, (await offsetsAt(cluster, inbox, LATEST, this.#isolation, signal)) as Offsets);
      await whileIdle(cluster, groupId, commitOffsets(cluster, groupId, offsets, signal), signal);
    });
  }

  lag(topic: string, group: string, signal: AbortSignal): Promise<WireLag> {
    return this.#session.run(async (cluster) => {
      const { topics, committed } = await this.#found(cluster, topic, group, signal);
      let count = 0n;
      const behind: Standing[] = [];
      for (const state of topics) {
        // What a transaction holds back that nobody ends waits as well.
        const { first, end } = await bounds(cluster, state, 0, signal);
        for (const [partition, latest] of end) {
          const kept = first.get(partition) ?? 0n;
          let offset = committed.get(state.name)?.get(partition) ?? kept;
          // What retention has taken waits for nobody.
          if (offset < kept) offset = kept;
          if (offset >= latest) continue;
          count += latest - offset;
          behind.push({ topic: state, partition, offset });
        }
      }
      const oldest = await oldestAt(cluster, behind, 0, signal);
      const oldestMs = oldest === undefined ? undefined : Math.max(0, cluster.clock.now() - oldest);
      return { count: Number(count), inFlight: undefined, oldestMs: behind.length === 0 ? 0 : oldestMs };
    });
  }

  get #isolation(): 0 | 1 {
    return isolationLevel(this.#session.behaviour);
  }

  async #topic(cluster: Cluster, topic: string, signal: AbortSignal): Promise<TopicState> {
    const state = (await cluster.topics([topic], signal, 0)).get(topic);
    if (state === undefined) throw topicMissing(topic);
    return state;
  }

  async #found(cluster: Cluster, topic: string, group: string, signal: AbortSignal): Promise<Found> {
    const inbox = inboxOf(topic, group);
    const states = await cluster.topics([topic, inbox], signal, 0);
    const [main, retry] = [states.get(topic), states.get(inbox)];
    if (main === undefined) throw topicMissing(topic);
    const topics = retry === undefined ? ([main] as const) : ([main, retry] as const);
    const groupId = this.#session.behaviour.groupId(topic, group);
    const committed = await committedOffsets(cluster, groupId, topics, signal);
    if (!committed.has(topic)) throw groupMissing(topic, group);
    return { groupId, topics, committed };
  }

  /** Groups that may be this topic's, by their names. Other names than the usual say nothing. */
  async #candidates(cluster: Cluster, topic: string, signal: AbortSignal): Promise<ReadonlyMap<number, readonly string[]>> {
    if (this.#session.behaviour.groupId !== groupIdOf) return new Map();
    const prefix = groupIdOf(topic, "");
    return groupsLike(cluster, (id) => id.startsWith(prefix) && /^[A-Za-z0-9_-]+$/.test(id.slice(prefix.length)), signal);
  }

  async #groupsOf(cluster: Cluster, state: TopicState, signal: AbortSignal): Promise<readonly string[] | undefined> {
    if (this.#session.behaviour.groupId !== groupIdOf) return undefined;
    const groupIds = await groupsOf(cluster, state, await this.#candidates(cluster, state.name, signal), signal);
    return groupIds.map((groupId) => groupId.slice(state.name.length + 1));
  }
}

function ignoring(names: ReadonlySet<string>): (error: unknown) => void {
  return (error) => {
    if (!names.has(protocolName(error) ?? "")) throw error;
  };
}

const MISSING: ReadonlySet<string> = new Set(["UNKNOWN_TOPIC_OR_PARTITION"]);

/** Resolves when the cluster knows none of them any more. */
async function dropTopics(cluster: Cluster, names: readonly string[], signal: AbortSignal): Promise<void> {
  const there = [...(await cluster.topics(names, signal, 0))].filter(([, state]) => state !== undefined).map(([name]) => ({ name }));
  for (const topic of there) await cluster.ask("any", "DeleteTopics", [[topic], CHANGE_MS], signal).catch(ignoring(MISSING));
  await topicsOnce(cluster, names, (state) => state === undefined, signal);
}

/** A change that the coordinator takes of groups without members only; with members it is `GROUP_ACTIVE` and says who they are. */
async function whileIdle(cluster: Cluster, groupId: string, change: Promise<void>, signal: AbortSignal): Promise<void> {
  try {
    await change;
  } catch (error) {
    if (!ACTIVE.has(protocolName(error) ?? "")) throw error;
    const members = await membersOf(cluster, groupId, signal);
    const who = members.length === 0 ? "" : `: ${members.join(", ")}`;
    throw driverError("GROUP_ACTIVE", `The consumer group "${groupId}" has members${who}. Close them, and try again.`, { members });
  }
}

/** A topic's settings by name; `undefined` where the server does not tell this user. `NOT_FOUND` for a missing topic. */
export async function topicSettings(
  cluster: Cluster,
  topic: string,
  names: readonly string[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, string> | undefined> {
  return readSettings(cluster, "any", "topic", topic, names, signal).catch((error: unknown) => {
    if (protocolName(error) === "TOPIC_AUTHORIZATION_FAILED") return undefined;
    throw protocolName(error) === "UNKNOWN_TOPIC_OR_PARTITION" ? topicMissing(topic) : error;
  });
}

function retentionOf(settings: ReadonlyMap<string, string>): Retention | undefined {
  const policy = settings.get("cleanup.policy") ?? "";
  const limit = (name: string): number | undefined => {
    const value = Number(settings.get(name) ?? -1);
    return policy.includes("delete") && value >= 0 ? value : undefined;
  };
  const all = { ms: limit("retention.ms"), bytes: limit("retention.bytes"), compact: policy.includes("compact") ? true : undefined };
  const set = Object.entries(all).filter(([, value]) => value !== undefined);
  return set.length === 0 ? undefined : Object.fromEntries(set);
}

/** Kafka's own settings for a retention. https://kafka.apache.org/documentation/#topicconfigs */
function settingsOf({ ms, bytes, compact }: Retention = {}): Record<string, string> {
  const limited = ms !== undefined || bytes !== undefined;
  return {
    ...(compact === true || limited
      ? { "cleanup.policy": [compact === true ? "compact" : [], limited ? "delete" : []].flat().join(",") }
      : {}),
    ...(ms === undefined ? {} : { "retention.ms": String(Math.ceil(ms)) }),
    ...(bytes === undefined ? {} : { "retention.bytes": String(Math.ceil(bytes)) }),
  };
}

/** Options of other backends may stand beside ours. */
function nativeOf({ native, name, retention }: TopicSpec): KafkaTopicOptions {
  const own = (native as { readonly kafka?: unknown } | undefined)?.kafka;
  if (own === undefined) return {};
  const invalid = (text: string): Error => driverError("INVALID_ARGUMENT", `The topic "${name}": native.kafka ${text}.`);
  if (typeof own !== "object" || own === null) throw invalid("must be an object such as { replicationFactor: 3 }");
  for (const key of Object.keys(own)) {
    if (key !== "replicationFactor" && key !== "config") throw invalid(`has no "${key.slice(0, 40)}"; known: replicationFactor, config`);
  }
  const { replicationFactor, config } = own as KafkaTopicOptions;
  if (replicationFactor !== undefined && !(Number.isInteger(replicationFactor) && replicationFactor > 0 && replicationFactor <= 32_767))
    throw invalid("needs a replicationFactor that is a whole number from 1");
  if (
    config !== undefined &&
    (typeof config !== "object" || config === null || Object.values(config).some((value) => typeof value !== "string"))
  )
    throw invalid('needs a config of texts by name, such as { "min.insync.replicas": "2" }');
  const twice = Object.keys(settingsOf(retention)).find((key) => config !== undefined && Object.hasOwn(config, key));
  if (twice !== undefined) throw invalid(`sets ${twice}, which the topic's retention sets as well: give one of them`);
  return { replicationFactor, config };
}
