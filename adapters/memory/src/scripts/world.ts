import type { Capabilities, Clock, Retention } from "brokerkit/driver";
import { beyond, invalid, noTopic } from "../errors.ts";
import { Registers } from "./registers.ts";
import type { Laws } from "./source.ts";
import { Topic } from "./topic.ts";

/** What lives as long as the process: topics and groups that several drivers share. It obeys one capability record. */
export class World implements Laws {
  readonly record: Capabilities;
  readonly topics: Map<string, Topic> = new Map();
  readonly registers: Registers = new Registers();
  readonly keeps: boolean;
  /** How many there were so far. */
  members = 0;
  #clock: Clock | undefined;
  #drivers = 0;

  constructor(record: Capabilities) {
    const { from, seek } = record;
    this.record = record;
    this.keeps = seek !== "none" || from.replay.length > 0 || [...from.group, ...from.broadcast].some((kind) => kind !== "latest");
  }

  /** The clock of the first driver: leases and delays of all members must run by one. */
  get clock(): Clock {
    if (this.#clock === undefined) throw beyond("before a driver was opened");
    return this.#clock;
  }

  bind(clock: Clock): void {
    this.#clock ??= clock;
  }

  /** Counts connected drivers. */
  connected(change: 1 | -1): void {
    this.#drivers += change;
    for (const topic of this.topics.values()) topic.arm(this.#drivers > 0);
  }

  /** The topic; where topics are implicit it is made by being named. */
  topic(name: string): Topic {
    const topic = this.topics.get(name);
    if (topic !== undefined) return topic;
    if (!this.record.topics.explicit) return this.create(name, 1, {});
    throw noTopic(name);
  }

  create(name: string, partitions: number, retention: Retention): Topic {
    const topic = new Topic(this, name, partitions, retention);
    this.topics.set(name, topic);
    return topic;
  }
}

const worlds = new Map<string, World>();

/** The world of this name, if there is one. */
export function findWorld(name: string): World | undefined {
  return worlds.get(name);
}

/** The world of this name in this process, made on first use. One world obeys one record. */
export function namedWorld(name: string, record: Capabilities): World {
  const known = worlds.get(name);
  if (known === undefined) {
    const world = new World(record);
    worlds.set(name, world);
    return world;
  }
  const text = (value: Capabilities): string =>
    JSON.stringify(value, (_, part: unknown) => (part === Number.POSITIVE_INFINITY ? "∞" : part));
  if (text(known.record) === text(record)) return known;
  throw invalid(`the world "${name}" exists with other options; use the same leaseMs, dedupeMs and like everywhere, or another name`);
}
