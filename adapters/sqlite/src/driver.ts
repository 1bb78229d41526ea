import type {
  Capabilities,
  Classified,
  Cursor,
  Driver,
  DriverContext,
  PublishResult,
  ReplayRequest,
  SubscribeRequest,
  Subscription,
  WireRecord,
} from "brokerkit/driver";
import { ensureGroup, SqliteAdmin } from "./admin.ts";
import { capabilities } from "./capabilities.ts";
import { Client } from "./client.ts";
import { Broadcast, SqliteCursor } from "./cursor.ts";
import { classify, noTopic } from "./errors.ts";
import type { Settings } from "./options.ts";
import { Publisher } from "./publisher.ts";
import { findLog } from "./scripts/append.ts";
import { GroupSubscription } from "./subscription.ts";

const NEW_OWNER = "UPDATE meta SET owners = owners + 1 RETURNING owners AS owner";

/** One connection to a broker file. */
export class SqliteDriver implements Driver {
  readonly capabilities: Capabilities = capabilities.sqlite;
  readonly admin: SqliteAdmin;
  readonly #client: Client;
  readonly #publisher: Publisher;

  constructor(settings: Settings, context: DriverContext) {
    this.#client = new Client(settings, context);
    this.#publisher = new Publisher(this.#client);
    this.admin = new SqliteAdmin(this.#client);
  }

  async connect(signal: AbortSignal): Promise<Capabilities> {
    await this.#client.connect(signal);
    return narrowed(this.#client.settings);
  }

  async describe(topic: string, signal: AbortSignal): Promise<Capabilities> {
    const found = await this.#client.transact("read", () => findLog(this.#client, topic), signal);
    if (found === undefined) throw noTopic(topic);
    return narrowed(this.#client.settings);
  }

  publish(batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
    return this.#publisher.publish(batch, signal);
  }

  async subscribe(request: SubscribeRequest, signal: AbortSignal): Promise<Subscription> {
    const { topic, group: name, from } = request;
    if (name === undefined) return Broadcast.open(this.#client, request, signal);
    const { group, created, owner } = await this.#client.transact(
      "write",
      () => ({ ...ensureGroup(this.#client, topic, name, from), owner: this.#client.one<{ owner: number }>(NEW_OWNER)?.owner ?? 0 }),
      signal,
    );
    if (created) await this.#client.durable();
    return new GroupSubscription(this.#client, request, group, owner, created);
  }

  replay(request: ReplayRequest, signal: AbortSignal): Promise<Cursor> {
    return SqliteCursor.open(this.#client, request, signal);
  }

  async ping(signal: AbortSignal): Promise<void> {
    await this.#client.transact("read", () => this.#client.one("SELECT owners FROM meta"), signal);
  }

  classify(error: unknown): Classified {
    return classify(error);
  }

  close(): Promise<void> {
    return this.#client.close();
  }
}

/** What the options leave of the ceiling. */
function narrowed({ synchronous, leaseMs, dedupeMs }: Settings): Capabilities {
  return Object.freeze({
    ...capabilities.sqlite,
    durabilityOnAck: synchronous === "full" ? "fsync" : "page-cache",
    lease: Object.freeze({ ...capabilities.sqlite.lease, ms: leaseMs }),
    dedupe: Object.freeze({ windowMs: dedupeMs }),
  });
}
