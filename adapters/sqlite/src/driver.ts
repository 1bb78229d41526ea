import type * as spi from "brokerkit/driver";
import { SqliteAdmin } from "./admin.ts";
import { capabilities } from "./capabilities.ts";
import { Client } from "./client.ts";
import { broadcast, replay } from "./cursor.ts";
import { classify, notFound } from "./errors.ts";
import type { Settings } from "./options.ts";
import { publish } from "./publisher.ts";
import { findLog } from "./scripts/append.ts";
import { ensureGroup } from "./scripts/topics.ts";
import { GroupSubscription } from "./subscription.ts";

/** One connection to a broker file. */
export class SqliteDriver implements spi.Driver {
  readonly capabilities: spi.Capabilities = capabilities.sqlite;
  readonly admin: spi.Admin;
  readonly #client: Client;
  readonly #members = new Set<GroupSubscription>();

  constructor(settings: Settings, context: spi.DriverContext) {
    this.#client = new Client(settings, context);
    this.admin = new SqliteAdmin(this.#client, () => {
      for (const member of this.#members) member.check();
    });
  }

  async connect(signal: AbortSignal): Promise<spi.Capabilities> {
    await this.#client.connect(signal);
    return this.#narrowed();
  }

  async describe(topic: string, signal: AbortSignal): Promise<spi.Capabilities> {
    const found = await this.#client.transact("read", () => findLog(this.#client, topic), signal);
    if (found === undefined) throw notFound(topic);
    return this.#narrowed();
  }

  /** What the options leave of the ceiling. */
  #narrowed(): spi.Capabilities {
    const { synchronous, leaseMs: ms, dedupeMs: windowMs } = this.#client.settings;
    const durabilityOnAck = synchronous === "full" ? "fsync" : "page-cache";
    return Object.freeze({
      ...this.capabilities,
      durabilityOnAck,
      lease: Object.freeze({ ms, extend: true }),
      dedupe: Object.freeze({ windowMs }),
    });
  }

  publish(batch: readonly spi.WireRecord[], signal: AbortSignal): Promise<readonly spi.PublishResult[]> {
    return publish(this.#client, batch, signal);
  }

  async subscribe(request: spi.SubscribeRequest, signal: AbortSignal): Promise<spi.Subscription> {
    const { topic, group: name, from } = request;
    if (name === undefined) return broadcast(this.#client, request, signal);
    const { group, created } = await this.#client.transact("write", () => ensureGroup(this.#client, topic, name, from), signal);
    if (created) await this.#client.durable();
    const member: GroupSubscription = new GroupSubscription(this.#client, { ...request, group: name }, group, created, () =>
      this.#members.delete(member),
    );
    this.#members.add(member);
    return member;
  }

  replay(request: spi.ReplayRequest, signal: AbortSignal): Promise<spi.Cursor> {
    return replay(this.#client, request, signal);
  }

  async ping(signal: AbortSignal): Promise<void> {
    await this.#client.transact("read", () => this.#client.one("SELECT count(*) FROM logs"), signal);
  }

  classify(error: unknown): spi.Classified {
    return classify(error);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#members].map((member) => member.close()));
    await this.#client.close();
  }
}
