import {
  type Admin,
  type Capabilities,
  type Classified,
  type Cursor,
  type Driver,
  type DriverContext,
  driverError,
  type PublishResult,
  type SubscribeRequest,
  type Subscription,
  type WireRecord,
} from "brokerkit/driver";
import { capabilities } from "../capabilities.ts";
import { HEADROOM, notSent, within } from "../client.ts";
import { classify, unavailable } from "../errors.ts";
import type { Endpoint } from "../options.ts";
import { Connection } from "../protocol/connection.ts";
import { CoreAdmin } from "./admin.ts";
import { subjectOf } from "./mapping.ts";
import { Publisher } from "./publisher.ts";
import { SubjectSubscription } from "./subscription.ts";

/**
 * Subjects: one connection publishes, one listens for all subscriptions. Nothing is owned, so a lost connection is healed beneath
 * `receive`: the next `connect` listens again, and publishers' numbers tell what was missed.
 */
export class CoreDriver implements Driver {
  readonly capabilities: Capabilities = capabilities["nats+core"];
  readonly admin: Admin = new CoreAdmin();
  readonly #endpoint: Endpoint;
  readonly #bufferBytes: number;
  readonly #context: DriverContext;
  readonly #subscriptions = new Set<SubjectSubscription>();
  #publishing: { readonly connection: Connection; readonly publisher: Publisher } | undefined;
  #listener: Connection | undefined;
  #connecting: Promise<Capabilities> | undefined;
  #listening: Promise<Connection> | undefined;
  /** The inbox of a connection that was given up with something under way. */
  #abandoned: string | undefined;
  #closed = false;

  constructor(endpoint: Endpoint, bufferBytes: number, context: DriverContext) {
    this.#endpoint = endpoint;
    this.#bufferBytes = bufferBytes;
    this.#context = context;
  }

  connect(signal: AbortSignal): Promise<Capabilities> {
    this.#connecting ??= this.#connect(signal).finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #connect(signal: AbortSignal): Promise<Capabilities> {
    try {
      if (this.#publishing === undefined) {
        const connection: Connection = await this.#open(signal, (error) => this.#publisherGone(connection, error));
        if (this.#abandoned !== undefined) await connection.outlive(this.#abandoned, signal);
        this.#publishing = { connection, publisher: new Publisher(connection, this.#endpoint.subjectPrefix) };
      }
      if (this.#subscriptions.size > 0) await this.#listen(signal);
      // Either may have gone while the other was opened.
      return this.#narrowed(this.#connection());
    } catch (error) {
      // Nobody will try again by himself, so nobody must wait for it.
      if (!classify(error).retryable) for (const subscription of this.#subscriptions) subscription.fail(error);
      throw error;
    }
  }

  #narrowed({ info }: Connection): Capabilities {
    if (!info.headers)
      throw driverError("UNSUPPORTED", `nats-server ${info.version} is too old, or has headers switched off: messages have headers.`);
    const maxBytes = Math.min(this.capabilities.message.maxBytes, info.maxPayload - HEADROOM);
    const publish = Object.freeze({ ...this.capabilities.publish, maxBytes: Math.max(maxBytes, 8_388_608) });
    return Object.freeze({ ...this.capabilities, publish, message: Object.freeze({ ...this.capabilities.message, maxBytes }) });
  }

  async #open(signal: AbortSignal, onDown: (error: Error) => void): Promise<Connection> {
    const connection = await Connection.open({ endpoint: this.#endpoint, clock: this.#context.clock, onDown }, signal);
    if (!this.#closed) return connection;
    connection.destroy();
    throw unavailable("The driver was closed while it connected.");
  }

  /** The connection that listens, with everything that somebody wants. */
  #listen(signal: AbortSignal): Promise<Connection> {
    if (this.#listener !== undefined) return Promise.resolve(this.#listener);
    this.#listening ??= this.#listenAnew(signal).finally(() => {
      this.#listening = undefined;
    });
    return this.#listening;
  }

  async #listenAnew(signal: AbortSignal): Promise<Connection> {
    const connection: Connection = await this.#open(signal, (error) => this.#listenerGone(connection, error));
    try {
      await within(signal, Promise.all([...this.#subscriptions].map((subscription) => subscription.attach(connection))));
    } catch (error) {
      connection.destroy();
      throw error;
    }
    this.#listener = connection;
    for (const subscription of this.#subscriptions) subscription.state("up");
    return connection;
  }

  #listenerGone(connection: Connection, error: Error): void {
    if (this.#listener !== connection) return;
    this.#listener = undefined;
    for (const subscription of this.#subscriptions) subscription.state("down", error);
    if (!this.#closed) this.#context.down(error);
  }

  #publisherGone(connection: Connection, error: Error): void {
    if (this.#publishing?.connection !== connection) return;
    this.#publishing = undefined;
    this.#abandoned = connection.inbox;
    connection.destroy(error, true);
    if (!this.#closed) this.#context.down(error);
  }

  #connection(): Connection {
    if (this.#publishing === undefined) throw unavailable("There is no connection to the server.");
    return this.#publishing.connection;
  }

  async describe(): Promise<Capabilities> {
    return this.#narrowed(this.#connection());
  }

  publish(batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
    const publishing = this.#publishing;
    if (publishing === undefined || signal.aborted) return notSent(batch, signal);
    return publishing.publisher.publish(batch, signal, (error) => this.#publisherGone(publishing.connection, error));
  }

  async subscribe(request: SubscribeRequest, signal: AbortSignal): Promise<Subscription> {
    const connection = await this.#listen(signal);
    const subject = subjectOf(this.#endpoint.subjectPrefix, request.topic);
    const left = (): void => void this.#subscriptions.delete(subscription);
    const subscription: SubjectSubscription = new SubjectSubscription(request, subject, this.#context.clock, this.#bufferBytes, left);
    try {
      await within(signal, subscription.attach(connection));
      if (this.#closed || this.#listener !== connection) throw unavailable("The connection was lost while subscribing.");
      this.#subscriptions.add(subscription);
      return subscription;
    } catch (error) {
      await subscription.close();
      throw error;
    }
  }

  async replay(): Promise<Cursor> {
    throw driverError("UNSUPPORTED", "Core NATS keeps nothing that could be replayed. Use nats: for JetStream.");
  }

  async ping(signal: AbortSignal): Promise<void> {
    await within(signal, this.#connection().flush());
  }

  classify(error: unknown): Classified {
    return classify(error);
  }

  async close(): Promise<void> {
    this.#closed = true;
    const subscriptions = [...this.#subscriptions];
    this.#listener?.destroy();
    this.#publishing?.connection.destroy();
    this.#listener = undefined;
    this.#publishing = undefined;
    await Promise.all(subscriptions.map((subscription) => subscription.close()));
  }
}
