import { effectiveCapabilities } from "./capability/effective.ts";
import { unsupported } from "./capability/unsupported.ts";
import { checkReplayOptions, checkStart } from "./checks.ts";
import { resolveCodec } from "./codec/codec.ts";
import { checkConsume, checkGiven, checkHandler, checkOneShard, checkPromised, consumption } from "./consuming.ts";
import type { Consumption } from "./consumption.ts";
import { deadTopic } from "./dead-letter/letter.ts";
import type { DeadLettersWiring } from "./dead-letters.ts";
import type { BoundTopic, TopicDefinition } from "./definition.ts";
import type { Capabilities } from "./driver/capabilities.ts";
import type { WireHeader } from "./driver/wire.ts";
import { abortedBefore, BrokerError, fromDriver, invalidArgument, isBrokerError } from "./errors.ts";
import { administer, TopicGroup } from "./group.ts";
import type { Batch, Codec, Delivery, Receipt } from "./message.ts";
import {
  type BatchOptions,
  type ConsumeOptions,
  checkGroupName,
  checkKeys,
  type Feature,
  type Options,
  type PublishOptions,
} from "./options.ts";
import type { Start } from "./position.ts";
import { timeoutSignal } from "./primitives/abort.ts";
import type { Provisioning } from "./provisioning.ts";
import { TopicReplay } from "./replay.ts";
import type { Schema } from "./schema.ts";
import { wireStart } from "./start.ts";
import { batched, PulledStream, single } from "./streams.ts";
import { RunningSubscription, type SubscriptionHost } from "./subscription.ts";
import type { Group, Replay, Stream, Subscription, Topic } from "./surface.ts";

export interface TopicWiring extends DeadLettersWiring {
  readonly host: SubscriptionHost;
  readonly provisioning: Provisioning;
  readonly options: Options;
  /** The features that the application was promised. */
  readonly requires: readonly Feature[];
}

type GroupOptions = ConsumeOptions & { group?: string | undefined; broadcast?: boolean | undefined };

const DESCRIBE_MS = 15_000;
const NO_OPTIONS: PublishOptions = Object.freeze({});

/** A topic on one broker: every verb is here, and those that the backend lacks reject `UNSUPPORTED`. */
export class TopicHandle implements BoundTopic, Topic<Schema<unknown, unknown>> {
  readonly name: string;
  readonly wire: string;
  readonly schema: Schema | undefined;
  readonly codec: Codec;
  readonly extraHeaders: readonly WireHeader[];
  readonly order: "key" | "topic" | "none";
  readonly keyOf: ((payload: unknown) => string) | undefined;
  readonly #wiring: TopicWiring;
  readonly #definition: Partial<TopicDefinition> & { name: string };
  #described: Capabilities | undefined;
  #preparing: Promise<void> | undefined;
  #prepared = false;

  constructor(wiring: TopicWiring, definition: Partial<TopicDefinition> & { name: string }) {
    this.name = definition.name;
    this.wire = `${wiring.options.prefix ?? ""}${definition.name}`;
    this.schema = definition.schema;
    this.codec = resolveCodec(definition.codec);
    this.order = definition.order ?? "key";
    this.keyOf = definition.key === undefined ? undefined : (payload) => keyFrom(definition, payload);
    this.extraHeaders = typeof definition.codec === "object" ? [["content-type", Buffer.from(this.codec.contentType)]] : NO_HEADERS;
    this.#wiring = wiring;
    this.#definition = definition;
  }

  get capabilities(): Capabilities {
    return this.#described ?? this.#wiring.connection.capabilities;
  }

