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
import { HEADROOM, notSent, within } from "../client.ts";
import { classify, unavailable } from "../errors.ts";
import type { Endpoint } from "../options.ts";
import { Connection } from "../protocol/connection.ts";
import { JetStreamAdmin } from "./admin.ts";
import { Session, type Settings } from "./client.ts";
import { openCursor } from "./cursor.ts";
import { NS } from "./protocol/api.ts";
import { Registers } from "./protocol/registers.ts";
import { Publisher } from "./publisher.ts";
import { openSubscription } from "./subscription.ts";

/** JetStream: one connection publishes, the other does everything else. */
export class JetStreamDriver implements Driver {
  readonly capabilities: Capabilities = capabilities.nats;
  readonly admin: Admin;
  readonly coordination: Coordination;
  readonly #context: DriverContext;
  readonly #session: Session;
  #control: Connection | undefined;
  #publishing: { readonly connection: Connection; readonly publisher: Publisher } | undefined;
  #connecting: Promise<Capabilities> | undefined;
  #record: Capabilities | undefined;
  /** The inbox of a connection that was given up with something under way. */
  #abandoned: string | undefined;
  #closed = false;

  constructor(endpoint: Endpoint, settings: Settings, context: DriverContext) {
    this.#context = context;
    this.#session = new Session(context.clock, endpoint, settings, () => {
      if (this.#control === undefined) throw unavailable("There is no connection to the server.");
      return this.#control;
    });
    this.admin = new JetStreamAdmin(this.#session);
    this.coordination = new Registers(this.#session);
  }

  connect(signal: AbortSignal): Promise<Capabilities> {
    this.#connecting ??= this.#connect(signal).finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #connect(signal: AbortSignal): Promise<Capabilities> {
    if (this.#control === undefined) {
      const control: Connection = await this.#open(signal, (error) => this.#controlGone(control, error));
      try {
        this.#record = await this.#probe(control, signal);
      } catch (error) {
        control.destroy();
        throw error;
      }
      this.#control = control;
    }
    if (this.#publishing === undefined) {
      const connection: Connection = await this.#open(signal, (error) => this.#publisherGone(connection, error));
      if (this.#abandoned !== undefined) await connection.outlive(this.#abandoned, signal);
      this.#publishing = { connection, publisher: new Publisher(connection, this.#session) };
    }
    // It may have gone while the other one was opened.
    this.#session.control();
    return this.#record as Capabilities;
  }

  async #open(signal: AbortSignal, onDown: (error: Error) => void): Promise<Connection> {
    const connection = await Connection.open({ endpoint: this.#session.endpoint, clock: this.#context.clock, onDown }, signal);
    if (!this.#closed) return connection;
    connection.destroy();
    throw unavailable("The driver was closed while it connected.");
  }

  /** What this server can do. Servers before 2.9 take pulls in another way. */
  async #probe(connection: Connection, signal: AbortSignal): Promise<Capabilities> {
    const { version, maxPayload, clustered, headers } = connection.info;
    const [major = 0, minor = 0] = version.split(".").map(Number);
    if (major < 2 || (major === 2 && minor < 9) || !headers)
      throw driverError("UNSUPPORTED", `nats-server ${version} is too old, or has headers switched off: JetStream is used as of 2.9.`);
    const { leaseMs, maxUnacked, dedupeMs } = this.#session.settings;
    await this.#session.api.account(connection, signal).catch((error: unknown) => {
      // Whoever may not ask this may still be allowed all that is needed.
      if (classify(error).code !== "FORBIDDEN") throw error;
    });
    const maxBytes = Math.min(this.capabilities.message.maxBytes, maxPayload - HEADROOM);
    return Object.freeze({
      ...this.capabilities,
      durabilityOnAck: clustered ? "replicated" : "page-cache",
      publish: Object.freeze({ ...this.capabilities.publish, maxBytes: Math.max(maxBytes, 8_388_608) }),
      lease: Object.freeze({ ...this.capabilities.lease, ms: leaseMs }),
      hold: Object.freeze({ ...this.capabilities.hold, maxUnacked }),
      dedupe: Object.freeze({ windowMs: dedupeMs }),
      message: Object.freeze({ ...this.capabilities.message, maxBytes }),
    });
  }

  #controlGone(connection: Connection, error: Error): void {
    if (this.#control === connection) this.#control = undefined;
    for (const reader of [...this.#session.readers]) reader.disconnected(error);
    if (!this.#closed) this.#context.down(error);
  }

  /** The server may still be busy with what was sent, but it gets nothing more of it. */
  #publisherGone(connection: Connection, error: Error): void {
    const gone = this.#publishing;
    if (gone?.connection !== connection) return;
    this.#publishing = undefined;
    this.#abandoned = connection.inbox;
    connection.destroy(error, true);
    gone.publisher.fail(error);
    if (!this.#closed) this.#context.down(error);
  }

  /** A topic may be kept in memory, by one server only, or with a shorter window. */
  async describe(topic: string, signal: AbortSignal): Promise<Capabilities> {
    const record = this.#record as Capabilities;
    const { storage, num_replicas, duplicate_window, no_ack } = (await this.#session.stream(topic, signal)).config;
    if (no_ack === true)
      throw driverError("INVALID_ARGUMENT", `The stream of "${topic}" has no_ack: it would confirm nothing that is published. Change it.`);
    return Object.freeze({
      ...record,
      durable: storage !== "memory" || num_replicas > 1,
      durabilityOnAck: num_replicas > 1 ? record.durabilityOnAck : storage === "memory" ? "memory" : "page-cache",
      dedupe: Object.freeze({ windowMs: Math.min(record.dedupe.windowMs, duplicate_window / NS) }),
    });
  }

  publish(batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
    const publishing = this.#publishing;
    if (publishing === undefined || signal.aborted) return notSent(batch, signal);
    return publishing.publisher.publish(batch, signal, (error) => this.#publisherGone(publishing.connection, error));
  }

  subscribe(request: SubscribeRequest, signal: AbortSignal): Promise<Subscription> {
    return openSubscription(this.#session, request, signal);
  }

  replay(request: ReplayRequest, signal: AbortSignal): Promise<Cursor> {
    return openCursor(this.#session, request, signal);
  }

  async ping(signal: AbortSignal): Promise<void> {
    await within(signal, this.#session.control().flush());
  }

  classify(error: unknown): Classified {
    return classify(error);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled([...this.#session.readers].map((reader) => reader.close()));
    this.#control?.destroy();
    this.#publishing?.connection.destroy();
    this.#publishing?.publisher.fail(unavailable("The driver was closed."));
    this.#publishing = undefined;
    this.#control = undefined;
  }
}
