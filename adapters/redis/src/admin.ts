import { type Admin, type Cut, driverError, type TopicInfo, type TopicSpec, type WireLag, type WireStart } from "brokerkit/driver";
import { type Reply, type Session, within } from "./client.ts";
import { groupMissing, topicMissing } from "./errors.ts";
import { cutAt, startId, timeOf } from "./mapping.ts";
import { DROP_GROUP, GROUP, STATE } from "./scripts/group.ts";
import type { Script } from "./scripts/script.ts";
import { CREATE, DESCRIBE, DROP } from "./scripts/topic.ts";

/** A topic's options for this backend: `defineTopic(name, { …, native: { redis: { maxLength } } })`. */
export interface RedisTopicOptions {
  /** Keep at most this many entries; older ones are removed when something is published or received. */
  maxLength?: number | undefined;
}

export class RedisAdmin implements Admin {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  async createTopic(spec: TopicSpec, signal: AbortSignal): Promise<"created" | "existing"> {
    const { stream, meta } = this.#session.keys(spec.name);
    const settings = { retentionMs: spec.retention?.ms, maxLength: maxLengthOf(spec) };
    const args = Object.entries(settings).flatMap(([name, value]) => (value === undefined ? [] : [name, String(Math.ceil(value))]));
    return (await this.#ask(CREATE, [stream, meta], args, signal)) === 1 ? "created" : "existing";
  }

  async describeTopic(topic: string, signal: AbortSignal): Promise<TopicInfo | undefined> {
    const described = await this.#describe(topic, signal);
    if (described === null) return undefined;
    const [retentionMs, , ...groups] = described;
    return { partitions: 1, retention: retentionMs === "" ? undefined : { ms: Number(retentionMs) }, groups };
  }

  async deleteTopic(topic: string, signal: AbortSignal): Promise<void> {
    const { stream, meta, delayed, wake } = this.#session.keys(topic);
    await this.#ask(DROP, [stream, meta, delayed, wake], [], signal);
  }

  async createGroup(topic: string, group: string, from: WireStart, signal: AbortSignal): Promise<"created" | "existing"> {
    return (await this.#place(topic, group, "create", from, signal)) === 1 ? "created" : "existing";
  }

  async deleteGroup(topic: string, group: string, signal: AbortSignal): Promise<void> {
    await this.#ask(DROP_GROUP, this.#session.keys(topic).group(group), [group], signal);
  }

  async position(topic: string, group: string | undefined, signal: AbortSignal): Promise<Cut> {
    if (group !== undefined) return cutAt(String((await this.#state(topic, group, signal))[0]));
    const described = await this.#describe(topic, signal);
    if (described === null) throw topicMissing(topic);
    return cutAt(described[1] ?? "");
  }

  async seek(topic: string, group: string, to: WireStart, signal: AbortSignal): Promise<void> {
    await this.#place(topic, group, "seek", to, signal);
  }

  async lag(topic: string, group: string, signal: AbortSignal): Promise<WireLag> {
    const [, unread, pending, givenBack, inbox, inboxDelayed, inboxPending, oldest, delayed] = await this.#state(topic, group, signal);
    const asked = this.#session.clock.now();
    const known = Number(unread) >= 0;
    const count = Number(unread) + Number(pending) + Number(givenBack) + Number(inbox) + Number(inboxDelayed) + Number(delayed);
    return {
      count: known ? count : undefined,
      inFlight: Number(pending) + Number(inboxPending),
      oldestMs: String(oldest) === "" ? 0 : Math.max(0, asked - timeOf(String(oldest))),
    };
  }

  async #place(topic: string, group: string, verb: "create" | "seek", start: WireStart, signal: AbortSignal): Promise<number> {
    const named = start.kind === "position" || start.kind === "time" ? "1" : "0";
    const answer = await this.#ask(GROUP, this.#session.keys(topic).group(group), [group, verb, startId(start), named], signal);
    if (answer === null) throw topicMissing(topic);
    const [status, epoch] = answer as readonly number[] as [number, number];
    if (status < 0) throw groupMissing(topic, group);
    if (status === 2) for (const member of this.#session.members) if (member.topic === topic && member.group === group) member.moved(epoch);
    return status;
  }

  async #describe(topic: string, signal: AbortSignal): Promise<readonly string[] | null> {
    const { stream, meta } = this.#session.keys(topic);
    const described = await this.#ask(DESCRIBE, [stream, meta], [], signal);
    return described === null ? null : (described as readonly Reply[]).map(String);
  }

  async #state(topic: string, group: string, signal: AbortSignal): Promise<readonly Reply[]> {
    const keys = this.#session.keys(topic);
    const [main, inbox] = [keys.lane(group, false), keys.lane(group, true)];
    const state = await this.#ask(STATE, [main.stream, main.due, inbox.stream, `${inbox.stream}:delayed`, keys.delayed], [group], signal);
    if (state === null) throw topicMissing(topic);
    if (state === -1) throw groupMissing(topic, group);
    return state as readonly Reply[];
  }

  async #ask(script: Script, keys: readonly string[], args: readonly string[], signal: AbortSignal): Promise<Reply> {
    return within(signal, this.#session.control().script(script, keys, args));
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
