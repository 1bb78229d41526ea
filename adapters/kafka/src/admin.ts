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
import { groupMissing, topicMissing } from "./errors.ts";
import { cutBefore, groupIdOf, inboxOf } from "./mapping.ts";
import { type Behaviour, checkKeys, checkValue, invalid } from "./options.ts";
import { protocolName } from "./protocol/client-error.ts";
import type { Cluster, TopicState } from "./protocol/cluster.ts";
import { named } from "./protocol/error-names.ts";
import { dropGroup, groupsOf, membersOf, namesIn } from "./protocol/group-admin.ts";
import { lagOf } from "./protocol/lag.ts";
import {
  commitOffsets,
  committedOffsets,
  isolationLevel,
  LATEST,
  type Offsets,
  offsetsAt,
  offsetsOf,
  type TopicOffsets,
} from "./protocol/offsets.ts";
import { createTopic, dropTopics, topicNow, topicSettings } from "./protocol/topics.ts";

/** A topic's options for this backend: `defineTopic(name, { …, native: { kafka: { replicationFactor: 3 } } })`. */
export interface KafkaTopicOptions {
  /** Copies of each partition. Default: the cluster's `default.replication.factor`. */
  replicationFactor?: number | undefined;
  /** Topic settings by Kafka's own names, such as `{ "min.insync.replicas": "2" }`. */
  config?: Readonly<Record<string, string>> | undefined;
}

/** What administration needs of the driver. */
export interface AdminWiring {
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

/** Answers of a coordinator to who is no member, while the group has members. */
const ACTIVE = named(
  "UNKNOWN_MEMBER_ID ILLEGAL_GENERATION STALE_MEMBER_EPOCH REBALANCE_IN_PROGRESS NON_EMPTY_GROUP GROUP_SUBSCRIBED_TO_TOPIC",
);

export class KafkaAdmin implements Admin {
  readonly #wiring: AdminWiring;
  readonly #isolation: 0 | 1;

  constructor(wiring: AdminWiring) {
    this.#wiring = wiring;
    this.#isolation = isolationLevel(wiring.behaviour);
  }

