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
import { KafkaAdmin, topicSettings } from "./admin.ts";
import { capabilities } from "./capabilities.ts";
import { openCursor } from "./cursor.ts";
import { classify, protocolName, readable, topicMissing, unavailable } from "./errors.ts";
import type { Behaviour, Endpoint } from "./options.ts";
import { Cluster } from "./protocol/cluster.ts";
import { readSettings } from "./protocol/settings.ts";
import { Publisher } from "./publisher.ts";
import { type Member, openSubscription } from "./subscription.ts";

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
  /** Open subscriptions of groups. */
  readonly #members = new Set<Member>();
  #cluster: Cluster | undefined;
  #publisher: Publisher | undefined;
  #connecting: Promise<Capabilities> | undefined;
  #record: Capabilities | undefined;
  /** The common connections are being looked after, or are known to be down. */
  #doubted = false;
  #closed = false;

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
      const cluster = this.#cluster ?? (await Cluster.open(this.#endpoint, this.#context.clock, signal, () => this.#look()));
      if (cluster === this.#cluster) await cluster.learn(signal);
      else this.#adopt(cluster);
      this.#record = await this.#probe(cluster, signal);
      this.#doubted = false;
      return this.#record;
    } catch (error) {
      throw readable(error);
    }
  }

  #adopt(cluster: Cluster): void {
    if (this.#closed) {
      cluster.close();
      throw unavailable("The driver was closed while it connected.");
    }
    this.#cluster = cluster;
    this.#publisher = new Publisher(cluster, this.#behaviour, {
      limitOf: (topic) => this.#limits.get(topic) ?? this.#batchBytes,
      inboxMade: (topic) => {
        for (const member of this.#members) if (member.topic === topic) member.refresh();
      },
    });
  }

  /** What these servers can do. Settings that they don't tell this user count as the least. */
  async #probe(cluster: Cluster, signal: AbortSignal): Promise<Capabilities> {
    const settings = await this.#serverSettings(cluster, signal);
    this.#batchBytes = Number(settings.get("message.max.bytes") ?? DEFAULT_BYTES);
    const copies = Number(settings.get("min.insync.replicas") ?? 1);
    return narrowed(this.capabilities, this.#batchBytes, durability(copies, settings.get("log.flush.interval.messages")));
  }

  /** Of the first server that answers: all of them should have the same. */
  async #serverSettings(cluster: Cluster, signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
    let failure: unknown = unavailable("The cluster has no server at the moment.");
    for (const node of cluster.nodes) {
      try {
        return await readSettings(cluster, node, "broker", String(node), SERVER_SETTINGS, signal);
      } catch (error) {
        if (protocolName(error) === "CLUSTER_AUTHORIZATION_FAILED") return new Map();
        if (signal.aborted) throw error;
        failure = error;
      }
    }
    throw failure;
  }

  describe(topic: string, signal: AbortSignal): Promise<Capabilities> {
    return this.#run(async (cluster) => {
      const record = this.#record ?? this.capabilities;
      const [metadata, settings = new Map<string, string>()] = await Promise.all([
        cluster.ask("any", "Metadata", [[topic], false, false], signal).catch((error: unknown) => {
          throw protocolName(error) === "UNKNOWN_TOPIC_OR_PARTITION" ? topicMissing(topic) : error;
        }),
        topicSettings(cluster, topic, TOPIC_SETTINGS, signal),
      ]);
      const bytes = Number(settings.get("max.message.bytes") ?? this.#batchBytes);
      this.#limits.set(topic, bytes);
      const copies = Math.min(...(metadata.topics[0]?.partitions ?? []).map(({ replicaNodes }) => replicaNodes.length));
      const inSync = Math.min(copies, Number(settings.get("min.insync.replicas") ?? 1));
      return narrowed(record, bytes, durability(inSync, settings.get("flush.messages")));
    });
  }

  async publish(batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
    if (this.#publisher !== undefined) return this.#publisher.publish(batch, signal);
    const error = unavailable("There is no connection to the cluster.");
    return batch.map(() => ({ ok: false, error, sent: "no" }));
  }

  subscribe(request: SubscribeRequest, signal: AbortSignal): Promise<Subscription> {
    return this.#run((cluster) => openSubscription(cluster, this.#behaviour, request, signal, this.#members));
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

  async close(): Promise<void> {
    this.#closed = true;
    this.#publisher?.close();
    this.#cluster?.close();
    this.#publisher = undefined;
    this.#cluster = undefined;
  }

  async #run<T>(call: (cluster: Cluster) => Promise<T>): Promise<T> {
    if (this.#cluster === undefined) throw unavailable("There is no connection to the cluster.");
    try {
      return await call(this.#cluster);
    } catch (error) {
      throw readable(error);
    }
  }

  /** A connection that went may be one that was idle for long. Whether the cluster is gone, a question tells. */
  #look(): void {
    if (this.#doubted || this.#closed) return;
    this.#doubted = true;
    this.ping(AbortSignal.timeout(this.#endpoint.connectTimeoutMs)).then(
      () => {
        this.#doubted = false;
      },
      (error: unknown) => {
        if (!this.#closed) this.#context.down(error);
      },
    );
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
