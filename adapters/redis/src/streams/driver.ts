import { hostname } from "node:os";
import {
  type Admin,
  type Capabilities,
  type Classified,
  type Coordination,
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
import { capabilities } from "../capabilities.ts";
import { Link, notSent, PATIENCE_MS, pairs, type Reply, SHORT_PATIENCE_MS } from "../client.ts";
import { classify, unavailable } from "../errors.ts";
import type { Endpoint } from "../options.ts";
import { within } from "../protocol/bounds.ts";
import { StreamsAdmin } from "./admin.ts";
import type { Session } from "./client.ts";
import { openCursor } from "./cursor.ts";
import { compareIds } from "./mapping.ts";
import { fence } from "./protocol/fence.ts";
import { SharedLinks } from "./protocol/shared-links.ts";
import { longestBlockMs } from "./protocol/waiting.ts";
import { publish } from "./publisher.ts";
import { TopicKeys } from "./scripts/keys.ts";
import { Registers } from "./scripts/register.ts";
import { openSubscription } from "./subscription.ts";

/** Streams: one connection publishes, one settles and administers, and each reader has its own. */
export class StreamsDriver implements Driver {
  readonly capabilities: Capabilities = capabilities.redis;
  readonly admin: Admin;
  readonly coordination: Coordination;
  readonly #endpoint: Endpoint;
  readonly #dedupeMs: number;
  readonly #context: DriverContext;
  readonly #session: Session & { longestBlockMs: number };
  #control: Link | undefined;
  #publisher: Link | undefined;
  #connecting: Promise<Capabilities> | undefined;
  #record: Capabilities | undefined;
  #closed = false;

  constructor(endpoint: Endpoint, leaseMs: number, dedupeMs: number, context: DriverContext) {
    this.#endpoint = endpoint;
    this.#dedupeMs = dedupeMs;
    this.#context = context;
    const host = hostname().replace(/[^A-Za-z0-9.-]/g, "");
    const links = {
      clock: context.clock,
      longestBlockMs: longestBlockMs(false),
      compareIds,
      control: () => {
        if (this.#control === undefined) throw unavailable("There is no connection to the server.");
        return this.#control;
      },
      open: (signal: AbortSignal, onDown: (error: Error) => void) => this.#open(signal, PATIENCE_MS, onDown),
    };
    this.#session = Object.assign(links, {
      leaseMs,
      keys: (topic: string) => new TopicKeys(endpoint.keyPrefix, topic),
      shared: new SharedLinks(links),
      abandoned: new Set<Link>(),
      consumer: () => `bk:${leaseMs}:${host.slice(0, 40)}-${process.pid}-${crypto.randomUUID().slice(0, 8)}`,
      members: new Set<never>(),
      readers: new Set<never>(),
      orphans: new Set<never>(),
    });
    this.admin = new StreamsAdmin(this.#session);
    this.coordination = new Registers(this.#session.control, endpoint.keyPrefix);
  }

  connect(signal: AbortSignal): Promise<Capabilities> {
    this.#connecting ??= this.#connect(signal).finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #connect(signal: AbortSignal): Promise<Capabilities> {
    if (this.#control === undefined) {
      const link: Link = await this.#open(signal, SHORT_PATIENCE_MS, (error) => {
        if (this.#control !== link) return;
        this.#control = undefined;
        this.#context.down(error);
      });
      try {
        this.#record = await within(signal, this.#probe(link));
      } catch (error) {
        link.destroy();
        throw error;
      }
      this.#control = link;
    }
    await within(signal, fence(this.#session));
    if (this.#publisher === undefined) {
      const link: Link = await this.#open(signal, PATIENCE_MS, (error) => this.#publisherGone(link, error));
      this.#publisher = link;
    }
    return this.#record as Capabilities;
  }

  async #open(signal: AbortSignal, patienceMs: number, onDown: (error: Error) => void): Promise<Link> {
    const link = await Link.open({ endpoint: this.#endpoint, clock: this.#context.clock, patienceMs, onDown }, signal);
    if (!this.#closed) return link;
    link.destroy();
    throw unavailable("The driver was closed while it connected.");
  }

  /** What this server can do. Settings that it does not tell count as the least. */
  async #probe(link: Link): Promise<Capabilities> {
    if (Number.parseInt(link.version, 10) < 7) {
      throw driverError("UNSUPPORTED", `Redis ${link.version} is too old: streams are read with what Redis 7.0 brought.`);
    }
    const setting = (name: string): Promise<Reply> => link.call(["CONFIG", "GET", name]).catch(() => null);
    const unblock = link.call(["CLIENT", "UNBLOCK", "0"]).catch(() => null);
    const settings = await Promise.all(["appendonly", "appendfsync", "save"].map(setting));
    const [logged, synced, saved] = settings.map((reply) => String(pairs(reply).values().next().value ?? ""));
    this.#session.longestBlockMs = longestBlockMs((await unblock) !== null);
    return Object.freeze({
      ...this.capabilities,
      durable: logged === "yes" || saved !== "",
      durabilityOnAck: logged === "yes" && synced === "always" ? "fsync" : "memory",
      lease: Object.freeze({ ...this.capabilities.lease, ms: this.#session.leaseMs }),
      dedupe: Object.freeze({ windowMs: this.#dedupeMs }),
    });
  }

  async describe(topic: string, signal: AbortSignal): Promise<Capabilities> {
    await this.admin.position(topic, undefined, signal);
    return this.#record as Capabilities;
  }

  publish(batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
    const link = this.#publisher;
    if (link === undefined || signal.aborted) return notSent(batch, signal);
    const abort = (error: Error): void => this.#publisherGone(link, error);
    return publish({ link, keys: this.#session.keys, dedupeMs: this.#dedupeMs, abort }, batch, signal);
  }

  /** Nobody publishes over this connection any more: the server may still hold bytes of it, so it is fenced before the next one opens. */
  #publisherGone(link: Link, error: Error): void {
    if (this.#publisher === link) this.#publisher = undefined;
    this.#session.abandoned.add(link);
    link.destroy(error);
    if (!this.#closed) this.#context.down(error);
  }

  subscribe(request: SubscribeRequest, signal: AbortSignal): Promise<Subscription> {
    return openSubscription(this.#session, request, signal);
  }

  replay(request: ReplayRequest, signal: AbortSignal): Promise<Cursor> {
    return openCursor(this.#session, request, signal);
  }

  async ping(signal: AbortSignal): Promise<void> {
    await within(signal, this.#session.control().call(["PING"]));
  }

  classify(error: unknown): Classified {
    return classify(error);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled([...this.#session.readers].map((reader) => reader.close()));
    this.#session.shared.close();
    for (const link of [this.#control, this.#publisher]) link?.destroy();
    this.#control = undefined;
    this.#publisher = undefined;
  }
}
