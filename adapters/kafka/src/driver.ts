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
import { KafkaAdmin } from "./admin.ts";
import { capabilities } from "./capabilities.ts";
import { openCursor } from "./cursor.ts";
import { classify } from "./errors.ts";
import type { Behaviour } from "./options.ts";
import { readable, unavailable } from "./protocol/client-error.ts";
import { Cluster } from "./protocol/cluster.ts";
import type { Endpoint } from "./protocol/line.ts";
import { serverSettings, topicNow, topicSettings } from "./protocol/topics.ts";
import { Publisher } from "./publisher.ts";
import { openSubscription } from "./subscription.ts";

/** What a batch of one record holds beside key, headers and body: its head, lengths, and the headers of ours. */
const OVERHEAD_BYTES = 1_024;
/** Kafka's default of `message.max.bytes`. */
const DEFAULT_BYTES = 1_048_588;
const SERVER_SETTINGS = ["message.max.bytes", "min.insync.replicas", "log.flush.interval.messages"];
const TOPIC_SETTINGS = ["max.message.bytes", "min.insync.replicas", "flush.messages"];

type Durability = Capabilities["durabilityOnAck"];
const DURABILITIES: readonly Durability[] = ["none", "memory", "page-cache", "fsync", "replicated"];

/** One cluster, known once and for all; every reader and the publisher have connections of their own to it. */
export class KafkaDriver implements Driver {
  readonly capabilities: Capabilities = capabilities.kafka;
  readonly admin: Admin;
  readonly #endpoint: Endpoint;
  readonly #behaviour: Behaviour;
  readonly #context: DriverContext;
  /** Largest batch by topic, as its settings say. */
  readonly #limits = new Map<string, number>();
  /** The same of a topic that was not asked about. */
  #batchBytes = DEFAULT_BYTES;
  #cluster: Cluster | undefined;
  #publisher: Publisher | undefined;
  #connecting: Promise<Capabilities> | undefined;
  #record: Capabilities | undefined;
  #closing: Promise<void> | undefined;

  constructor(endpoint: Endpoint, behaviour: Behaviour, context: DriverContext) {
    this.#endpoint = endpoint;
    this.#behaviour = behaviour;
    this.#context = context;
    this.admin = new KafkaAdmin({
      behaviour,
      run: (call) => this.#run(call),
      subscribe: (request, signal) => this.subscribe(request, signal),
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
      const cluster = this.#cluster ?? (await Cluster.open(this.#endpoint, this.#context.clock, signal, (error) => this.#lost(error)));
      if (cluster === this.#cluster) await cluster.learn(signal);
      else this.#adopt(cluster);
      this.#record = await this.#probe(cluster, signal);
      return this.#record;
    } catch (error) {
      throw readable(error);
    }
  }

  #adopt(cluster: Cluster): void {
    if (this.#closing !== undefined) {
      cluster.close();
      throw unavailable("The driver was closed while it connected.");
    }
    this.#cluster = cluster;
    this.#publisher = new Publisher(cluster, this.#behaviour, {
      limitOf: (topic) => this.#limits.get(topic) ?? this.#batchBytes,
    });
  }

  /** What these servers can do. Settings that they don't tell this user count as the least. */
  async #probe(cluster: Cluster, signal: AbortSignal): Promise<Capabilities> {
    const settings = await serverSettings(cluster, SERVER_SETTINGS, signal);
    this.#batchBytes = Number(settings.get("message.max.bytes") ?? DEFAULT_BYTES);
    const copies = Number(settings.get("min.insync.replicas") ?? 1);
    return narrowed(this.capabilities, this.#batchBytes, durability(copies, settings.get("log.flush.interval.messages")));
  }

  describe(topic: string, signal: AbortSignal): Promise<Capabilities> {
    return this.#run(async (cluster) => {
      const record = this.#record ?? this.capabilities;
      const [{ partitions, replicas }, settings = new Map<string, string>()] = await Promise.all([
        topicNow(cluster, topic, signal),
        topicSettings(cluster, topic, TOPIC_SETTINGS, signal),
      ]);
      const bytes = Number(settings.get("max.message.bytes") ?? this.#batchBytes);
      this.#limits.set(topic, bytes);
      const inSync = Math.min(replicas, Number(settings.get("min.insync.replicas") ?? 1));
      const narrow = narrowed(record, bytes, durability(inSync, settings.get("flush.messages")));
      return Object.freeze({ ...narrow, topics: Object.freeze({ ...narrow.topics, partitions: partitions.length }) });
    });
  }

  async publish(batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
    if (this.#publisher !== undefined) return this.#publisher.publish(batch, signal);
    const error = unavailable("There is no connection to the cluster.");
    return batch.map(() => ({ ok: false, error, sent: "no" }));
  }

  subscribe(request: SubscribeRequest, signal: AbortSignal): Promise<Subscription> {
    return this.#run((cluster) => openSubscription(cluster, this.#behaviour, request, signal));
  }

  replay(request: ReplayRequest, signal: AbortSignal): Promise<Cursor> {
    return this.#run((cluster) => openCursor(cluster, this.#behaviour, request, signal));
  }

  ping(signal: AbortSignal): Promise<void> {
    return this.#run(async (cluster) => void (await cluster.ask("any", "Metadata", [[], false, false], signal)));
  }

  classify(error: unknown): Classified {
    return classify(error);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#publisher?.close();
    this.#publisher = undefined;
    const cluster = this.#cluster;
    this.#cluster = undefined;
    await Promise.allSettled([...(cluster?.readers ?? [])].map((reader) => reader.close()));
    cluster?.close();
  }

  async #run<T>(call: (cluster: Cluster) => Promise<T>): Promise<T> {
    if (this.#cluster === undefined) throw unavailable("There is no connection to the cluster.");
    try {
      return await call(this.#cluster);
    } catch (error) {
      throw readable(error);
    }
  }

  #lost(error: unknown): void {
    if (this.#closing === undefined) this.#context.down(error);
  }
}

function durability(inSync: number, flushed: string | undefined): Durability {
  return inSync >= 2 ? "replicated" : flushed === "1" ? "fsync" : "page-cache";
}

/** The record with a server's or a topic's limits, never more than it was. */
function narrowed(record: Capabilities, batchBytes: number, level: Durability): Capabilities {
  const maxBytes = Math.max(0, Math.min(record.message.maxBytes, batchBytes - OVERHEAD_BYTES));
  const levels = [record.durabilityOnAck, level].map((one) => DURABILITIES.indexOf(one));
  return Object.freeze({
    ...record,
    durabilityOnAck: DURABILITIES[Math.min(...levels)] ?? "none",
    message: Object.freeze({ ...record.message, maxBytes }),
  });
}
