import type { Connection, Target } from "./connection.ts";
import { localError } from "./errors.ts";
import { brokersOf, type Settings } from "./options.ts";
import type { Pool } from "./pool.ts";
import { CommandLookupTopicResponse_LookupType } from "./wire/pulsar.generated.ts";

/** As many as Java's client follows. */
const MAX_REDIRECTS = 20;

/** Finds the brokers that serve topics. */
export class Lookup {
  readonly #pool: Pool;
  readonly #settings: Settings;

  constructor(pool: Pool, settings: Settings) {
    this.#pool = pool;
    this.#settings = settings;
  }

  /** A connection to the broker that serves a topic (or one partition of it). Creates nothing, but may make a broker load the topic. */
  async broker(topic: string, signal: AbortSignal): Promise<Connection> {
    const service = await this.#pool.service(signal);
    const { listenerName, tunnel } = this.#settings;
    let asked = service;
    let authoritative = false;
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      const answer = await asked.request("lookupTopicResponse", signal, (requestId) => ({
        case: "lookupTopic",
        value: { topic, requestId, authoritative, ...(listenerName === undefined ? {} : { advertisedListenerName: listenerName }) },
      }));
      const url = this.#settings.secure ? answer.brokerServiceUrlTls : answer.brokerServiceUrl;
      const target = tunnel ? service.target : this.#targetOf(url, service, answer.proxyThroughServiceUrl);
      if (answer.response === CommandLookupTopicResponse_LookupType.Connect) return this.#pool.to(target, signal);
      asked = await this.#pool.to(target, signal);
      authoritative = answer.authoritative;
    }
    throw localError(
      "ProtocolError",
      `The brokers sent a lookup on more than ${MAX_REDIRECTS} times: they do not agree who serves ${topic}.`,
    );
  }

  #targetOf(url: string, service: Connection, throughProxy: boolean): Target {
    const { secure } = this.#settings;
    if (url === "") throw localError("ConnectError", `The broker advertises no address ${secure ? "for" : "without"} TLS.`);
    const [host] = brokersOf(url).hosts;
    if (host === undefined) throw localError("ProtocolError", "The broker advertises an address that is none.");
    if (throughProxy) return { ...service.target, proxyTo: `${host.host}:${host.port}` };
    return { ...host, secure };
  }

  /** How many partitions a topic has, 0 for one without. Rejects with `TopicNotFound` where it is neither there nor to be created. */
  async partitions(topic: string, signal: AbortSignal, create = false): Promise<number> {
    const service = await this.#pool.service(signal);
    const answer = await service.request("partitionMetadataResponse", signal, (requestId) => ({
      case: "partitionMetadata",
      value: { topic, requestId, metadataAutoCreationEnabled: create },
    }));
    return answer.partitions;
  }

  /** The persistent topics of a namespace, partitions one by one. */
  async topics(namespace: string, signal: AbortSignal): Promise<readonly string[]> {
    const service = await this.#pool.service(signal);
    const answer = await service.request("getTopicsOfNamespaceResponse", signal, (requestId) => ({
      case: "getTopicsOfNamespace",
      value: { requestId, namespace },
    }));
    return answer.topics;
  }
}