  createTopic(spec: TopicSpec, signal: AbortSignal): Promise<"created" | "existing"> {
    return this.#wiring.run(async (cluster) => {
      const { replicationFactor = -1, config = {} } = nativeOf(spec);
      const settings = Object.entries({ ...settingsOf(spec.retention), ...config });
      return createTopic(cluster, { name: spec.name, partitions: spec.partitions ?? -1, replicationFactor, settings }, signal);
    });
  }

  describeTopic(topic: string, signal: AbortSignal): Promise<TopicInfo | undefined> {
    return this.#wiring.run(async (cluster) => {
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
    return this.#wiring.run(async (cluster) => {
      const groups = [...(await this.#candidates(cluster, topic, signal)).values()].flat();
      // Topics first: the groups say which inboxes there are, should this be interrupted and done again.
      const names = [topic, ...groups.map((groupId) => inboxOf(topic, groupId.slice(topic.length + 1)))];
      await dropTopics(cluster, names, signal);
      for (const groupId of groups) {
        // What a group with members has committed goes with the topic.
        await dropGroup(cluster, groupId, names, signal).catch((error: unknown) => {
          if (!ACTIVE.has(protocolName(error) ?? "")) throw error;
        });
      }
    });
  }

  createGroup(topic: string, group: string, from: WireStart, signal: AbortSignal): Promise<"created" | "existing"> {
    return this.#wiring.run(async (cluster) => {
      const state = await topicNow(cluster, topic, signal);
      const committed = await committedOffsets(cluster, this.#wiring.behaviour.groupId(topic, group), [state], signal);
      if (committed.has(topic)) return "existing";
      // A member for a moment: of several that start a group at once, one decides.
      const events = { releasing: async () => {}, lost: () => {}, state: () => {}, dataLoss: () => {} };
      const member = await this.#wiring.subscribe({ topic, group, from, credit: 1, events }, signal);
      await member.close();
      return member.created ? "created" : "existing";
    });
  }

  deleteGroup(topic: string, group: string, signal: AbortSignal): Promise<void> {
    return this.#wiring.run(async (cluster) => {
      const inbox = inboxOf(topic, group);
      const groupId = this.#wiring.behaviour.groupId(topic, group);
      await whileIdle(cluster, groupId, dropGroup(cluster, groupId, [topic, inbox], signal), signal);
      await dropTopics(cluster, [inbox], signal);
    });
  }

  position(topic: string, group: string | undefined, signal: AbortSignal): Promise<Cut> {
    return this.#wiring.run(async (cluster) => {
      if (group !== undefined) return cutBefore((await this.#found(cluster, topic, group, signal)).committed.get(topic) ?? new Map());
      const state = await topicNow(cluster, topic, signal);
      return cutBefore((await offsetsAt(cluster, state, LATEST, this.#isolation, signal)) as Offsets);
    });
  }

  seek(topic: string, group: string, to: WireStart, signal: AbortSignal): Promise<void> {
    return this.#wiring.run(async (cluster) => {
      const { groupId, topics } = await this.#found(cluster, topic, group, signal);
      const [main, ...inboxes] = topics;
      const offsets = new Map([[topic, await offsetsOf(cluster, main, to, this.#isolation, signal)]]);
      // What waits in the inbox is cleared.
      for (const inbox of inboxes) offsets.set(inbox.name, (await offsetsAt(cluster, inbox, LATEST, this.#isolation, signal)) as Offsets);
      await whileIdle(cluster, groupId, commitOffsets(cluster, groupId, offsets, signal), signal);
    });
  }

  lag(topic: string, group: string, signal: AbortSignal): Promise<WireLag> {
    return this.#wiring.run(async (cluster) => {
      const { topics, committed } = await this.#found(cluster, topic, group, signal);
      return lagOf(cluster, topics, committed, signal);
    });
  }

  async #found(cluster: Cluster, topic: string, group: string, signal: AbortSignal): Promise<Found> {
    const inbox = inboxOf(topic, group);
    const states = await cluster.topics([topic, inbox], signal, 0);
    const [main, retry] = [states.get(topic), states.get(inbox)];
    if (main === undefined) throw topicMissing(topic);
    const topics = retry === undefined ? ([main] as const) : ([main, retry] as const);
    const groupId = this.#wiring.behaviour.groupId(topic, group);
    const committed = await committedOffsets(cluster, groupId, topics, signal);
    if (!committed.has(topic)) throw groupMissing(topic, group);
    return { groupId, topics, committed };
  }

  /** Groups that may be this topic's, by their names. Other names than the usual say nothing. */
  async #candidates(cluster: Cluster, topic: string, signal: AbortSignal): Promise<ReadonlyMap<number, readonly string[]>> {
    if (this.#wiring.behaviour.groupId !== groupIdOf) return new Map();
    return namesIn(cluster, topic, signal);
  }

  async #groupsOf(cluster: Cluster, state: TopicState, signal: AbortSignal): Promise<readonly string[] | undefined> {
    if (this.#wiring.behaviour.groupId !== groupIdOf) return undefined;
    const groupIds = await groupsOf(cluster, state, await this.#candidates(cluster, state.name, signal), signal);
    return groupIds.map((groupId) => groupId.slice(state.name.length + 1));
  }
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

const DEFAULT_SEGMENT_MS = 604_800_000;
const DEFAULT_SEGMENT_BYTES = 1_073_741_824;
/** A batch larger than a segment is refused, and this is more than the largest that is published. */
const LEAST_SEGMENT_BYTES = 34_603_008;

const within = (value: number, least: number, most: number): string => String(Math.min(most, Math.max(least, Math.ceil(value))));

/** Kafka's own settings for a retention. What lies in the segment that is written to is kept, so segments are no longer than that. https://kafka.apache.org/documentation/#topicconfigs */
function settingsOf({ ms, bytes, compact }: Retention = {}): Record<string, string> {
  const limited = ms !== undefined || bytes !== undefined;
  return {
    ...(compact === true || limited
      ? { "cleanup.policy": [compact === true ? "compact" : [], limited ? "delete" : []].flat().join(",") }
      : {}),
    ...(ms === undefined ? {} : { "retention.ms": String(Math.ceil(ms)), "segment.ms": within(ms, 1, DEFAULT_SEGMENT_MS) }),
    ...(bytes === undefined
      ? {}
      : { "retention.bytes": String(Math.ceil(bytes)), "segment.bytes": within(bytes, LEAST_SEGMENT_BYTES, DEFAULT_SEGMENT_BYTES) }),
  };
}

/** Options of other backends may stand beside ours. */
function nativeOf({ native, name, retention }: TopicSpec): KafkaTopicOptions {
  const own = (native as { readonly kafka?: unknown } | undefined)?.kafka;
  if (own === undefined) return {};
  const where = `native.kafka of the topic "${name}"`;
  checkKeys(where, own, ["replicationFactor", "config"]);
  const { replicationFactor, config } = own as KafkaTopicOptions;
  checkValue(`${where}: replicationFactor`, replicationFactor, [1, 32_767]);
  const texts = typeof config === "object" && config !== null && Object.values(config).every((value) => typeof value === "string");
  if (config !== undefined && !texts) throw invalid(`The option "${where}: config" must be texts by name: { "min.insync.replicas": "2" }.`);
  const fixed = Object.keys(settingsOf(retention)).filter((key) => !key.startsWith("segment."));
  const twice = fixed.find((key) => config !== undefined && Object.hasOwn(config, key));
  if (twice !== undefined) throw invalid(`${where} sets ${twice}, which the topic's retention sets as well: give one of them.`);
  return { replicationFactor, config };
}
