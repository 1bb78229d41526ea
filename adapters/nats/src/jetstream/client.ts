import { type Clock, driverError, type WireStart } from "brokerkit/driver";
import { ApiError, STREAM_OVERLAPS, topicMissing, unavailable } from "../errors.ts";
import type { Endpoint } from "../options.ts";
import type { Connection } from "../protocol/connection.ts";
import { behind, consumerName, generationOf, inboxNamesOf, namesOf, type StreamNames } from "./mapping.ts";
import { type ConsumerInfo, JetStreamApi, NS, policyOf, type StreamInfo } from "./protocol/api.ts";
import type { StreamDelivery } from "./protocol/delivery.ts";

/** How often to look for a group that is being moved. */
const MOST_LOOKS = 5;
/** How many topics' names are remembered. */
const MOST_NAMES = 10_000;
/** No stream is without a dedupe window; where none is wanted, nothing says what it should look at. */
const SHORTEST_WINDOW_MS = 100;

export interface Settings {
  readonly leaseMs: number;
  readonly dedupeMs: number;
  readonly maxUnacked: number;
  readonly replicas: number;
  readonly domain: string | undefined;
}

/** A group as the server has it now. */
export interface Group {
  readonly generation: number;
  readonly info: ConsumerInfo;
}

export interface MadeGroup extends Group {
  readonly created: boolean;
  /** The consumer of its inbox. */
  readonly inbox: ConsumerInfo;
}

/** A member of a group, as its driver knows it. */
export interface Member {
  readonly topic: string;
  readonly group: string;
  /** The group was moved by this process, so nobody here has to find out. */
  moved(group: Group): void;
}

/** What a driver lends to its subscriptions, cursors and its admin. */
export class Session {
  readonly clock: Clock;
  readonly endpoint: Endpoint;
  readonly settings: Settings;
  /** The connection for everything that does not publish. Throws UNAVAILABLE while it is down. */
  readonly control: () => Connection;
  readonly members: Set<Member> = new Set();
  /** Everything open, to be closed with the driver. */
  readonly readers: Set<{ close(): Promise<void>; disconnected(error: Error): void }> = new Set();
  /** What members of this process still owned when their connection broke, by topic and group. */
  readonly orphans: Map<string, readonly Pick<StreamDelivery, "reply" | "leaseUntil">[]> = new Map();
  readonly api: JetStreamApi;
  /** Made for each message otherwise. */
  readonly #names = new Map<string, StreamNames>();

  constructor(clock: Clock, endpoint: Endpoint, settings: Settings, control: () => Connection) {
    this.clock = clock;
    this.endpoint = endpoint;
    this.settings = settings;
    this.control = control;
    this.api = new JetStreamApi(settings.domain, control);
  }

