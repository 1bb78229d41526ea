import type { Admin, Cut, TopicInfo, TopicSpec, WireLag, WireStart } from "brokerkit/driver";
import { driverError } from "brokerkit/driver";
import { beyond, noGroup, unsupported } from "./errors.ts";
import type { Group } from "./scripts/group.ts";
import type { World } from "./scripts/world.ts";

const gone = (what: string): Error => driverError("NOT_FOUND", `${what} was deleted. Create it and subscribe again.`);

export class MemoryAdmin implements Admin {
  readonly #world: World;
  readonly #check: () => void;

  /** `check` throws while the driver may not be used. */
  constructor(world: World, check: () => void) {
    this.#world = world;
    this.#check = check;
  }

  async createTopic({ name, partitions = 1, retention = {}, native }: TopicSpec): Promise<"created" | "existing"> {
    this.#check();
    const { topics, retention: can } = this.#world.record;
    if (partitions > Math.max(1, topics.partitions)) throw beyond(`${partitions} partitions`);
    if (native !== undefined)
      throw driverError("INVALID_ARGUMENT", `Memory has no topic options of its own; take "native" off the topic "${name}".`);
    for (const kind of ["ms", "bytes", "compact"] as const) if (retention[kind] && !can[kind]) throw beyond(`retention by ${kind}`);
    if (this.#world.topics.has(name)) return "existing";
    this.#world.create(name, partitions, retention);
    return "created";
  }

  async describeTopic(name: string): Promise<TopicInfo | undefined> {
    this.#check();
    if (!this.#world.record.topics.describe) throw unsupported("description of topics");
    const topic = this.#world.topics.get(name);
    if (topic === undefined) return undefined;
    const { ms, bytes, compact } = topic.retention;
    return {
      partitions: topic.logs.length,
      retention: (ms ?? bytes ?? compact) ? topic.retention : undefined,
      groups: [...topic.groups.keys()],
    };
  }

  async deleteTopic(name: string): Promise<void> {
    this.#check();
    const topic = this.#world.topics.get(name);
    this.#world.topics.delete(name);
    topic?.close(gone(`The topic "${name}"`));
  }

  async createGroup(topic: string, group: string, from: WireStart): Promise<"created" | "existing"> {
    this.#check();
    const { delivery, from: starts } = this.#world.record;
    if (delivery.group === "none") throw unsupported("groups");
    if (!starts.group.includes(from.kind)) throw unsupported(`start "${from.kind}" for groups`);
    return this.#world.topic(topic).group(group, from).created ? "created" : "existing";
  }

  async deleteGroup(name: string, group: string): Promise<void> {
    this.#check();
    const topic = this.#world.topics.get(name);
    const one = topic?.groups.get(group);
    if (topic === undefined || one === undefined) return;
    topic.groups.delete(group);
    topic.sources.delete(one);
    one.end(gone(`The group "${group}" of "${name}"`));
  }

  async position(topic: string, group: string | undefined): Promise<Cut> {
    const now = this.#now();
    if (group !== undefined) return this.#group(topic, group).position(now);
    const one = this.#world.topic(topic);
    one.enter(now);
    return one.end();
  }

  async seek(topic: string, group: string, to: WireStart): Promise<void> {
    const now = this.#now();
    const { seek, from } = this.#world.record;
    // The record lists no starts for seeking: it takes those of new groups and, being a replay into a group, those of a replay.
    if (seek === "none" || ![...from.group, ...from.replay].includes(to.kind)) throw unsupported(`seek to "${to.kind}"`);
    this.#group(topic, group).seek(to, now);
  }

  async lag(topic: string, group: string): Promise<WireLag> {
    const now = this.#now();
    return this.#group(topic, group).lag(now, this.#world.clock.now());
  }

  #now(): number {
    this.#check();
    return this.#world.clock.monotonic();
  }

  #group(topic: string, name: string): Group {
    const group = this.#world.topic(topic).groups.get(name);
    if (group === undefined) throw noGroup(topic, name);
    return group;
  }
}
