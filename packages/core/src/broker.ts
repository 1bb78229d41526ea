import type { EffectiveCapabilities } from "./capabilities.ts";
import { effectiveCapabilities } from "./capability/effective.ts";
import { FEATURE_NAMES, featuresOf } from "./capability/features.ts";
import { checkNarrower, firstNarrowing } from "./capability/narrow.ts";
import { unsupported } from "./capability/unsupported.ts";
import { checkRequires, checkSignal } from "./checks.ts";
import { type BoundTopic, checkDefinition, type TopicDefinition } from "./definition.ts";
import type { Adapter, Clock } from "./driver/adapter.ts";
import type { Capabilities } from "./driver/capabilities.ts";
import type { WireRecord } from "./driver/wire.ts";
import { abortedBefore, BrokerError, fromDriver, invalidArgument } from "./errors.ts";
import { Connection } from "./lifecycle/connection.ts";
import {
  checkKeys,
  checkNumber,
  checkTopicName,
  DEFAULTS,
  type Feature,
  type Features,
  type Interceptor,
  type Options,
} from "./options.ts";
import { partitioned } from "./ordering/partitions/driver.ts";
import { timeoutSignal } from "./primitives/abort.ts";
import { systemClock } from "./primitives/clock.ts";
import { Keepalive } from "./primitives/keepalive.ts";
import { Provisioning } from "./provisioning.ts";
import { PublishLine } from "./publish.ts";
import type { Schema } from "./schema.ts";
import type { RunningSubscription, SubscriptionHost } from "./subscription.ts";
import type { Broker, Health, ProvisionResult, Topic } from "./surface.ts";
import { Telemetry } from "./telemetry/events.ts";
import { TopicHandle, type TopicWiring } from "./topic.ts";

/** Where a broker gets its adapter from; nothing is loaded before `load` is called. */
export interface BrokerSource {
  /** The adapter's name, or the URL's scheme until the adapter is loaded. */
  readonly name: string;
  readonly load: () => Adapter | Promise<Adapter>;
  readonly clock?: Clock | undefined;
}

const PING_MS = 10_000;

/** A handle on one backend. */
export class BrokerHandle implements Broker {
  readonly #options: Options;
  readonly #requires: readonly Feature[];
  readonly #clock: Clock;
  readonly #connection: Connection;
  readonly #wiring: Wiring;
  readonly #topics = new Map<TopicDefinition | string, TopicHandle>();
  readonly #subscriptions = new Set<RunningSubscription>();
  readonly #taps: ((topic: string, record: WireRecord) => void)[] = [];
  #name: string;
  #effective: EffectiveCapabilities | undefined;
  #closing: Promise<void> | undefined;
  /** When closing gives up (monotonic ms), and whether handlers may still publish until then. */
  #deadline: number = Number.POSITIVE_INFINITY;
  #publishing = true;

