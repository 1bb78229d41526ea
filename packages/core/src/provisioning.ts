import { unsupported } from "./capability/unsupported.ts";
import { isLogged, KEEPER } from "./dead-letter/held.ts";
import { deadTopic } from "./dead-letter/letter.ts";
import type { TopicDefinition } from "./definition.ts";
import type { Clock } from "./driver/adapter.ts";
import type { Capabilities } from "./driver/capabilities.ts";
import type { Retention, TopicInfo, TopicSpec } from "./driver/driver.ts";
import { BrokerError, invalidArgument } from "./errors.ts";
import { administer } from "./group.ts";
import type { Connection } from "./lifecycle/connection.ts";
import { checkTopicName } from "./options.ts";
import type { ProvisionResult } from "./surface.ts";
import type { Telemetry } from "./telemetry/events.ts";

export interface ProvisioningWiring {
  readonly adapter: string;
  readonly connection: Connection;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

const LATEST = { kind: "latest" } as const;

/** Creates and checks what topics need on the backend; never alters what is there. */
export class Provisioning {
  readonly #wiring: ProvisioningWiring;

  constructor(wiring: ProvisioningWiring) {
    this.#wiring = wiring;
  }

  /** Creates the topic and its groups if they are missing. */
  async create(definition: Partial<TopicDefinition> & { name: string }, wire: string): Promise<void> {
    const spec = this.#spec(definition, wire);
    await this.#admin(wire, "create", (admin, signal) => admin.createTopic(spec, signal));
    for (const group of this.#groups(definition)) {
      await this.#admin(wire, "create a group of", (admin, signal) => admin.createGroup(wire, group, LATEST, signal));
    }
  }

