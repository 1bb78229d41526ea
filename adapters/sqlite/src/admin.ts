import { setImmediate } from "node:timers/promises";
import { type Admin, type Cut, driverError, type TopicInfo, type TopicSpec, type WireLag, type WireStart } from "brokerkit/driver";
import type { Client } from "./client.ts";
import { cutAt } from "./mapping.ts";
import * as topics from "./scripts/topics.ts";

export class SqliteAdmin implements Admin {
  readonly #client: Client;
  /** After what may have taken deliveries from their owners. */
  readonly #moved: () => void;

  constructor(client: Client, moved: () => void) {
    this.#client = client;
    this.#moved = moved;
  }

  async #change<T>(signal: AbortSignal, work: (sql: Client) => T): Promise<T> {
    const value = await this.#client.transact("write", () => work(this.#client), signal);
    this.#moved();
    await this.#client.durable();
    return value;
  }

  async createTopic({ name, partitions = 1, retention, native = {} }: TopicSpec, signal: AbortSignal): Promise<"created" | "existing"> {
    if (partitions > 1) throw refused(name, `${partitions} partitions: a topic of a file has one`);
    for (const option of Object.keys(Object(native))) throw refused(name, `the native option "${option}", which does not exist`);
    return this.#change(signal, (sql) => topics.ensureTopic(sql, name, retention));
  }

  describeTopic(topic: string, signal: AbortSignal): Promise<TopicInfo | undefined> {
    return this.#client.transact("read", () => topics.describeTopic(this.#client, topic), signal);
  }

  async deleteTopic(topic: string, signal: AbortSignal): Promise<void> {
    await this.#change(signal, (sql) => topics.deleteTopic(sql, topic));
    await this.#clean(signal);
  }

  async createGroup(topic: string, group: string, from: WireStart, signal: AbortSignal): Promise<"created" | "existing"> {
    const { created } = await this.#change(signal, (sql) => topics.ensureGroup(sql, topic, group, from));
    return created ? "created" : "existing";
  }

  async deleteGroup(topic: string, group: string, signal: AbortSignal): Promise<void> {
    await this.#change(signal, (sql) => topics.deleteGroup(sql, topic, group));
    await this.#clean(signal);
  }

  /** The names are gone already; the space follows piece by piece, so that nobody waits long for a turn to write. */
  async #clean(signal: AbortSignal): Promise<void> {
    while (!signal.aborted && (await this.#client.transact("write", () => topics.removeRemains(this.#client), signal)))
      await setImmediate();
  }

  async position(topic: string, group: string | undefined, signal: AbortSignal): Promise<Cut> {
    return cutAt(await this.#client.transact("read", () => topics.floorOf(this.#client, topic, group), signal));
  }

  async seek(topic: string, group: string, to: WireStart, signal: AbortSignal): Promise<void> {
    await this.#change(signal, (sql) => topics.moveGroup(sql, topic, group, to));
  }

  lag(topic: string, group: string, signal: AbortSignal): Promise<WireLag> {
    return this.#client.transact("write", () => topics.lagOf(this.#client, topic, group), signal);
  }
}

function refused(topic: string, what: string): Error {
  return driverError("INVALID_ARGUMENT", `[sqlite] Topic "${topic}" can't have ${what}.`);
}
