import { hostname } from "node:os";
import {
  type Admin,
  type Capabilities,
  type Classified,
  type Cursor,
  type Driver,
  type DriverContext,
  driverError,
  type PublishResult,
  type ReplayRequest,
  type SubscribeRequest,
  type Subscription,
  type WireRecord,
} from "brokerkit/driver";
import { RedisAdmin } from "./admin.ts";
import { capabilities } from "./capabilities.ts";
import { Link, longestBlockMs, type Member, pairs, type Reply, type Session, within } from "./client.ts";
import { openCursor } from "./cursor.ts";
import { classify, unavailable } from "./errors.ts";
import { TopicKeys } from "./mapping.ts";
import type { Endpoint } from "./options.ts";
import { publish } from "./publisher.ts";
import { openSubscription } from "./subscription.ts";

export class RedisDriver implements Driver, Session {
  readonly capabilities: Capabilities = capabilities.redis;
  readonly admin: Admin;
  readonly clock: DriverContext["clock"];
  readonly leaseMs: number;
  readonly members: Set<Member> = new Set();
  readonly orphans: Session["orphans"] = new Set();
  longestBlockMs: number = longestBlockMs(false);
  readonly #endpoint: Endpoint;
  readonly #dedupeMs: number;
  readonly #context: DriverContext;
  readonly #open = new Set<{ close(): Promise<void> }>();
  readonly #abandoned = new Set<Link>();
  #control: Link | undefined;
  #publisher: Link | undefined;
  #connecting: Promise<Capabilities> | undefined;
  #record: Capabilities | undefined;
  #closed = false;

  constructor(endpoint: Endpoint, leaseMs: number, dedupeMs: number, context: DriverContext) {
    this.#endpoint = endpoint;
    this.#dedupeMs = dedupeMs;
    this.#context = context;
    this.clock = context.clock;
    this.leaseMs = leaseMs;
    this.admin = new RedisAdmin(this);
  }

