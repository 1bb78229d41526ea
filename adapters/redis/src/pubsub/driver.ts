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
import { Link, notSent, PATIENCE_MS } from "../client.ts";
import { classify, unavailable } from "../errors.ts";
import type { Endpoint } from "../options.ts";
import { within } from "../protocol/bounds.ts";
import { PubSubAdmin } from "./admin.ts";
import { counterKey, publish } from "./publisher.ts";
import { Channel, ChannelSubscription } from "./subscription.ts";

/**
 * Channels: one connection publishes, one listens for all subscriptions. Nothing is owned, so a lost connection is healed beneath
 * `receive`: the next `connect` listens again, and counts what was published meanwhile.
 */
export class PubSubDriver implements Driver {
  readonly capabilities: Capabilities = capabilities["redis+pubsub"];
  readonly admin: Admin;
  readonly #endpoint: Endpoint;
  readonly #plain: boolean;
  readonly #bufferBytes: number;
  readonly #context: DriverContext;
  readonly #record: Capabilities;
  readonly #channels = new Map<string, Channel>();
  #publisher: Link | undefined;
  #listener: Link | undefined;
  #connecting: Promise<Capabilities> | undefined;
  #listening: Promise<Link> | undefined;
  #closed = false;

  constructor(endpoint: Endpoint, plain: boolean, bufferBytes: number, context: DriverContext) {
    this.#endpoint = endpoint;
    this.#plain = plain;
    this.#bufferBytes = bufferBytes;
    this.#context = context;
    const message = Object.freeze({ ...this.capabilities.message, key: false, headers: false, tombstone: false });
    this.#record = plain ? Object.freeze({ ...this.capabilities, message }) : this.capabilities;
    this.admin = new PubSubAdmin(async (topic, signal) => {
      await within(signal, this.#link().call(["DEL", counterKey(endpoint.keyPrefix + topic)]));
    });
  }

  connect(signal: AbortSignal): Promise<Capabilities> {
    this.#connecting ??= this.#connect(signal).finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #connect(signal: AbortSignal): Promise<Capabilities> {
    try {
      this.#publisher ??= await this.#open(signal, 2, (link, error) => this.#publisherGone(link, error));
      if (this.#channels.size > 0) await this.#listen(signal);
    } catch (error) {
      // Nobody will try again by himself, so nobody must wait for it.
      if (!classify(error).retryable)
        for (const channel of this.#channels.values()) for (const listener of channel.listeners) listener.fail(error);
      throw error;
    }
    return this.#record;
  }

  async #open(signal: AbortSignal, protocol: 2 | 3, gone: (link: Link, error: Error) => void): Promise<Link> {
    const where = { endpoint: this.#endpoint, clock: this.#context.clock, patienceMs: PATIENCE_MS, protocol };
    const link: Link = await Link.open({ ...where, onDown: (error) => gone(link, error) }, signal);
    if (!this.#closed) return link;
    link.destroy();
    throw unavailable("The driver was closed while it connected.");
  }

  /** The connection that listens, with every channel that somebody wants. */
  #listen(signal: AbortSignal): Promise<Link> {
    if (this.#listener !== undefined) return Promise.resolve(this.#listener);
    this.#listening ??= this.#listenAnew(signal).finally(() => {
      this.#listening = undefined;
    });
    return this.#listening;
  }

  async #listenAnew(signal: AbortSignal): Promise<Link> {
    const link = await this.#open(signal, 3, (gone, error) => this.#listenerGone(gone, error));
    try {
      await within(signal, Promise.all([...this.#channels.values()].map((channel) => channel.attach(link))));
    } catch (error) {
      link.destroy();
      throw error;
    }
    this.#listener = link;
    for (const channel of this.#channels.values()) for (const listener of channel.listeners) listener.state("up");
    return link;
  }

  #listenerGone(link: Link, error: Error): void {
    if (this.#listener !== link) return;
    this.#listener = undefined;
    for (const channel of this.#channels.values()) for (const listener of channel.listeners) listener.state("down", error);
    if (!this.#closed) this.#context.down(error);
  }

  #publisherGone(link: Link, error: Error): void {
    if (this.#publisher === link) this.#publisher = undefined;
    link.destroy(error);
    if (!this.#closed) this.#context.down(error);
  }

  #link(): Link {
    if (this.#publisher === undefined) throw unavailable("There is no connection to the server.");
    return this.#publisher;
  }

  async describe(): Promise<Capabilities> {
    return this.#record;
  }

  publish(batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
    const link = this.#publisher;
    if (link === undefined || signal.aborted) return notSent(batch, signal);
    const wiring = {
      link,
      prefix: this.#endpoint.keyPrefix,
      plain: this.#plain,
      abort: (error: Error) => this.#publisherGone(link, error),
    };
    return publish(wiring, batch, signal);
  }

  async subscribe(request: SubscribeRequest, signal: AbortSignal): Promise<Subscription> {
    if (request.group !== undefined)
      throw driverError("UNSUPPORTED", "Redis Pub/Sub has no groups: subscribe with broadcast, or use redis: for Streams.");
    const name = this.#endpoint.keyPrefix + request.topic;
    const link = await this.#listen(signal);
    let channel = this.#channels.get(name);
    const subscription = new ChannelSubscription(request, this.#context.clock, this.#bufferBytes, (left) => this.#left(name, left));
    if (channel === undefined) {
      channel = new Channel(name, this.#context.clock, this.#plain);
      this.#channels.set(name, channel);
      void channel.attach(link).catch(() => {});
    }
    channel.listeners.add(subscription);
    try {
      await within(signal, channel.ready);
      if (this.#closed || this.#listener !== link) throw unavailable("The connection was lost while subscribing.");
      return subscription;
    } catch (error) {
      await subscription.close();
      throw error;
    }
  }

  #left(name: string, subscription: ChannelSubscription): void {
    const channel = this.#channels.get(name);
    if (channel === undefined || !channel.listeners.delete(subscription) || channel.listeners.size > 0) return;
    this.#channels.delete(name);
    if (this.#listener !== undefined) channel.detach(this.#listener);
  }

  async replay(): Promise<Cursor> {
    throw driverError("UNSUPPORTED", "Redis Pub/Sub keeps nothing that could be replayed. Use redis: for Streams.");
  }

  async ping(signal: AbortSignal): Promise<void> {
    await within(signal, this.#link().call(["PING"]));
  }

  classify(error: unknown): Classified {
    return classify(error);
  }

  async close(): Promise<void> {
    this.#closed = true;
    const listeners = [...this.#channels.values()].flatMap((channel) => [...channel.listeners]);
    this.#listener?.destroy();
    this.#publisher?.destroy();
    this.#listener = undefined;
    this.#publisher = undefined;
    await Promise.all(listeners.map((listener) => listener.close()));
  }
}