  constructor(source: BrokerSource, options: Options, requires: readonly Feature[]) {
    this.#name = source.name;
    this.#options = options;
    this.#requires = requires;
    const clock = source.clock ?? systemClock;
    this.#clock = clock;
    const keepalive = new Keepalive();
    const telemetry = new Telemetry(() => this.#name, options.logger);
    this.#connection = new Connection(source.name, async () => partitioned(await source.load()), clock, keepalive, {
      opened: (adapter, capabilities) => this.#opened(adapter, capabilities),
      narrowed: (before, after) => firstNarrowing(before, after),
      down: (error, attempt) => {
        this.#wiring.publish.pause();
        telemetry.emit({ type: "reconnecting", error, attempt });
      },
      up: (downMs) => {
        this.#wiring.publish.resume();
        telemetry.emit({ type: "reconnected", downMs });
      },
      failed: (error) => {
        for (const subscription of this.#subscriptions) void subscription.die(error);
      },
    });
    this.#wiring = new Wiring(() => this.#name, this.#connection, { clock, keepalive, telemetry }, options, requires, {
      opened: (subscription) => void this.#subscriptions.add(subscription),
      closed: (subscription) => void this.#subscriptions.delete(subscription),
      closing: () => this.#closing !== undefined,
      tap: (topic, record) => {
        for (const see of this.#taps) see(topic.name, record);
      },
    });
  }

  get features(): Features {
    return featuresOf(this.#connection.capabilities);
  }

  get capabilities(): EffectiveCapabilities {
    void this.#connection.capabilities;
    return this.#effective as EffectiveCapabilities;
  }

  supports<const G extends Feature>(...features: readonly G[]): this is Broker<Feature | G> {
    checkRequires(features, FEATURE_NAMES);
    const mine = this.features;
    return features.every((feature) => mine[feature]);
  }

  async connect(): Promise<this> {
    if (this.#closing !== undefined) throw this.#connection.closedError();
    await this.#connection.ready();
    return this;
  }

  topic(of: TopicDefinition | string): Topic<Schema<unknown, unknown>> {
    const known = this.#topics.get(of);
    if (known !== undefined) return known;
    const definition = typeof of === "string" ? { name: of } : of;
    if (typeof of !== "string") checkDefinition("topic", definition);
    checkTopicName(definition?.name);
    const topic = new TopicHandle(this.#wiring, definition);
    checkTopicName(topic.wire);
    this.#topics.set(of, topic);
    return topic;
  }

  async provision(topics: readonly TopicDefinition[], o: { dryRun?: boolean | undefined } = {}): Promise<readonly ProvisionResult[]> {
    checkKeys("provision", o, ["dryRun"]);
    if (!Array.isArray(topics)) throw invalidArgument("topics", "provision takes an array of topics made by defineTopic.");
    await this.connect();
    const results: ProvisionResult[] = [];
    for (const definition of topics) {
      results.push(
        await this.#wiring.provisioning.report(definition, `${this.#options.prefix ?? ""}${definition.name}`, o.dryRun ?? false),
      );
    }
    return results;
  }

  health(): Health {
    const subscriptions = [...this.#subscriptions].map((subscription) => subscription.state);
    const { state } = this.#connection;
    const closed = this.#closing !== undefined || state === "closed";
    const connection = closed ? "closed" : state === "connected" ? "connected" : "reconnecting";
    const ready = connection === "connected" && subscriptions.every((one) => one.state === "running" || one.state === "paused");
    return { ready, live: !closed && state !== "failed", connection, subscriptions };
  }

  async ping(o: { signal?: AbortSignal | undefined } = {}): Promise<number> {
    checkKeys("ping", o, ["signal"]);
    checkSignal(o.signal);
    await this.connect();
    if (o.signal?.aborted === true) throw abortedBefore(this.#name, "ping", undefined, o.signal);
    const since = this.#clock.monotonic();
    const bound = timeoutSignal(this.#clock, PING_MS, o.signal);
    try {
      await this.#connection.driver.ping(bound.signal);
      return this.#clock.monotonic() - since;
    } catch (raw) {
      if (bound.signal.aborted && o.signal !== undefined && bound.signal.reason === o.signal.reason)
        throw abortedBefore(this.#name, "ping", undefined, o.signal);
      const error = fromDriver(this.#connection.driver, raw, { adapter: this.#name, doing: "ping" });
      if (error.code === "UNAVAILABLE") this.#connection.failed(error);
      throw error;
    } finally {
      bound.done();
    }
  }

  close(o: { deadlineMs?: number | undefined } = {}): Promise<void> {
    checkKeys("close", o, ["deadlineMs"]);
    checkNumber("deadlineMs", o.deadlineMs, 0);
    if (this.#closing !== undefined && o.deadlineMs !== undefined) this.#hurry(o.deadlineMs);
    if (this.#closing === undefined) {
      this.#deadline = this.#clock.monotonic() + (o.deadlineMs ?? DEFAULTS["close.deadlineMs"]);
      this.#closing = this.#drain();
    }
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Running handlers, unsettled publishes and deliveries: 0 means that nothing is under way here. */
  activity(): number {
    let unsettled = this.#wiring.publish.unsettled;
    for (const subscription of this.#subscriptions) unsettled += subscription.busy;
    return unsettled;
  }

  /** Sees every record as it is published. For tests. */
  tap(see: (topic: string, record: WireRecord) => void): void {
    this.#taps.push(see);
  }

  /** Subscriptions first, since their handlers may still publish; then what is being published; the link last. */
  async #drain(): Promise<void> {
    const deadlineMs = Math.max(0, this.#deadline - this.#clock.monotonic());
    await Promise.all([...this.#subscriptions].map((subscription) => subscription.close({ deadlineMs })));
    this.#publishing = false;
    await this.#wiring.publish.close(this.#deadline);
    await this.#connection.close();
    this.#wiring.keepalive.close();
  }

  /** Closing is under way: it ends at this time already. */
  #hurry(deadlineMs: number): void {
    this.#deadline = Math.min(this.#deadline, this.#clock.monotonic() + deadlineMs);
    for (const subscription of this.#subscriptions) void subscription.close({ deadlineMs });
    // Until the subscriptions are closed their handlers may publish.
    if (!this.#publishing) void this.#wiring.publish.close(this.#deadline);
  }

  #opened(adapter: Adapter, capabilities: Capabilities): void {
    this.#name = adapter.name;
    const wider = checkNarrower(adapter.capabilities, capabilities);
    if (wider.length > 0) {
      const text = `[${adapter.name}] The adapter says more of this server than of itself: ${wider.join(", ")}. That is a bug of the adapter.`;
      throw new BrokerError("INTERNAL", text, { details: undefined, adapter: adapter.name });
    }
    const features = featuresOf(capabilities);
    const missing = this.#requires.find((feature) => !features[feature]);
    if (missing !== undefined) throw unsupported(missing, adapter.name);
    this.#effective = effectiveCapabilities(capabilities);
    this.#wiring.publish.resume();
  }
}

interface WiringEvents extends Pick<SubscriptionHost, "opened" | "closed"> {
  readonly closing: () => boolean;
  readonly tap: (topic: BoundTopic, record: WireRecord) => void;
}

/** What the parts of one broker share; each takes what it needs of it. */
class Wiring implements TopicWiring, SubscriptionHost {
  readonly connection: Connection;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly options: Options;
  readonly requires: readonly Feature[];
  readonly interceptors: readonly Interceptor[];
  readonly keepalive: Keepalive;
  readonly provisioning: Provisioning;
  readonly publish: PublishLine;
  readonly opened: SubscriptionHost["opened"];
  readonly closed: SubscriptionHost["closed"];
  readonly closing: SubscriptionHost["closing"];
  readonly tap: WiringEvents["tap"];
  readonly #name: () => string;

  constructor(
    name: () => string,
    connection: Connection,
    tools: { readonly clock: Clock; readonly keepalive: Keepalive; readonly telemetry: Telemetry },
    options: Options,
    requires: readonly Feature[],
    events: WiringEvents,
  ) {
    this.#name = name;
    this.connection = connection;
    this.clock = tools.clock;
    this.keepalive = tools.keepalive;
    this.telemetry = tools.telemetry;
    this.options = options;
    this.requires = requires;
    this.interceptors = options.use ?? [];
    this.opened = events.opened;
    this.closed = events.closed;
    this.closing = events.closing;
    this.tap = events.tap;
    this.provisioning = new Provisioning(this);
    this.publish = new PublishLine(this);
  }

  /** The adapter's name; the URL's scheme until the adapter is loaded. */
  get adapter(): string {
    return this.#name();
  }

  get host(): SubscriptionHost {
    return this;
  }
}