  ready(): Promise<void> | undefined {
    if (this.#prepared) return this.#wiring.connection.ready();
    this.#preparing ??= this.#prepare().finally(() => {
      this.#preparing = undefined;
    });
    return this.#preparing;
  }

  async #prepare(): Promise<void> {
    const { connection, provisioning, options } = this.#wiring;
    await connection.ready();
    const mode = options.provision ?? "create";
    if (mode === "create") await provisioning.create(this.#definition, this.wire);
    else if (mode === "verify") await provisioning.verify(this.#definition, this.wire);
    // Where topics may have partitions only the backend knows what this one can do.
    if (mode !== "off" || connection.capabilities.coordination) this.#described = await this.#describeCapabilities();
    checkOneShard(this.order, this, this.#wiring.adapter);
    this.#prepared = true;
  }

  async #describeCapabilities(): Promise<Capabilities> {
    const { connection, clock, adapter } = this.#wiring;
    const bound = timeoutSignal(clock, DESCRIBE_MS);
    try {
      return await connection.driver.describe(this.wire, bound.signal);
    } catch (raw) {
      throw fromDriver(connection.driver, raw, { adapter, doing: "describe", topic: this.wire });
    } finally {
      bound.done();
    }
  }

  // ---- publish
  publish(payload: unknown, o: PublishOptions = NO_OPTIONS): Promise<Receipt> {
    const defaults = this.#wiring.options.defaults?.publish;
    if (o === null || typeof o !== "object") return Promise.reject(invalidArgument("options", "publish: options must be an object."));
    return this.#wiring.publish.publish(this, payload, defaults === undefined ? o : { ...defaults, ...o });
  }

  async publishAll(records: readonly ({ payload: unknown } & PublishOptions)[]): Promise<readonly Receipt[]> {
    if (!Array.isArray(records)) throw invalidArgument("records", "publishAll takes an array of { payload, …options }.");
    // A record is its own options: the publish line knows "payload" among them.
    const outcomes = await Promise.allSettled(records.map((record) => this.#publishOne(record)));
    if (outcomes.every((outcome) => outcome.status === "fulfilled")) return outcomes.map((outcome) => outcome.value);
    const results = outcomes.map((outcome) => (outcome.status === "fulfilled" ? outcome.value : asBrokerError(outcome.reason)));
    const failed = results.filter((result) => isBrokerError(result));
    const text = `publishAll to "${this.name}": ${failed.length} of ${results.length} were not confirmed; details.results says which. The first: ${failed[0]?.message}`;
    throw new BrokerError("PARTIAL", text, {
      details: { results },
      retryable: failed.every((error) => error.retryable),
      inDoubt: failed.some((error) => error.inDoubt),
      adapter: this.#wiring.adapter,
      topic: this.name,
    });
  }

  #publishOne(record: { payload: unknown } & PublishOptions): Promise<Receipt> {
    if (typeof record === "object" && record !== null) return this.publish(record.payload, record);
    const got = record === null ? "null" : typeof record;
    return Promise.reject(invalidArgument("records", `publishAll: a record is an object { payload, …options }, got ${got}.`));
  }

  // ---- subscribe
  async subscribe(o: GroupOptions, handler: (message: Delivery<unknown>) => void | Promise<void>): Promise<Subscription> {
    checkHandler("subscribe", handler);
    return this.#consume("subscribe", o, undefined, false, (deliveries) => handler(single(deliveries)));
  }

  async subscribeBatches(o: BatchOptions, handler: (batch: Batch<unknown>) => void | Promise<void>): Promise<Subscription> {
    checkHandler("subscribeBatches", handler);
    return this.#consume("subscribeBatches", o, o, false, (deliveries) => handler(batched(deliveries)));
  }

  messages(o: ConsumeOptions & { group: string }): Stream<Delivery<unknown>> {
    checkConsume("messages", o, undefined);
    return new PulledStream((handler) => this.#consume("messages", o, undefined, true, handler), single);
  }

  batches(o: BatchOptions): Stream<Batch<unknown>> {
    checkConsume("batches", o, o);
    return new PulledStream((handler) => this.#consume("batches", o, o, true, handler), batched);
  }

  async #consume(
    verb: string,
    o: GroupOptions,
    batch: BatchOptions | undefined,
    manual: boolean,
    handler: Consumption["handler"],
  ): Promise<RunningSubscription> {
    const { options, host, adapter } = this.#wiring;
    checkGiven(verb, o);
    const merged: GroupOptions = { ...options.defaults?.consume, ...o };
    checkConsume(verb, merged, batch);
    if (host.closing()) throw host.connection.closedError();
    if (merged.signal?.aborted === true) throw abortedBefore(adapter, `${verb} to`, this.name, merged.signal);
    await this.ready();
    checkPromised(this, this.#wiring.requires, merged, adapter);
    const shape = consumption(this, adapter, merged, batch, manual, handler);
    if (shape.group !== undefined && shape.deadLetter === "keep") await this.#readyDead(shape.group);
    return RunningSubscription.start(host, shape, merged.signal);
  }

  /** The dead topic must be there before the first message dies. */
  async #readyDead(group: string): Promise<void> {
    const { options, provisioning, adapter } = this.#wiring;
    if (effectiveCapabilities(this.capabilities).supply.deadLetter === "none")
      throw unsupported("deadLetter", adapter, this.name, 'subscribe with deadLetter: "drop"');
    const name = deadTopic(this.wire, group);
    if ((options.provision ?? "create") === "create") await provisioning.createDead(name);
    else if (options.provision === "verify") await provisioning.verifyDead(name);
  }

  // ---- groups and replay
  group(name: string): Group {
    return new TopicGroup(this.#wiring, this, name);
  }

  async createGroup(name: string, o: { from?: Start | undefined } = {}): Promise<Group> {
    checkGroupName(name);
    checkKeys("createGroup", o, ["from"]);
    checkStart("from", o.from);
    await this.ready();
    if (this.capabilities.delivery.group === "none") throw unsupported("groups", this.#wiring.adapter, this.name);
    const from = wireStart(o.from ?? "latest", "group", this.#wiring.adapter, this);
    await administer(this.#wiring, this.wire, "create a group of", (admin, signal) => admin.createGroup(this.wire, name, from, signal));
    return this.group(name);
  }

  replay(o: {
    from: Exclude<Start, "latest">;
    to?: Start | undefined;
    follow?: boolean | undefined;
    key?: string | undefined;
    signal?: AbortSignal | undefined;
  }): Replay<unknown> {
    checkReplayOptions(o);
    const { from, to, follow = false, key, signal } = o;
    return new TopicReplay(this.#wiring, { topic: this, start: () => this.#replayStart(from, to), follow, key, signal });
  }

  #replayStart(from: Start, to: Start | undefined): Pick<Consumption, "from"> & { to: Consumption["from"] | undefined } {
    const { adapter, host } = this.#wiring;
    if (host.closing()) throw host.connection.closedError();
    if (this.capabilities.from.replay.length === 0) throw unsupported("replay", adapter, this.name);
    const start = wireStart(from, "replay", adapter, this);
    return { from: start, to: to === undefined || to === "latest" ? undefined : wireStart(to, "replay", adapter, this, "to") };
  }

  // ---- admin
  async describe(): Promise<{
    readonly exists: boolean;
    readonly partitions: number | undefined;
    readonly groups: readonly string[] | undefined;
  }> {
    await this.#wiring.connection.ready();
    if (!this.#wiring.connection.capabilities.topics.describe) throw unsupported("describe", this.#wiring.adapter, this.name);
    const info = await administer(this.#wiring, this.wire, "describe", (admin, signal) => admin.describeTopic(this.wire, signal));
    return { exists: info !== undefined, partitions: info?.partitions, groups: info?.groups };
  }

  async delete(): Promise<void> {
    await this.#wiring.connection.ready();
    const groups = this.#wiring.connection.capabilities.topics.describe ? ((await this.describe()).groups ?? []) : [];
    for (const name of [this.wire, ...groups.map((group) => deadTopic(this.wire, group))]) {
      await administer(this.#wiring, name, "delete", (admin, signal) => admin.deleteTopic(name, signal));
    }
    this.#prepared = false;
    this.#described = undefined;
  }
}

const NO_HEADERS: readonly WireHeader[] = Object.freeze([]);

function keyFrom(definition: Partial<TopicDefinition> & { name: string }, payload: unknown): string {
  const key: unknown = definition.key?.(payload);
  if (typeof key === "string") return key;
  throw invalidArgument("key", `topic "${definition.name}": its key rule gave ${key === null ? "null" : typeof key}, a key is a string.`);
}

function asBrokerError(error: unknown): BrokerError {
  if (isBrokerError(error)) return error;
  const text = error instanceof Error ? error.message : String(error);
  return new BrokerError("INTERNAL", text, { details: undefined, cause: error });
}
