import type {
  Admin,
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
import { PulsarAdmin } from "./admin.ts";
import { capabilities } from "./capabilities.ts";
import { Session } from "./client.ts";
import { openCursor } from "./cursor.ts";
import { classify, unavailable } from "./errors.ts";
import type { Endpoint, Settings } from "./options.ts";
import { factsOf, narrowed, ofTopic } from "./protocol/facts.ts";
import { openTransport } from "./protocol/open.ts";
import { Rest } from "./protocol/rest.ts";
import { keepsTopic } from "./protocol/retention.ts";
import { Publisher } from "./publisher.ts";
import { openSubscription } from "./subscription.ts";
import type { PulsarTransport } from "./transport.ts";

/** One cluster: a transport for messages, and the admin service for everything else. */
export class PulsarDriver implements Driver {
  readonly capabilities: Capabilities = capabilities.pulsar;
  readonly admin: Admin;
  readonly #endpoint: Endpoint;
  readonly #settings: Settings;
  readonly #context: DriverContext;
  readonly #rest: Rest | undefined;
  readonly #session: Session;
  readonly #publisher: Publisher;
  #transport: PulsarTransport | undefined;
  #connecting: Promise<Capabilities> | undefined;
  #record: Capabilities | undefined;
  /** As the transport was told at its opening. */
  #batchIndexAck = false;
  /** Connections that were lost, and how many of them were when the record was made. */
  #downs = 0;
  #known = 0;
  #closing: Promise<void> | undefined;

  constructor(endpoint: Endpoint, settings: Settings, context: DriverContext) {
    this.#endpoint = endpoint;
    this.#settings = settings;
    this.#context = context;
    this.#rest = settings.admin === undefined ? undefined : new Rest(settings.admin, endpoint);
    this.#session = new Session({
      clock: context.clock,
      settings,
      rest: this.#rest,
      transport: () => {
        if (this.#transport === undefined || this.#record === undefined) throw unavailable("There is no connection to the broker.");
        return this.#transport;
      },
    });
    this.#publisher = new Publisher(this.#session);
    this.admin = new PulsarAdmin(this.#session);
  }

  connect(signal: AbortSignal): Promise<Capabilities> {
    this.#connecting ??= this.#connect(signal).finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #connect(signal: AbortSignal): Promise<Capabilities> {
    if (this.#closing !== undefined) throw unavailable("The driver is closed.");
    const downs = this.#downs;
    if (this.#transport !== undefined && this.#record !== undefined && this.#known === downs) {
      await this.#transport.connect(signal);
      return this.#record;
    }
    const told = await factsOf(this.#rest, this.#settings.namespace, signal);
    this.#transport ??= this.#open(told.batchIndexAck);
    const batchIndexAck = told.batchIndexAck && this.#batchIndexAck;
    const facts = { ...told, ...(await this.#transport.connect(signal)), batchIndexAck };
    this.#record = narrowed(this.capabilities, facts, this.#settings);
    this.#known = downs;
    return this.#record;
  }

  #open(batchIndexAck: boolean): PulsarTransport {
    this.#batchIndexAck = batchIndexAck;
    const onDown = (error: unknown): void => {
      this.#downs += 1;
      if (this.#closing === undefined) this.#context.down(error);
    };
    return openTransport(this.#endpoint, this.#settings, { clock: this.#context.clock, batchIndexAck, onDown });
  }

  async describe(topic: string, signal: AbortSignal): Promise<Capabilities> {
    const kept = keepsTopic(this.#rest, this.#session.full(topic), signal);
    return ofTopic(this.#record ?? this.capabilities, ...(await Promise.all([this.#session.partitions(topic, signal), kept])));
  }

  publish(batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
    return this.#publisher.publish(batch, signal);
  }

  subscribe(request: SubscribeRequest, signal: AbortSignal): Promise<Subscription> {
    return openSubscription(this.#session, request, signal);
  }

  replay(request: ReplayRequest, signal: AbortSignal): Promise<Cursor> {
    return openCursor(this.#session, request, signal);
  }

  async ping(signal: AbortSignal): Promise<void> {
    await this.#session.transport().ping(signal);
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
    // At once: producers that are still being opened end with their transport.
    await Promise.all([this.#publisher.close(), this.#transport?.close()]);
    this.#rest?.close();
  }
}
