import { type Admin, type Cut, driverError, type TopicInfo, type TopicSpec, type WireLag, type WireStart } from "brokerkit/driver";
import type { Session } from "./client.ts";
import { endOf } from "./cursor.ts";
import { groupMissing, topicMissing } from "./errors.ts";
import { queueOf } from "./mapping.ts";
import {
  createGroup,
  createTopic,
  deleteGroup,
  deleteTopic,
  groupsOfTopic,
  hasTopic,
  type LogBounds,
  queueState,
} from "./protocol/topology.ts";

/** A topic's options for this backend: `defineTopic(name, { …, native: { rabbitmq: { log: false } } })`. */
export interface RabbitMqTopicOptions {
  /** Keep a stream beside the topic, which replay and broadcast read. Default: as the adapter's option `log` says. */
  log?: boolean | undefined;
  /** How large one segment of the log is; retention takes whole segments. Default: as retention needs it, 500 MB at the most. */
  logSegmentBytes?: number | undefined;
}

const NATIVE = ["log", "logSegmentBytes"];
/** https://www.rabbitmq.com/docs/streams#declaring */
const LARGEST_SEGMENT = 3_000_000_000;

export class RabbitMqAdmin implements Admin {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  async createTopic(spec: TopicSpec, signal: AbortSignal): Promise<"created" | "existing"> {
    return await createTopic(this.#session, spec.name, this.#logBounds(spec), signal);
  }

  #logBounds(spec: TopicSpec): LogBounds | undefined {
    const { log: logged, logMaxAgeMs, logMaxBytes } = this.#session.settings;
    const { log = logged, logSegmentBytes } = nativeOf(spec);
    const { ms = logMaxAgeMs, bytes = logMaxBytes } = spec.retention ?? {};
    if (!log) {
      if (spec.retention === undefined) return undefined;
      throw driverError(
        "UNSUPPORTED",
        `The topic "${spec.name}" has no log, so it has no retention either: leave out retention, or log: false.`,
      );
    }
    if (!logged) throw driverError("UNSUPPORTED", `The topic "${spec.name}" can't have a log: the adapter's option log is false.`);
    return { maxAgeMs: ms, maxBytes: bytes, segmentBytes: logSegmentBytes };
  }

  async describeTopic(topic: string, signal: AbortSignal): Promise<TopicInfo | undefined> {
    if (!(await hasTopic(this.#session, topic, signal))) return undefined;
    return { partitions: 1, retention: undefined, groups: await groupsOfTopic(this.#session, topic, signal) };
  }

  async deleteTopic(topic: string, signal: AbortSignal): Promise<void> {
    await deleteTopic(this.#session, topic, signal);
  }

  async createGroup(
    topic: string,
    group: string,
    _from: WireStart,
    signal: AbortSignal,
    exclusive: boolean = false,
  ): Promise<"created" | "existing"> {
    return await createGroup(this.#session, topic, group, exclusive, signal);
  }

  async deleteGroup(topic: string, group: string, signal: AbortSignal): Promise<void> {
    await deleteGroup(this.#session, topic, group, signal);
  }

  async position(topic: string, group: string | undefined, signal: AbortSignal): Promise<Cut> {
    if (group !== undefined) throw driverError("UNSUPPORTED", "A queue has no positions: only the log of a topic has.");
    if (!(await hasTopic(this.#session, topic, signal))) throw topicMissing(topic);
    return await endOf(this.#session, topic, signal);
  }

  async seek(): Promise<void> {
    throw driverError("UNSUPPORTED", "A queue gives each message once: a group can't be moved.");
  }

  /** What waits, and what members of this process hold. Nothing where others may hold something and nothing else is there. */
  async lag(topic: string, group: string, signal: AbortSignal): Promise<WireLag> {
    const queue = queueOf(topic, group);
    const state = await queueState(this.#session, queue, signal);
    if (state === undefined) throw groupMissing(topic, group);
    const own = [...this.#session.readers].filter((reader) => reader.queue === queue);
    const held = own.reduce((sum, reader) => sum + (reader.held ?? 0), 0);
    const others = state.consumerCount > own.length;
    // Others may have read what was put there by this process.
    const marks = others ? 0 : Math.min(state.messageCount, this.#session.marks.in(queue));
    const count = state.messageCount - marks + held;
    return { count: count === 0 && others ? undefined : count, inFlight: undefined, oldestMs: undefined };
  }
}

function nativeOf({ name, native }: TopicSpec): RabbitMqTopicOptions {
  const own = (native as { readonly rabbitmq?: unknown } | undefined)?.rabbitmq;
  if (own === undefined) return {};
  const invalid = (text: string): Error => driverError("INVALID_ARGUMENT", `The topic "${name}": native.rabbitmq ${text}.`);
  if (typeof own !== "object" || own === null) throw invalid("must be an object");
  for (const key of Object.keys(own)) {
    if (!NATIVE.includes(key)) throw invalid(`has no option "${key.slice(0, 40)}". Known: ${NATIVE.join(", ")}`);
  }
  const { log, logSegmentBytes: bytes } = own as RabbitMqTopicOptions;
  if (log !== undefined && typeof log !== "boolean") throw invalid("log must be a boolean");
  if (bytes !== undefined && !(Number.isInteger(bytes) && bytes >= 1 && bytes <= LARGEST_SEGMENT))
    throw invalid(`logSegmentBytes must be a whole number from 1 to ${LARGEST_SEGMENT}`);
  return { log, logSegmentBytes: bytes };
}
