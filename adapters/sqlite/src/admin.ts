import { setImmediate } from "node:timers/promises";
import { type Admin, type Cut, driverError, type TopicInfo, type TopicSpec, type WireLag, type WireStart } from "brokerkit/driver";
import type { Client } from "./client.ts";
import { cutAt } from "./mapping.ts";
import { findLog } from "./scripts/append.ts";
import { deleteGroup, deleteTopic, ensureGroup, floorOf, lagOf, moveGroup, newLog, removeRemains } from "./scripts/topics.ts";

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
    const [option] = Object.keys(Object(native));
    const wrong =
      partitions > 1
        ? `${partitions} partitions: a topic of a file has one`
        : option && `the native option "${option}", which does not exist`;
    if (wrong) throw driverError("INVALID_ARGUMENT", `[sqlite] Topic "${name}" can't have ${wrong}.`);
    return this.#change(signal, (sql) => {
      if (findLog(sql, name) !== undefined) return "existing";
      newLog(sql, name, retention);
      return "created";
    });
  }

  describeTopic(topic: string, signal: AbortSignal): Promise<TopicInfo | undefined> {
    const describe = (): TopicInfo | undefined => {
      const log = findLog(this.#client, topic);
      if (log === undefined) return undefined;
      const groups = this.#client.all<{ name: string }>("SELECT name FROM groups WHERE log = ?1 ORDER BY name", log.id);
      const retention = { ms: log.keepMs ?? undefined, bytes: log.keepBytes ?? undefined, compact: log.compact === 1 };
      return { partitions: 1, retention, groups: groups.map(({ name }) => name) };
    };
    return this.#client.transact("read", describe, signal);
  }

  async deleteTopic(topic: string, signal: AbortSignal): Promise<void> {
    await this.#change(signal, (sql) => deleteTopic(sql, topic));
    await this.#clean(signal);
  }

  async createGroup(topic: string, group: string, from: WireStart, signal: AbortSignal): Promise<"created" | "existing"> {
    const { created } = await this.#change(signal, (sql) => ensureGroup(sql, topic, group, from));
    return created ? "created" : "existing";
  }

  async deleteGroup(topic: string, group: string, signal: AbortSignal): Promise<void> {
    await this.#change(signal, (sql) => deleteGroup(sql, topic, group));
    await this.#clean(signal);
  }

  /** The names are gone already; the space follows piece by piece, so that nobody waits long for a turn to write. */
  async #clean(signal: AbortSignal): Promise<void> {
    while (!signal.aborted && (await this.#client.transact("write", () => removeRemains(this.#client), signal))) await setImmediate();
  }

  async position(topic: string, group: string | undefined, signal: AbortSignal): Promise<Cut> {
    return cutAt(await this.#client.transact("read", () => floorOf(this.#client, topic, group), signal));
  }

  async seek(topic: string, group: string, to: WireStart, signal: AbortSignal): Promise<void> {
    await this.#change(signal, (sql) => moveGroup(sql, topic, group, to));
  }

  lag(topic: string, group: string, signal: AbortSignal): Promise<WireLag> {
    return this.#client.transact("write", () => lagOf(this.#client, topic, group), signal);
  }
}
