import type { Consumption } from "./consumption.ts";
import { DeliverLine, type DeliverWiring } from "./deliver.ts";
import type { BrokerError } from "./errors.ts";
import { checkKeys, checkNumber, DEFAULTS } from "./options.ts";
import { type Deferred, deferred } from "./primitives/deferred.ts";
import type { Keepalive } from "./primitives/keepalive.ts";
import type { Subscription, SubscriptionState } from "./surface.ts";

/** What a subscription's broker keeps of it. */
export interface SubscriptionHost extends DeliverWiring {
  readonly keepalive: Keepalive;
  /** The broker is closing: no new subscriptions. */
  readonly closing: () => boolean;
  opened(subscription: RunningSubscription): void;
  closed(subscription: RunningSubscription): void;
}

/** A subscription in the application's hands: one delivery line and its end. */
export class RunningSubscription implements Subscription {
  readonly #host: SubscriptionHost;
  readonly #options: Consumption;
  readonly #line: DeliverLine;
  readonly #end: Deferred<void> = deferred<void>();
  #closing: Promise<void> | undefined;
  #cause: BrokerError | undefined;
  #isClosed = false;
  #started = false;
  #unfollow: (() => void) | undefined;
  #created = true;

  private constructor(host: SubscriptionHost, options: Consumption) {
    this.#host = host;
    this.#options = options;
    this.#line = new DeliverLine(host, options, (error) => void this.die(error));
  }

  /** Resolves once the start of the group, or of this broadcast reader, is fixed. */
  static async start(host: SubscriptionHost, options: Consumption, signal: AbortSignal | undefined): Promise<RunningSubscription> {
    if (host.closing()) throw host.connection.closedError();
    const subscription = new RunningSubscription(host, options);
    host.keepalive.hold();
    host.opened(subscription);
    try {
      subscription.#created = await subscription.#line.start();
    } catch (error) {
      subscription.#ended();
      throw subscription.#cause ?? (host.closing() ? host.connection.closedError() : error);
    }
    subscription.#started = true;
    if (!subscription.#created && options.from.kind !== "latest") {
      host.telemetry.emit({ type: "from-not-used", topic: options.topic.name, group: options.group });
    }
    // It may have died in its first moment, or the broker began to close meanwhile.
    if (subscription.#cause === undefined && !host.closing()) return subscription.#follow(signal);
    subscription.#end.promise.catch(() => {});
    await subscription.close();
    throw subscription.#cause ?? host.connection.closedError();
  }

  #follow(signal: AbortSignal | undefined): this {
    if (signal === undefined) return this;
    const close = (): void => void this.close();
    this.#unfollow = () => signal.removeEventListener("abort", close);
    if (signal.aborted) close();
    else signal.addEventListener("abort", close);
    return this;
  }

  get closed(): Promise<void> {
    return this.#end.promise;
  }

  get startedFrom(): "created" | "existing" {
    return this.#created ? "created" : "existing";
  }

  get state(): SubscriptionState {
    const snapshot = this.#line.snapshot;
    const { topic, group } = this.#options;
    return { topic: topic.name, group, ...snapshot, state: this.#isClosed ? "closed" : snapshot.state };
  }

  /** 0: nothing happens by itself at this point of time. */
  get busy(): number {
    return this.#line.busy;
  }

  setConcurrency(concurrency: number): void {
    checkNumber("concurrency", concurrency, 1, true);
    this.#line.concurrency = concurrency;
  }

  pause(): void {
    this.#line.paused = true;
  }

  resume(): void {
    this.#line.paused = false;
  }

  /** Streams: one more message or batch is wanted. */
  pull(): void {
    this.#line.pull();
  }

  async flush(): Promise<void> {
    if (this.#isClosed) return;
    await this.#line.flush();
  }

  close(o: { deadlineMs?: number | undefined } = {}): Promise<void> {
    checkKeys("close", o, ["deadlineMs"]);
    checkNumber("deadlineMs", o.deadlineMs, 0);
    if (o.deadlineMs !== undefined) this.#line.hurry(this.#host.clock.monotonic() + o.deadlineMs);
    this.#closing ??= this.#drain(o.deadlineMs ?? DEFAULTS["close.deadlineMs"]);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #drain(deadlineMs: number): Promise<void> {
    await this.#line.close(this.#host.clock.monotonic() + deadlineMs);
    this.#ended();
    if (this.#cause === undefined) this.#end.resolve();
    else this.#end.reject(this.#cause);
  }

  #ended(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#unfollow?.();
    this.#host.keepalive.release();
    this.#host.closed(this);
  }

  /** Ends by itself: running handlers are told at once. Whoever does not handle `closed` learns of it by the process ending. */
  async die(error: BrokerError): Promise<void> {
    if (this.#closing !== undefined || this.#cause !== undefined) return;
    this.#host.telemetry.emit({ type: "subscription-failed", topic: this.#options.topic.name, group: this.#options.group, error });
    this.#cause = error;
    // Nobody has it yet: `start` refuses, once there is something to leave.
    if (!this.#started) return;
    this.#closing = this.#drain(0);
    await this.#closing;
  }
}
