import { type Admin, type Cut, driverError, type TopicInfo, type TopicSpec, type WireLag, type WireStart } from "brokerkit/driver";
import { groupMissing, topicMissing } from "../errors.ts";
import type { Group, Session } from "./client.ts";
import { behind, consumerName, cutAt } from "./mapping.ts";
import { floorOf, NS, policyOf } from "./protocol/api.ts";

/** A topic's options for this backend: `defineTopic(name, { …, native: { nats: { replicas } } })`. */
export interface NatsTopicOptions {
  /** How many servers of a cluster keep it, 1–5. Default: the adapter's option `replicas`. */
  replicas?: number | undefined;
  /** Default `file`; `memory` does not outlive the server. */
  storage?: "file" | "memory" | undefined;
  /** Keep at most this many messages. */
  maxMessages?: number | undefined;
  /** What a full stream does: remove the oldest (the default), or refuse new ones with `QUOTA_EXCEEDED`. */
  discard?: "old" | "new" | undefined;
}

export class JetStreamAdmin implements Admin {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  createTopic(spec: TopicSpec, signal: AbortSignal): Promise<"created" | "existing"> {
    const { replicas, storage, maxMessages, discard } = nativeOf(spec);
    const config: Record<string, unknown> = { retention: "limits" };
    if (replicas !== undefined) config["num_replicas"] = replicas;
    if (storage !== undefined) config["storage"] = storage;
    if (discard !== undefined) config["discard"] = discard;
    if (maxMessages !== undefined) config["max_msgs"] = maxMessages;
    if (spec.retention?.bytes !== undefined) config["max_bytes"] = Math.ceil(spec.retention.bytes);
    if (spec.retention?.ms !== undefined) {
      // The server takes nothing shorter than 100 ms, and no dedupe window that is longer than what it keeps.
      const ms = Math.max(100, Math.ceil(spec.retention.ms));
      config["max_age"] = ms * NS;
      config["duplicate_window"] = Math.max(100, Math.min(ms, this.#session.settings.dedupeMs)) * NS;
    }
    return this.#session.createStream(this.#session.names(spec.name), config, signal);
  }

  async describeTopic(topic: string, signal: AbortSignal): Promise<TopicInfo | undefined> {
    const { stream } = this.#session.names(topic);
    const info = await this.#session.api.stream(stream, signal);
    if (info === undefined) return undefined;
    const { max_age, max_bytes } = info.config;
    const retention = { ...(max_age > 0 ? { ms: max_age / NS } : {}), ...(max_bytes > 0 ? { bytes: max_bytes } : {}) };
    const consumers = await this.#session.api.consumers(stream, signal);
    const groups = new Set(consumers.map((name) => name.replace(/~[1-9]\d*$/, "")).filter((name) => /^[A-Za-z0-9_-]{1,100}$/.test(name)));
    return { partitions: 1, retention: Object.keys(retention).length === 0 ? undefined : retention, groups: [...groups].sort() };
  }

  async deleteTopic(topic: string, signal: AbortSignal): Promise<void> {
    const { stream, subject } = this.#session.names(topic);
    for (const name of await this.#session.api.streamsOf(`${subject}.*.retry`, signal)) {
      const group = name.startsWith(`${stream}~`) && name.endsWith("~retry") ? name.slice(stream.length + 1, -6) : "";
      const ours = group !== "" && !group.includes("~");
      if (ours || name.includes("=")) await this.#deleteInbox(name, `${subject}.`, signal);
    }
    await this.#session.api.deleteStream(stream, signal);
  }

  /** A name that was cut off says nothing, so the subject decides. */
  async #deleteInbox(stream: string, prefix: string, signal: AbortSignal): Promise<void> {
    const [subject = "", ...more] = (await this.#session.api.stream(stream, signal))?.config.subjects ?? [];
    const ours = more.length === 0 && subject.startsWith(prefix) && /^[A-Za-z0-9_-]+\.retry$/.test(subject.slice(prefix.length));
    if (ours) await this.#session.api.deleteStream(stream, signal);
  }

  async createGroup(topic: string, group: string, from: WireStart, signal: AbortSignal): Promise<"created" | "existing"> {
    return (await this.#session.makeGroup(topic, group, from, signal)).created ? "created" : "existing";
  }

  async deleteGroup(topic: string, group: string, signal: AbortSignal): Promise<void> {
    const { stream } = this.#session.names(topic);
    await this.#session.api.deleteStream(this.#session.inbox(topic, group).stream, signal);
    for (const generation of await this.#session.generations(stream, group, signal))
      await this.#session.api.deleteConsumer(stream, consumerName(group, generation), signal);
  }

  async position(topic: string, group: string | undefined, signal: AbortSignal): Promise<Cut> {
    if (group === undefined) return cutAt((await this.#session.stream(topic, signal)).state.last_seq);
    return cutAt(floorOf((await this.#group(topic, group, signal)).info));
  }

  /** The new place is a new consumer, stored before the old one goes: at no moment is the group without one. */
  async seek(topic: string, group: string, to: WireStart, signal: AbortSignal): Promise<void> {
    const { stream } = this.#session.names(topic);
    const { generation, info } = await this.#group(topic, group, signal);
    const { last_seq } = (await this.#session.stream(topic, signal)).state;
    const { ack_wait, max_ack_pending } = info.config;
    const policy = { ...policyOf(to, behind(to, last_seq)), ack_wait, max_ack_pending };
    const moved = await this.#session.createConsumer(stream, consumerName(group, generation + 1), policy, signal);
    const now = { generation: generation + 1, info: moved };
    for (const member of this.#session.members) if (member.topic === topic && member.group === group) member.moved(now);
    await this.#session.api.deleteConsumer(stream, info.name, signal);
  }

  async lag(topic: string, group: string, signal: AbortSignal): Promise<WireLag> {
    const { stream, subject } = this.#session.names(topic);
    const { info } = await this.#group(topic, group, signal);
    const { stream: inbox, subject: inboxSubject } = this.#session.inbox(topic, group);
    const waiting = await this.#session.api.consumer(inbox, group, signal);
    const open = info.num_pending + info.num_ack_pending;
    const kept = (waiting?.num_pending ?? 0) + (waiting?.num_ack_pending ?? 0);
    const times = [
      open > 0 ? await this.#session.api.storedAt(stream, subject, floorOf(info) + 1, signal) : undefined,
      kept > 0 ? await this.#session.api.storedAt(inbox, inboxSubject, 1, signal) : undefined,
    ].filter((time) => time !== undefined);
    return {
      count: open + kept,
      inFlight: info.num_ack_pending + (waiting?.num_ack_pending ?? 0),
      oldestMs: open + kept === 0 ? 0 : times.length === 0 ? undefined : Math.max(0, this.#session.clock.now() - Math.min(...times)),
    };
  }

  async #group(topic: string, group: string, signal: AbortSignal): Promise<Group> {
    const found = await this.#session.group(topic, group, signal);
    if (found !== undefined) return found;
    const there = await this.#session.api.stream(this.#session.names(topic).stream, signal);
    throw there === undefined ? topicMissing(topic) : groupMissing(topic, group);
  }
}

/** Options of other backends may stand beside ours. */
function nativeOf({ native, name }: TopicSpec): NatsTopicOptions {
  const own = (native as { readonly nats?: unknown } | undefined)?.nats;
  if (own === undefined) return {};
  const invalid = (text: string): Error => driverError("INVALID_ARGUMENT", `The topic "${name}": native.nats ${text}.`);
  if (typeof own !== "object" || own === null) throw invalid("must be an object such as { replicas: 3 }");
  const known = ["replicas", "storage", "maxMessages", "discard"];
  for (const key of Object.keys(own)) if (!known.includes(key)) throw invalid(`has no "${key.slice(0, 40)}"; known: ${known.join(", ")}`);
  const { replicas, storage, maxMessages, discard } = own as NatsTopicOptions;
  const whole = (value: number | undefined, max: number): boolean =>
    value === undefined || (Number.isInteger(value) && value >= 1 && value <= max);
  if (!whole(replicas, 5)) throw invalid("needs replicas from 1 to 5");
  if (!whole(maxMessages, Number.MAX_SAFE_INTEGER)) throw invalid("needs a maxMessages that is a whole number from 1");
  if (storage !== undefined && storage !== "file" && storage !== "memory") throw invalid('needs a storage that is "file" or "memory"');
  if (discard !== undefined && discard !== "old" && discard !== "new") throw invalid('needs a discard that is "old" or "new"');
  return own;
}
