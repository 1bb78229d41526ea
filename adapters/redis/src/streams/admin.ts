import { type Admin, type Cut, driverError, type TopicInfo, type TopicSpec, type WireLag, type WireStart } from "brokerkit/driver";
import type { Reply } from "../client.ts";
import { groupMissing, topicMissing } from "../errors.ts";
import { within } from "../protocol/bounds.ts";
import type { Session } from "./client.ts";
import { cutAt, timeOf } from "./mapping.ts";
import { dropGroup, type GroupState, groupState, type Placed, placeGroup } from "./scripts/group.ts";
import { CREATE, DESCRIBE, DROP } from "./scripts/topic.ts";

/** A topic's options for this backend: `defineTopic(name, { …, native: { redis: { maxLength } } })`. */
export interface RedisTopicOptions {
  /** Keep at most this many entries; older ones are removed when something is published or received. */
  maxLength?: number | undefined;
}

export class StreamsAdmin implements Admin {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  async createTopic(spec: TopicSpec, signal: AbortSignal): Promise<"created" | "existing"> {
    const { stream, meta } = this.#session.keys(spec.name);
    const settings = { retentionMs: spec.retention?.ms, maxLength: maxLengthOf(spec) };
    const args = Object.entries(settings).flatMap(([name, value]) => (value === undefined ? [] : [name, String(Math.ceil(value))]));
    const status = await within(signal, this.#session.control().script(CREATE, [stream, meta], args));
    return status === 1 ? "created" : "existing";
  }

  async describeTopic(topic: string, signal: AbortSignal): Promise<TopicInfo | undefined> {
    const described = await this.#describe(topic, signal);
    if (described === null) return undefined;
    const [retentionMs, , ...groups] = described;
    return { partitions: 1, retention: retentionMs === "" ? undefined : { ms: Number(retentionMs) }, groups };
  }

  async deleteTopic(topic: string, signal: AbortSignal): Promise<void> {
    await within(signal, this.#session.control().script(DROP, this.#session.keys(topic).list, []));
  }

  async createGroup(topic: string, group: string, from: WireStart, signal: AbortSignal): Promise<"created" | "existing"> {
    return (await this.#place(topic, group, "create", from, signal)) === "created" ? "created" : "existing";
  }

  async deleteGroup(topic: string, group: string, signal: AbortSignal): Promise<void> {
    await within(signal, dropGroup(this.#session.control(), this.#session.keys(topic).group(group), group));
  }

  async position(topic: string, group: string | undefined, signal: AbortSignal): Promise<Cut> {
    if (group !== undefined) return cutAt((await this.#state(topic, group, signal)).floor);
    const described = await this.#describe(topic, signal);
    if (described === null) throw topicMissing(topic);
    return cutAt(described[1] ?? "");
  }

  async seek(topic: string, group: string, to: WireStart, signal: AbortSignal): Promise<void> {
    await this.#place(topic, group, "seek", to, signal);
  }

  async lag(topic: string, group: string, signal: AbortSignal): Promise<WireLag> {
    const { unread, pending, kept, pendingInbox, oldest } = await this.#state(topic, group, signal);
    return {
      count: unread < 0 ? undefined : unread + pending + kept,
      inFlight: pending + pendingInbox,
      oldestMs: oldest === "" ? 0 : Math.max(0, this.#session.clock.now() - timeOf(oldest)),
    };
  }

  async #place(topic: string, group: string, verb: "create" | "seek", start: WireStart, signal: AbortSignal): Promise<Placed> {
    const { control, keys, members } = this.#session;
    const [placed, epoch] = await within(signal, placeGroup(control(), keys(topic).group(group), group, verb, start));
    if (placed === "no topic") throw topicMissing(topic);
    if (placed === "no group") throw groupMissing(topic, group);
    if (placed === "moved") for (const member of members) if (member.topic === topic && member.group === group) member.moved(epoch);
    return placed;
  }

  async #state(topic: string, group: string, signal: AbortSignal): Promise<GroupState> {
    const state = await within(signal, groupState(this.#session.control(), this.#session.keys(topic).group(group), group));
    if (state === "no topic") throw topicMissing(topic);
    if (state === "no group") throw groupMissing(topic, group);
    return state;
  }

  async #describe(topic: string, signal: AbortSignal): Promise<readonly string[] | null> {
    const { stream, meta } = this.#session.keys(topic);
    const described = await within(signal, this.#session.control().script(DESCRIBE, [stream, meta], []));
    return described === null ? null : (described as readonly Reply[]).map(String);
  }
}

/** Options of other backends may stand beside ours. */
function maxLengthOf({ native, name }: TopicSpec): number | undefined {
  const own = (native as { readonly redis?: unknown } | undefined)?.redis;
  if (own === undefined) return undefined;
  const invalid = (text: string): Error => driverError("INVALID_ARGUMENT", `The topic "${name}": native.redis ${text}.`);
  if (typeof own !== "object" || own === null) throw invalid("must be an object such as { maxLength: 100000 }");
  for (const key of Object.keys(own)) if (key !== "maxLength") throw invalid(`has no "${key.slice(0, 40)}"; known: maxLength`);
  const { maxLength } = own as RedisTopicOptions;
  if (maxLength !== undefined && !(Number.isInteger(maxLength) && maxLength > 0))
    throw invalid("needs a maxLength that is a whole number from 1");
  return maxLength;
}
