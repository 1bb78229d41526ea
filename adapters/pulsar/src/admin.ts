import { type Admin, type Cut, driverError, type TopicInfo, type TopicSpec, type WireLag, type WireStart } from "brokerkit/driver";
import type { Session } from "./client.ts";
import { groupMissing, isMissing } from "./errors.ts";
import { cutOf, type Spot } from "./mapping.ts";
import { endsOf } from "./protocol/reading/ends.ts";
import { makeGroup, move } from "./protocol/reading/groups.ts";
import { lagOf } from "./protocol/reading/lag.ts";
import { provide, retentionOf } from "./protocol/retention.ts";

export class PulsarAdmin implements Admin {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  async createTopic(spec: TopicSpec, signal: AbortSignal): Promise<"created" | "existing"> {
    checkNative(spec);
    const { rest } = this.#session;
    const topic = this.#session.full(spec.name);
    if ((await rest.createTopic(topic, spec.partitions ?? 0, signal)) === "existing") return "existing";
    await provide(rest, topic, spec.retention, signal);
    return "created";
  }

  async describeTopic(topic: string, signal: AbortSignal): Promise<TopicInfo | undefined> {
    const { rest } = this.#session;
    const name = this.#session.full(topic);
    const asked = Promise.all([rest.partitions(name, signal), rest.retention(name, signal), rest.subscriptions(name, signal)]);
    const told = await asked.catch((error: unknown) => {
      if (!isMissing(error)) throw error;
    });
    if (told === undefined) return undefined;
    const [partitions, policy, groups] = told;
    return { partitions, retention: retentionOf(policy), groups: groups.filter((name) => /^[A-Za-z0-9_-]{1,100}$/.test(name)).sort() };
  }

  async deleteTopic(topic: string, signal: AbortSignal): Promise<void> {
    const info = await this.describeTopic(topic, signal);
    // Inboxes first: the topic says which there are, should this be interrupted and done again.
    const { rest } = this.#session;
    for (const group of info?.groups ?? []) await rest.deleteTopic(this.#session.inbox(topic, group), signal);
    await rest.deleteTopic(this.#session.full(topic), signal);
  }

  createGroup(topic: string, group: string, from: WireStart, signal: AbortSignal): Promise<"created" | "existing"> {
    return makeGroup(this.#session, topic, group, from, signal);
  }

  async deleteGroup(topic: string, group: string, signal: AbortSignal): Promise<void> {
    const { rest } = this.#session;
    await rest.deleteSubscription(this.#session.full(topic), group, signal);
    await rest.deleteTopic(this.#session.inbox(topic, group), signal);
  }

  async position(topic: string, group: string | undefined, signal: AbortSignal): Promise<Cut> {
    const parts = await this.#session.parts(topic, signal);
    if (group === undefined) return cutOf(await endsOf(this.#session, topic, signal));
    const spots = parts.map(async (part, n): Promise<readonly [number, Spot]> => {
      const floor = (await this.#session.rest.internalStats(part, signal)).cursors[group]?.markDelete;
      if (floor === undefined) throw groupMissing(topic, group);
      return [n, { ...floor, index: Number.POSITIVE_INFINITY }];
    });
    return cutOf(new Map(await Promise.all(spots)));
  }

  /** What waits in the group's inbox is cleared; then brokers disconnect whoever reads the group. */
  async seek(topic: string, group: string, to: WireStart, signal: AbortSignal): Promise<void> {
    const { rest } = this.#session;
    const parts = await this.#session.parts(topic, signal);
    // Before members come back: what they put there then is of the new place.
    await rest.skipAll(this.#session.inbox(topic, group), group, signal);
    await Promise.all(parts.map((part, n) => move(this.#session, part, n, group, to, signal))).catch((error: unknown) => {
      throw isMissing(error) ? groupMissing(topic, group) : error;
    });
    // Members here have been told by then that they are disconnected.
    await this.#session.transport().ping(signal);
  }

  lag(topic: string, group: string, signal: AbortSignal): Promise<WireLag> {
    return lagOf(this.#session, topic, group, signal);
  }
}

/** Options of other backends may stand beside ours, which has none. */
function checkNative({ native, name }: TopicSpec): void {
  const own = (native as { readonly pulsar?: unknown } | undefined)?.pulsar;
  if (own !== undefined) throw driverError("INVALID_ARGUMENT", `The topic "${name}": there are no options under native.pulsar.`);
}
