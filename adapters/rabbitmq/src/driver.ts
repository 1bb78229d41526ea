import type {
  Admin,
  Capabilities,
  Classified,
  Coordination,
  Cursor,
  Driver,
  DriverContext,
  PublishResult,
  ReplayRequest,
  SubscribeRequest,
  Subscription,
  WireRecord,
} from "brokerkit/driver";
import { RabbitMqAdmin } from "./admin.ts";
import { withoutLog } from "./capabilities.ts";
import type { Session } from "./client.ts";
import { openCursor } from "./cursor.ts";
import { classify, topicMissing, unavailable } from "./errors.ts";
import { registerOf } from "./mapping.ts";
import type { Endpoint, Settings } from "./options.ts";
import { Link } from "./protocol/link.ts";
import { Marks } from "./protocol/marks.ts";
import { Registers } from "./protocol/registers.ts";
import { hasLog, hasTopic } from "./protocol/topology.ts";
import { Publisher } from "./publisher.ts";
import { openSubscription } from "./subscription.ts";

const TRIES = 3;

/** One connection publishes, the other does everything else: a server with an alarm stops reading from connections that publish. */
export class RabbitMqDriver implements Driver {
  readonly capabilities: Capabilities;
  readonly admin: Admin;
  readonly coordination: Coordination;
  readonly #endpoint: Endpoint;
  readonly #context: DriverContext;
  readonly #session: Session;
  #control: Link | undefined;
  #publishing: { readonly link: Link; readonly publisher: Publisher } | undefined;
  #connecting: Promise<Capabilities> | undefined;
  #closing: Promise<void> | undefined;

  constructor(endpoint: Endpoint, settings: Settings, ceiling: Capabilities, context: DriverContext) {
    this.#endpoint = endpoint;
    this.#context = context;
    this.capabilities = ceiling;
    const { clock } = context;
    const registers = new Registers({ clock, queueType: settings.queueType, link: () => this.#up().link });
    this.#session = {
      clock,
      settings,
      control: () => {
        if (this.#control === undefined) throw unavailable("There is no connection to the server.");
        return this.#control;
      },
      store: (...mark) => this.#up().publisher.store(...mark),
      registers,
      marks: new Marks(clock),
      known: new Map(),
      maxDelayMs: ceiling.delay.maxMs,
      interrupted: new WeakSet(),
      readers: new Set(),
    };
    this.admin = new RabbitMqAdmin(this.#session);
    this.coordination = {
      read: (name, signal) => registers.read(registerOf(name), signal),
      compareAndSet: (name, expected, value, signal) => registers.compareAndSet(registerOf(name), expected, value, signal),
    };
  }

  #up(): { readonly link: Link; readonly publisher: Publisher } {
    if (this.#publishing === undefined) throw unavailable("There is no connection to the server.");
    return this.#publishing;
  }

  connect(signal: AbortSignal): Promise<Capabilities> {
    this.#connecting ??= this.#connect(signal).finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #connect(signal: AbortSignal): Promise<Capabilities> {
    // One may be found to have gone while the other was opened.
    for (let tries = 0; tries < TRIES && (this.#control === undefined || this.#publishing === undefined); tries++) {
      const opened = await Promise.allSettled([this.#openControl(signal), this.#openPublishing(signal)]);
      for (const one of opened) if (one.status === "rejected") throw one.reason;
    }
    this.#session.control();
    this.#up();
    return this.capabilities;
  }

  async #openControl(signal: AbortSignal): Promise<void> {
    if (this.#control !== undefined) return;
    const link: Link = await this.#open(signal, (error) => this.#controlGone(link, error));
    this.#session.known.clear();
    this.#control = link;
  }

  async #openPublishing(signal: AbortSignal): Promise<void> {
    if (this.#publishing !== undefined) return;
    const link: Link = await this.#open(
      signal,
      (error) => this.#publisherGone(link, error),
      (reason) => publisher.block(reason),
    );
    const publisher = new Publisher(link, this.#session);
    this.#session.known.clear();
    this.#publishing = { link, publisher };
  }

  async #open(signal: AbortSignal, onDown: (error: Error) => void, onBlocked?: (reason: string | undefined) => void): Promise<Link> {
    const where = { endpoint: this.#endpoint, clock: this.#context.clock, onDown, ...(onBlocked === undefined ? {} : { onBlocked }) };
    const link = await Link.open(where, signal);
    try {
      link.check();
      if (this.#closing !== undefined) throw unavailable("The driver was closed while it connected.");
      if (link.down !== undefined) throw link.down;
    } catch (error) {
      link.destroy();
      throw error;
    }
    return link;
  }

  #controlGone(link: Link, error: Error): void {
    if (this.#control !== link) return;
    this.#control = undefined;
    if (this.#closing === undefined) this.#context.down(error);
  }

  /** The server gets nothing more of what was under way. */
  #publisherGone(link: Link, error: Error): void {
    const gone = this.#publishing;
    if (gone?.link !== link) return;
    this.#publishing = undefined;
    link.destroy(error);
    gone.publisher.fail(error);
    if (this.#closing === undefined) this.#context.down(error);
  }

  /** A topic may have been made without a log. */
  async describe(topic: string, signal: AbortSignal): Promise<Capabilities> {
    const [found, log] = await Promise.all([hasTopic(this.#session, topic, signal), hasLog(this.#session, topic, signal)]);
    if (!found) throw topicMissing(topic);
    return log ? this.capabilities : withoutLog(this.capabilities);
  }

  async publish(batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
    const publishing = this.#publishing;
    if (publishing !== undefined && !signal.aborted)
      return await publishing.publisher.publish(batch, signal, (error) => this.#publisherGone(publishing.link, error));
    const error = unavailable(
      signal.aborted ? "The publish was aborted before anything was sent." : "There is no connection to the server.",
    );
    return batch.map(() => ({ ok: false, error, sent: "no" }));
  }

  subscribe(request: SubscribeRequest, signal: AbortSignal): Promise<Subscription> {
    return openSubscription(this.#session, request, signal);
  }

  replay(request: ReplayRequest, signal: AbortSignal): Promise<Cursor> {
    return openCursor(this.#session, request, signal);
  }

  /** An exchange that every server has is asked about. */
  async ping(signal: AbortSignal): Promise<void> {
    await this.#session.control().aside(signal, (channel) => channel.checkExchange("amq.topic"));
  }

  classify(error: unknown): Classified {
    return classify(error);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await Promise.allSettled([...this.#session.readers].map((reader) => reader.close()));
    const [control, publishing] = [this.#control, this.#publishing];
    this.#control = undefined;
    this.#publishing = undefined;
    publishing?.publisher.fail(unavailable("The driver was closed."));
    await Promise.all([control?.close(), publishing?.link.close()]);
  }
}