  names(topic: string): StreamNames {
    const known = this.#names.get(topic);
    if (known !== undefined) return known;
    if (this.#names.size >= MOST_NAMES) this.#names.clear();
    const names = namesOf(this.endpoint.subjectPrefix, topic);
    this.#names.set(topic, names);
    return names;
  }

  inbox(topic: string, group: string): StreamNames {
    return inboxNamesOf(this.endpoint.subjectPrefix, topic, group);
  }

  async stream(topic: string, signal?: AbortSignal): Promise<StreamInfo> {
    const info = await this.api.stream(this.names(topic).stream, signal);
    if (info === undefined) throw topicMissing(topic);
    return info;
  }

  /** Creates a stream for one subject. "existing" also where it has other settings: what is there is never altered. */
  async createStream(names: StreamNames, config: object, signal?: AbortSignal): Promise<"created" | "existing"> {
    if ((await this.api.stream(names.stream, signal)) !== undefined) return "existing";
    const { dedupeMs, replicas } = this.settings;
    const own = { storage: "file", num_replicas: replicas, duplicate_window: (dedupeMs === 0 ? SHORTEST_WINDOW_MS : dedupeMs) * NS };
    try {
      return await this.api.createStream({ name: names.stream, subjects: [names.subject], ...own, ...config }, signal);
    } catch (error) {
      if (!(error instanceof ApiError && error.number === STREAM_OVERLAPS)) throw error;
      const keepers = await this.api.streamsOf(names.subject, signal);
      // Somebody makes the same stream at this moment.
      if (keepers.includes(names.stream)) return "existing";
      const cannot = `The stream "${names.stream}" can't keep the subject "${names.subject}"`;
      if (keepers.length === 0) throw unavailable(`${cannot}: another one kept it until just now.`);
      const others = keepers.map((name) => `"${name}"`).join(", ");
      const text = `${cannot}: ${others} keeps it already, and a subject belongs to one stream. Take the subject out of that stream, or name the topic differently.`;
      throw driverError("INVALID_ARGUMENT", text, { cause: error });
    }
  }

  /** The group's consumer: the latest, where a move was cut short. `undefined`: there is no such group. */
  async group(topic: string, group: string, signal?: AbortSignal): Promise<Group | undefined> {
    const { stream } = this.names(topic);
    for (let tries = 0; tries < MOST_LOOKS; tries++) {
      const generations = await this.generations(stream, group, signal);
      const generation = generations.at(-1);
      if (generation === undefined) return undefined;
      const info = await this.api.consumer(stream, consumerName(group, generation), signal);
      // Moved or deleted since it was listed.
      if (info === undefined) continue;
      for (const old of generations.slice(0, -1)) await this.api.deleteConsumer(stream, consumerName(group, old), signal);
      return { generation, info };
    }
    throw unavailable(`The consumer of the group "${group}" of "${topic}" is listed and not to be found: it may have no leader.`);
  }

  /** Ascending; none where there is no such group or no such stream. */
  async generations(stream: string, group: string, signal?: AbortSignal): Promise<number[]> {
    const consumers = await this.api.consumers(stream, signal);
    const known = consumers.map((name) => generationOf(group, name)).filter((generation) => generation !== undefined);
    return known.sort((a, b) => a - b);
  }

  /** A durable consumer for a group, with a lease and a bound of its own unless `config` says other ones. */
  createConsumer(stream: string, name: string, config: object, signal?: AbortSignal): Promise<ConsumerInfo> {
    const { leaseMs, maxUnacked } = this.settings;
    // Core counts attempts; a limit here would silently stop redelivery.
    const own = { ack_wait: leaseMs * NS, max_ack_pending: maxUnacked, max_deliver: -1 };
    return this.api.createConsumer(stream, name, { ...own, ...config }, signal);
  }

  /** Makes what is missing of a group: its consumer, and the stream that is its inbox. */
  async makeGroup(topic: string, group: string, from: WireStart, signal?: AbortSignal): Promise<MadeGroup> {
    const { stream } = this.names(topic);
    const info = await this.stream(topic, signal);
    const names = this.inbox(topic, group);
    const { storage, num_replicas } = info.config;
    await this.createStream(names, { retention: "workqueue", storage, num_replicas }, signal);
    // Looked for first: creating one that is there with other settings would change it.
    const inbox =
      (await this.api.consumer(names.stream, group, signal)) ??
      // What is kept back counts as unsettled, so this bound is far above the group's own.
      (await this.createConsumer(names.stream, group, { deliver_policy: "all", max_ack_pending: 1_000_000 }, signal));
    const there = await this.group(topic, group, signal);
    if (there !== undefined) return { ...checked(there, topic, group), inbox, created: false };
    try {
      const made = await this.createConsumer(stream, group, policyOf(from, behind(from, info.state.last_seq)), signal);
      return { generation: 0, info: made, inbox, created: true };
    } catch (error) {
      // Somebody else was faster, with another start.
      const theirs = error instanceof ApiError ? await this.group(topic, group, signal) : undefined;
      if (theirs === undefined) throw error;
      return { ...checked(theirs, topic, group), inbox, created: false };
    }
  }
}

/** A consumer that others have made, or who knows when, must be one that members can share and that hides nothing. */
function checked(group: Group, topic: string, name: string): Group {
  const { config } = group.info;
  const flaws = {
    "its ack policy is not explicit": config.ack_policy !== "explicit",
    "it is a push consumer": config.deliver_subject !== undefined,
    "it has a max_deliver, behind which messages are lost silently": (config.max_deliver ?? -1) > 0,
    "it filters by subject": (config.filter_subject ?? "") !== "" || (config.filter_subjects ?? []).length > 0,
    "it is headers_only, without bodies": config.headers_only === true,
    "it has a max_batch, max_expires or max_bytes, which refuses larger requests": LIMITS.some((limit) => (config[limit] ?? 0) > 0),
    "it has an inactive_threshold, after which the server forgets it": (config.inactive_threshold ?? 0) > 0,
  };
  const wrong = Object.entries(flaws).find(([, is]) => is)?.[0];
  if (wrong === undefined) return group;
  throw driverError("INVALID_ARGUMENT", `The consumer of the group "${name}" of "${topic}" can't be used: ${wrong}. Delete or change it.`);
}

const LIMITS = ["max_batch", "max_expires", "max_bytes"] as const;