  connect(signal: AbortSignal): Promise<Capabilities> {
    this.#connecting ??= this.#connect(signal).finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #connect(signal: AbortSignal): Promise<Capabilities> {
    if (this.#control === undefined) {
      const link = await this.open(signal, (error) => {
        if (this.#control !== link) return;
        this.#control = undefined;
        this.#context.down(error);
      });
      this.#record = await this.#probe(link).catch((error: unknown) => {
        link.destroy();
        throw error;
      });
      this.#control = link;
    }
    await this.fence();
    if (this.#publisher === undefined) {
      const link = await this.open(signal, (error) => {
        if (this.#publisher === link) this.#publisherGone(link, error);
      });
      this.#publisher = link;
    }
    if (this.#closed) throw unavailable("The driver was closed while it connected.");
    return this.#record as Capabilities;
  }

  /** What this server can do. Settings that it does not tell count as the least. */
  async #probe(link: Link): Promise<Capabilities> {
    const { host, port } = this.#endpoint;
    if (Number.parseInt(link.version, 10) < 7) {
      throw driverError(
        "UNSUPPORTED",
        `Redis ${link.version} at ${host}:${port} is too old: streams are read with what Redis 7.0 brought.`,
      );
    }
    if (link.mode === "cluster")
      throw driverError(
        "UNSUPPORTED",
        `${host}:${port} is a Redis Cluster, which is not supported: use one server, with replicas if need be.`,
      );
    const setting = (name: string): Promise<Reply> => link.call(["CONFIG", "GET", name]).catch(() => null);
    const [appendonly, appendfsync, save, unblock] = await Promise.all([
      setting("appendonly"),
      setting("appendfsync"),
      setting("save"),
      link.call(["CLIENT", "UNBLOCK", "0"]).catch(() => null),
    ]);
    const config = new Map([...pairs(appendonly), ...pairs(appendfsync), ...pairs(save)].map(([name, value]) => [name, String(value)]));
    const logged = config.get("appendonly") === "yes";
    this.longestBlockMs = longestBlockMs(unblock !== null);
    return Object.freeze({
      ...this.capabilities,
      durable: logged || (config.get("save") ?? "") !== "",
      durabilityOnAck: logged && config.get("appendfsync") === "always" ? "fsync" : "memory",
      lease: Object.freeze({ ...this.capabilities.lease, ms: this.leaseMs }),
      dedupe: Object.freeze({ windowMs: this.#dedupeMs }),
    });
  }

  async describe(topic: string, signal: AbortSignal): Promise<Capabilities> {
    await this.admin.position(topic, undefined, signal);
    return this.#record as Capabilities;
  }

  publish(batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
    const link = this.#publisher;
    if (link === undefined || signal.aborted) {
      const error = unavailable(
        link === undefined ? "There is no connection to the server." : "The publish was aborted before anything was sent.",
      );
      return Promise.resolve(batch.map(() => ({ ok: false, error, sent: "no" })));
    }
    return publish(
      { link, keys: (topic) => this.keys(topic), dedupeMs: this.#dedupeMs, abort: (error) => this.#publisherGone(link, error) },
      batch,
      signal,
    );
  }

  /** Nobody publishes over this connection any more: the server may still hold bytes of it, so it is fenced before the next one opens. */
  #publisherGone(link: Link, error: Error): void {
    if (this.#publisher === link) this.#publisher = undefined;
    this.abandon(link);
    link.destroy(error);
    if (!this.#closed) this.#context.down(error);
  }

  async subscribe(request: SubscribeRequest, signal: AbortSignal): Promise<Subscription> {
    return this.#track(await openSubscription(this, request, signal));
  }

  async replay(request: ReplayRequest, signal: AbortSignal): Promise<Cursor> {
    return this.#track(await openCursor(this, request, signal));
  }

  async #track<T extends { close(): Promise<void> }>(opened: T): Promise<T> {
    if (this.#closed) {
      await opened.close();
      throw unavailable("The driver was closed.");
    }
    this.#open.add(opened);
    const close = opened.close.bind(opened);
    opened.close = () => {
      this.#open.delete(opened);
      return close();
    };
    return opened;
  }

  async ping(signal: AbortSignal): Promise<void> {
    await within(signal, this.control().call(["PING"]));
  }

  classify(error: unknown): Classified {
    return classify(error);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled([...this.#open].map((opened) => opened.close()));
    await this.#connecting?.catch(() => {});
    for (const link of [this.#control, this.#publisher]) link?.destroy();
    this.#control = undefined;
    this.#publisher = undefined;
  }

  control(): Link {
    if (this.#control === undefined) throw unavailable("There is no connection to the server.");
    return this.#control;
  }

  keys(topic: string): TopicKeys {
    return new TopicKeys(this.#endpoint.keyPrefix, topic);
  }

  open(signal: AbortSignal, onDown: (error: Error) => void): Promise<Link> {
    return Link.open(this.#endpoint, signal, onDown);
  }

  abandon(link: Link): void {
    this.#abandoned.add(link);
  }

  async fence(): Promise<void> {
    if (this.#abandoned.size === 0) return;
    const control = this.control();
    for (const link of this.#abandoned) {
      this.#abandoned.delete(link);
      // Numbers begin again when a server restarts, names don't. A server that forbids this leaves it at the closed socket.
      const listed = await control.call(["CLIENT", "LIST", "ID", String(link.id)]).catch(() => "");
      if (String(listed).includes(`name=${link.name} `)) await control.call(["CLIENT", "KILL", "ID", String(link.id)]).catch(() => {});
    }
  }

  consumer(): string {
    const host = hostname()
      .replace(/[^A-Za-z0-9.-]/g, "")
      .slice(0, 40);
    return `bk:${this.leaseMs}:${host}-${process.pid}-${crypto.randomUUID().slice(0, 8)}`;
  }
}