  createDead(name: string): Promise<void> {
    return this.create(this.#dead(name), name);
  }

  /** Rejects as `verify` does. */
  verifyDead(name: string): Promise<void> {
    return this.verify(this.#dead(name), name);
  }

  /**
   * A dead topic. One shard: what became of a letter is written behind it, and is to be read behind it. Where nothing is kept without a
   * group, there is one to keep the letters.
   */
  #dead(name: string): Pick<TopicDefinition, "name" | "order" | "groups"> {
    return { name, order: "topic", groups: isLogged(this.#capabilities) ? [] : [KEEPER] };
  }

  /** Rejects `NOT_FOUND` for what is missing, `INVALID_ARGUMENT` for what differs. */
  async verify(definition: Partial<TopicDefinition> & { name: string }, wire: string): Promise<void> {
    const found = await this.#compare(definition, wire);
    if (found.missing !== undefined) {
      const text = `[${this.#wiring.adapter}] ${found.missing} is missing, and provision: "verify" creates nothing. Create it first: broker.provision([…]).`;
      throw new BrokerError("NOT_FOUND", text, { details: undefined, adapter: this.#wiring.adapter, topic: definition.name });
    }
    if (found.differs.length > 0) {
      throw invalidArgument(
        "provision",
        `[${this.#wiring.adapter}] topic "${wire}" differs from its definition: ${found.differs.join("; ")}.`,
      );
    }
  }

  /** What `broker.provision` does for one topic, its dead letters included. */
  async report(definition: TopicDefinition, wire: string, dryRun: boolean): Promise<ProvisionResult> {
    if (typeof definition !== "object") {
      throw invalidArgument("topics", `provision takes topics made by defineTopic, got ${typeof definition}.`);
    }
    checkTopicName(definition.name);
    this.#spec(definition, wire);
    const found = await this.#compare(definition, wire);
    const dead = await this.#missingDead(definition, wire);
    const missing = [...(found.missing === undefined ? [] : [found.missing]), ...dead.map((name) => `topic "${name}"`)];
    const ineffective = this.#ineffective(definition);
    if (missing.length > 0 && !dryRun) {
      await this.create(definition, wire);
      for (const name of dead) await this.createDead(name);
    }
    const said = [
      ...(missing.length > 0 ? [`${dryRun ? "would create" : "created"} ${missing.join(", ")}`] : []),
      ...found.differs,
      ...ineffective,
    ];
    const action = found.differs.length > 0 ? "differs" : missing.length > 0 ? "create" : "none";
    return { topic: definition.name, action, detail: said.length === 0 ? "as defined" : said.join("; ") };
  }

  async #compare(definition: Partial<TopicDefinition>, wire: string): Promise<{ missing: string | undefined; differs: string[] }> {
    if (!this.#capabilities.topics.describe) return { missing: undefined, differs: [] };
    const info = await this.#admin(wire, "describe", (admin, signal) => admin.describeTopic(wire, signal));
    const groups = this.#groups(definition);
    if (info === undefined) {
      const with_ = groups.length === 0 ? "" : ` with group${groups.length === 1 ? "" : "s"} ${groups.join(", ")}`;
      return { missing: `topic "${wire}"${with_}`, differs: [] };
    }
    const lacking = groups.filter((group) => info.groups !== undefined && !info.groups.includes(group));
    const missing = lacking.length === 0 ? undefined : `group${lacking.length === 1 ? "" : "s"} ${lacking.join(", ")} of topic "${wire}"`;
    return { missing, differs: this.#differences(definition, info) };
  }

  #differences(definition: Partial<TopicDefinition>, info: TopicInfo): string[] {
    const { retention } = definition;
    const partitions = shards(definition, this.#capabilities);
    const differs: string[] = [];
    const { coordination, topics } = this.#capabilities;
    // Where core makes them, a topic without a number has none.
    const found = info.partitions ?? (coordination ? 0 : partitions);
    if (partitions !== undefined && partitions <= topics.partitions && found !== partitions) {
      differs.push(`partitions are ${found}, defined ${partitions}`);
    }
    for (const name of ["ms", "bytes", "compact"] as const) {
      const wanted = retention?.[name];
      if (wanted !== undefined && info.retention !== undefined && (info.retention[name] ?? false) !== (wanted || false)) {
        differs.push(`retention.${name} is ${info.retention[name] ?? "not set"}, defined ${wanted}`);
      }
    }
    return differs;
  }

  async #missingDead(definition: TopicDefinition, wire: string): Promise<string[]> {
    if (!this.#capabilities.topics.describe || !this.#capabilities.topics.explicit) return [];
    const missing: string[] = [];
    for (const group of this.#groups(definition)) {
      const name = deadTopic(wire, group);
      const info = await this.#admin(name, "describe", (admin, signal) => admin.describeTopic(name, signal));
      if (info === undefined) missing.push(name);
    }
    return missing;
  }

  #spec(definition: Partial<TopicDefinition>, wire: string): TopicSpec {
    const { retention, native } = definition;
    const partitions = shards(definition, this.#capabilities);
    this.#checkRetention(retention, definition.name ?? wire);
    for (const detail of this.#ineffective(definition)) {
      this.#wiring.telemetry.emit({ type: "no-effect", topic: definition.name, option: "partitions", detail });
    }
    const most = this.#capabilities.topics.partitions;
    return { name: wire, partitions: partitions !== undefined && partitions <= most ? partitions : undefined, retention, native };
  }

  #ineffective(definition: Partial<TopicDefinition>): string[] {
    const { partitions } = definition;
    const most = this.#capabilities.topics.partitions;
    if (partitions === undefined || partitions <= most) return [];
    return [
      `partitions: ${partitions} has no effect: topics of ${this.#wiring.adapter} have ${most === 1 ? "one shard" : `at most ${most}`}`,
    ];
  }

  #checkRetention(retention: Retention | undefined, topic: string): void {
    for (const name of ["ms", "bytes", "compact"] as const) {
      const wanted = retention?.[name];
      if (wanted !== undefined && wanted !== false && !this.#capabilities.retention[name])
        throw unsupported(`retention.${name}`, this.#wiring.adapter, topic);
    }
  }

  #groups(definition: Partial<TopicDefinition>): readonly string[] {
    const groups = definition.groups ?? [];
    if (groups.length > 0 && this.#capabilities.delivery.group === "none")
      throw unsupported("groups", this.#wiring.adapter, definition.name);
    return groups;
  }

  get #capabilities(): Capabilities {
    return this.#wiring.connection.capabilities;
  }

  #admin<T>(wire: string, doing: string, call: Parameters<typeof administer<T>>[3]): Promise<T> {
    return administer(this.#wiring, wire, doing, call);
  }
}

/** How many shards a definition asks for: an order of the whole topic needs a single one, which it has by itself where core makes them. */
function shards({ partitions, order }: Partial<TopicDefinition>, { coordination }: Capabilities): number | undefined {
  return order === "topic" && !coordination ? 1 : partitions;
}
