import { isIP } from "node:net";
import type { ConnectionOptions } from "node:tls";
import type * as client from "@platformatic/kafka";
import { type Clock, driverError } from "brokerkit/driver";
import { classify, unavailable } from "../errors.ts";
import type { Endpoint } from "../options.ts";

/** The client library as a value. It is loaded by the first connect, since loading it takes longer than connecting. */
export type Client = typeof client;
type Pool = InstanceType<Client["ConnectionPool"]>;
type Connection = InstanceType<Client["Connection"]>;

/**
 * The versions of each request that have one form here, the best first. The server says which of them it knows.
 * https://kafka.apache.org/protocol#protocol_api_keys
 */
const VERSIONS = {
  Produce: [11, 10, 9],
  Fetch: [17, 16, 15, 14, 13],
  ListOffsets: [9, 8, 7],
  Metadata: [12],
  OffsetCommit: [9, 8],
  OffsetFetch: [9, 8],
  FindCoordinator: [6, 5, 4],
  JoinGroup: [9],
  Heartbeat: [4],
  LeaveGroup: [5],
  SyncGroup: [5],
  ConsumerGroupHeartbeat: [1, 0],
  DescribeGroups: [5],
  ConsumerGroupDescribe: [0],
  ListGroups: [5, 4],
  DeleteGroups: [2],
  OffsetDelete: [0],
  CreateTopics: [7],
  DeleteTopics: [6],
  DeleteRecords: [2],
  DescribeConfigs: [4],
  DescribeCluster: [1, 0],
  InitProducerId: [5, 4],
} as const;

interface Requests {
  Produce: Client["produceV11"];
  Fetch: Client["fetchV17"];
  ListOffsets: Client["listOffsetsV9"];
  Metadata: Client["metadataV12"];
  OffsetCommit: Client["offsetCommitV9"];
  OffsetFetch: Client["offsetFetchV9"];
  FindCoordinator: Client["findCoordinatorV6"];
  JoinGroup: Client["joinGroupV9"];
  Heartbeat: Client["heartbeatV4"];
  LeaveGroup: Client["leaveGroupV5"];
  SyncGroup: Client["syncGroupV5"];
  ConsumerGroupHeartbeat: Client["consumerGroupHeartbeatV1"];
  DescribeGroups: Client["describeGroupsV5"];
  ConsumerGroupDescribe: Client["consumerGroupDescribeV0"];
  ListGroups: Client["listGroupsV5"];
  DeleteGroups: Client["deleteGroupsV2"];
  OffsetDelete: Client["offsetDeleteV0"];
  CreateTopics: Client["createTopicsV7"];
  DeleteTopics: Client["deleteTopicsV6"];
  DeleteRecords: Client["deleteRecordsV2"];
  DescribeConfigs: Client["describeConfigsV4"];
  DescribeCluster: Client["describeClusterV1"];
  InitProducerId: Client["initProducerIdV5"];
}
export type RequestName = keyof Requests;
export type Args<N extends RequestName> = Requests[N]["api"]["async"] extends (connection: Connection, ...args: infer A) => unknown
  ? A
  : never;
export type Answer<N extends RequestName> = Exclude<Awaited<ReturnType<Requests[N]["api"]["async"]>>, boolean>;

/** One topic as the cluster's metadata shows it. */
export interface TopicState {
  readonly name: string;
  readonly id: string;
  /** By number: the leading node, −1 while there is none, and the leader's epoch. */
  readonly partitions: readonly { readonly leader: number; readonly epoch: number }[];
}

interface Address {
  readonly host: string;
  readonly port: number;
}

/** A node by number, or `"any"`: the first that lets us in, those that did not answer the last time at the end. */
export type Node = number | "any";

/** Longer than any deadline of ours: the client ends a request on its own, and can't use the connection after it. */
const CLIENT_MS = 24 * 3_600_000;
/** How long an ordinary request may take. */
export const REQUEST_MS = 15_000;
/** How long a server may be silent before another one is asked, where any will do. */
const SILENT_MS = 2_000;
/** Answers about topics are asked for again after this time, or as soon as one proves wrong. */
export const METADATA_MS = 5_000;

/**
 * A cluster as one driver sees it: which requests its servers know, where partitions and groups live, and connections by purpose. It makes
 * one attempt at everything: no request is sent again by itself.
 */
export class Cluster {
  readonly client: Client;
  readonly endpoint: Endpoint;
  readonly clock: Clock;
  readonly #lines = new Set<Line>();
  readonly #topics = new Map<string, { readonly state: TopicState | undefined; readonly at: number }>();
  readonly #coordinators = new Map<string, number>();
  #nodes: ReadonlyMap<number, Address> = new Map();
  #apis: ReadonlyMap<string, { readonly minVersion: number; readonly maxVersion: number }> = new Map();
  readonly #control: Line;
  /** For questions that every server can answer. Nothing slow goes here: who is silent on it is passed over. */
  readonly #inquiries: Line;
  /** Servers that did not answer when they were last asked. */
  readonly #silent = new Set<string>();
  #closed = false;

  private constructor(library: Client, endpoint: Endpoint, clock: Clock, onCut: () => void) {
    this.client = library;
    this.endpoint = endpoint;
    this.clock = clock;
    this.#control = this.line(onCut);
    this.#inquiries = this.line(onCut);
  }

  /**
   * Connects to the first bootstrap address that answers, and learns the cluster. Rejects with the raw error. `onCut`: a common connection
   * is gone, which may be a server that closes idle ones; the next request opens another.
   */
  static async open(endpoint: Endpoint, clock: Clock, signal: AbortSignal, onCut: () => void = () => {}): Promise<Cluster> {
    const cluster = new Cluster(await import("@platformatic/kafka"), endpoint, clock, onCut);
    try {
      await cluster.learn(signal);
      return cluster;
    } catch (error) {
      cluster.close();
      throw error;
    }
  }

  /** Asks what the servers know, and which there are. Bounded by the time for connecting. */
  async learn(signal: AbortSignal): Promise<void> {
    const { client: library, endpoint } = this;
    const late = AbortSignal.timeout(endpoint.connectTimeoutMs);
    const bound = AbortSignal.any([signal, late]);
    try {
      const { async } = library.apiVersionsV3.api;
      const asked = await this.#inquire((each) => this.#inquiries.call("any", async, ["brokerkit", "0.1.0"], each), bound);
      this.#apis = new Map(asked.apiKeys.map((api) => [api.name, api]));
      await this.#refresh([], bound);
    } catch (error) {
      const where = endpoint.bootstrap.map(({ host, port }) => `${host}:${port}`).join(", ");
      if (error === late.reason && !signal.aborted)
        throw unavailable(`${where} did not answer within ${endpoint.connectTimeoutMs} ms. Is it Kafka, and TLS where TLS is spoken?`);
      if (error instanceof Error && error.message === CLOSED)
        throw unavailable(`${where} closed the connection instead of answering. Does it ask for a user (sasl), and is it Kafka?`, error);
      throw error;
    }
  }

  /** The best version of a request that both sides know. Throws `UNSUPPORTED` where there is none. */
  knows(name: RequestName): boolean {
    return this.#version(name) !== undefined;
  }

  #version(name: RequestName): number | undefined {
    const api = this.#apis.get(name);
    return api && VERSIONS[name].find((version) => version >= api.minVersion && version <= api.maxVersion);
  }

  request<N extends RequestName>(name: N): Requests[N]["api"]["async"] {
    const version = this.#version(name);
    if (version === undefined) {
      throw driverError(
        "UNSUPPORTED",
        `The server knows no version of the request ${name} that this adapter speaks (${VERSIONS[name].join(", ")}): Kafka 3.5 or newer is needed.`,
      );
    }
    const key = `${name.charAt(0).toLowerCase()}${name.slice(1)}V${version}` as "fetchV17";
    return this.client[key].api.async as unknown as Requests[N]["api"]["async"];
  }

  /** Connections for one purpose: requests of one line to one node are answered in turn, so what waits long has a line of its own. */
  line(onCut?: () => void): Line {
    const line = new Line(this, onCut);
    this.#lines.add(line);
    return line;
  }

  forget(line: Line): void {
    this.#lines.delete(line);
  }

  /** Sends one request over the cluster's common line. Rejects with the raw error, or with the signal's reason. */
  ask<N extends RequestName>(node: Node, name: N, args: Args<N>, signal?: AbortSignal): Promise<Answer<N>> {
    return this.#control.ask(node, name, args, signal);
  }

  /** Asks any server what each of them knows. One that is silent is passed over: asking twice changes nothing. */
  async #inquire<R>(ask: (signal: AbortSignal | undefined) => Promise<R>, signal?: AbortSignal): Promise<R> {
    for (let others = this.addresses("any").length - 1; others > 0; others--) {
      const silent = new AbortController();
      const timer = this.clock.timer(SILENT_MS, () => silent.abort(unavailable(`A server did not answer within ${SILENT_MS} ms.`)));
      try {
        return await ask(signal === undefined ? silent.signal : AbortSignal.any([signal, silent.signal]));
      } catch (error) {
        if (signal?.aborted === true || !silent.signal.aborted) throw error;
      } finally {
        timer.cancel();
      }
    }
    return ask(signal);
  }

  /** The server at this address was asked, and answered or did not. */
  seen(address: Address, answered: boolean): void {
    if (answered) this.#silent.delete(nameOf(address));
    else this.#silent.add(nameOf(address));
  }

  /** Addresses to try for a node. */
  addresses(node: Node): readonly Address[] {
    const { bootstrap, tunnel } = this.endpoint;
    if (node === "any") {
      const all = [...bootstrap, ...(tunnel ? [] : this.#nodes.values())];
      const known = [...new Map(all.map((address) => [nameOf(address), address])).values()];
      const [silent = [], others = []] = [true, false].map((is) => known.filter((address) => this.#silent.has(nameOf(address)) === is));
      return [...others, ...silent];
    }
    const address = this.#nodes.get(node);
    if (address === undefined) throw unavailable(`The cluster has no node ${node} at the moment.`);
    return tunnel ? bootstrap : [address];
  }

  get nodes(): readonly number[] {
    return [...this.#nodes.keys()];
  }

  /** What is known of these topics, asked for again when older than `maxAgeMs`. `undefined`: there is no such topic. Never creates one. */
  async topics(
    names: readonly string[],
    signal?: AbortSignal,
    maxAgeMs: number = METADATA_MS,
  ): Promise<ReadonlyMap<string, TopicState | undefined>> {
    const oldest = this.clock.monotonic() - maxAgeMs;
    const wanted = names.filter((name) => (this.#topics.get(name)?.at ?? Number.NEGATIVE_INFINITY) <= oldest);
    if (wanted.length > 0) await this.#refresh(wanted, signal);
    return new Map(names.map((name) => [name, this.#topics.get(name)?.state]));
  }

  async #refresh(names: readonly string[], signal: AbortSignal | undefined): Promise<void> {
    const answer = await this.#metadata(names, signal);
    this.#nodes = new Map(answer.brokers.map(({ nodeId, host, port }) => [nodeId, { host, port }]));
    if (this.endpoint.tunnel && this.#nodes.size > 1) {
      throw driverError(
        "INVALID_ARGUMENT",
        `The option "tunnel" is for clusters of one node; this one has ${this.#nodes.size}. Give addresses that reach each of them.`,
      );
    }
    const at = this.clock.monotonic();
    for (const { name, topicId, errorCode, partitions } of answer.topics) {
      if (typeof name !== "string") continue;
      const state = { name, id: topicId, partitions: [] as { leader: number; epoch: number }[] };
      for (const { partitionIndex, leaderId, leaderEpoch } of partitions) {
        state.partitions[partitionIndex] = { leader: leaderId, epoch: leaderEpoch };
      }
      this.#topics.set(name, { state: errorCode === UNKNOWN_TOPIC ? undefined : state, at });
    }
  }

  /** A topic that is missing makes the whole answer an error for the client; it is a finding here. */
  async #metadata(names: readonly string[], signal: AbortSignal | undefined): Promise<Answer<"Metadata">> {
    try {
      return await this.#inquire((each) => this.#inquiries.ask("any", "Metadata", [[...names], false, false], each), signal);
    } catch (error) {
      const { response, errors } = error as { response?: Answer<"Metadata">; errors?: readonly { apiCode?: number }[] };
      const tolerable = response !== undefined && errors?.every(({ apiCode }) => apiCode !== undefined && MENDING.has(apiCode));
      if (tolerable === true) return response;
      throw error;
    }
  }

  /** What was known of a topic has proved wrong: the next one who asks gets a fresh answer. */
  stale(topic: string): void {
    this.#topics.delete(topic);
  }

  /** The node that coordinates a group. Rejects COORDINATOR_NOT_AVAILABLE while none does, as in a new cluster. */
  async coordinator(groupId: string, signal?: AbortSignal): Promise<number> {
    const known = this.#coordinators.get(groupId);
    if (known !== undefined) return known;
    const { coordinators } = await this.#inquire((each) => this.#inquiries.ask("any", "FindCoordinator", [0, [groupId]], each), signal);
    const found = coordinators.find(({ key }) => key === groupId);
    if (found === undefined) throw unavailable(`No node said that it coordinates the group "${groupId}".`);
    if (!this.#nodes.has(found.nodeId)) await this.#refresh([], signal);
    this.#coordinators.set(groupId, found.nodeId);
    return found.nodeId;
  }

  /** The coordinator has moved or is gone. */
  coordinatorMoved(groupId: string): void {
    this.#coordinators.delete(groupId);
  }

  get closed(): boolean {
    return this.#closed;
  }

  close(): void {
    this.#closed = true;
    for (const line of this.#lines) line.close();
  }
}

const nameOf = ({ host, port }: Address): string => `${host}:${port}`;

/** The client's words for a connection that the other side closed without a reason. */
const CLOSED = "Connection closed";
const UNKNOWN_TOPIC = 3;
/** Codes of single topics that leave the rest of a metadata answer true: unknown, no leader yet. */
const MENDING: ReadonlySet<number> = new Set([UNKNOWN_TOPIC, 5, 9]);

/** A token that is refused is answered with the reason, and not with an error: https://www.rfc-editor.org/rfc/rfc7628#section-3.2.2 */
function accepted(answer: Buffer, done: (error: Error | null, answer?: Buffer) => void): void {
  if (answer.length === 0) done(null, answer);
  else done(driverError("UNAUTHENTICATED", `The server refused the token: ${answer.toString().slice(0, 500)}`));
}

/** Why a connection broke. */
const FAILURES = new WeakMap<Connection, unknown>();

/** Connections to the nodes of a cluster for one purpose. Once closed it stays closed, and all its requests have failed. */
export class Line {
  readonly #cluster: Cluster;
  /** By whether the host is a name: only names may be sent as what TLS calls the server's name (RFC 6066). */
  readonly #pools = new Map<boolean, Pool>();
  readonly #opened = new WeakSet<Connection>();
  readonly #onCut: () => void;
  readonly #closing = new AbortController();

  constructor(cluster: Cluster, onCut: () => void = () => {}) {
    this.#cluster = cluster;
    this.#onCut = onCut;
  }

  #pool({ host }: Address): Pool {
    const named = isIP(host) === 0;
    const existing = this.#pools.get(named);
    if (existing !== undefined) return existing;
    const { clientId, connectTimeoutMs, sasl, tls } = this.#cluster.endpoint;
    const pool = new this.#cluster.client.ConnectionPool(clientId, {
      connectTimeout: connectTimeoutMs,
      requestTimeout: CLIENT_MS,
      maxInflights: 100,
      ...(sasl === undefined ? {} : { sasl: sasl.mechanism === "OAUTHBEARER" ? { ...sasl, authBytesValidator: accepted } : { ...sasl } }),
      ...(tls === undefined ? {} : { tls: tls as ConnectionOptions, tlsServerName: tls.servername ?? named }),
    });
    pool.on("connecting", ({ connection }) => {
      // A request that was under way only says that the connection was closed; this says why.
      connection.on("error", (error: unknown) => void FAILURES.set(connection, error));
    });
    pool.on("connect", ({ connection }) => void this.#opened.add(connection));
    pool.on("disconnect", ({ connection }) => {
      // The pool forgets it only after this event.
      if (this.#opened.has(connection) && !this.#closing.signal.aborted) setImmediate(this.#onCut);
    });
    this.#pools.set(named, pool);
    return pool;
  }

  /** Sends one request. Without a signal it ends after `REQUEST_MS`. Rejects with the raw error, or with the signal's reason. */
  ask<N extends RequestName>(node: Node, name: N, args: Args<N>, signal?: AbortSignal): Promise<Answer<N>> {
    const send = this.#cluster.request(name) as unknown as (connection: Connection, ...rest: unknown[]) => Promise<Answer<N>>;
    return this.call(node, send, args, signal);
  }

  /** A signal that ends while the request is under way closes the connection: its late answer would be taken for another's. */
  async call<A extends readonly unknown[], R>(
    node: Node,
    send: (connection: Connection, ...args: A) => Promise<R>,
    args: readonly [...A],
    signal?: AbortSignal,
  ): Promise<R> {
    if (signal !== undefined) return this.#call(node, send, args, signal);
    // A signal with a time-out of its own would be kept until that is over, for each of thousands of requests.
    const late = new AbortController();
    const timer = this.#cluster.clock.timer(REQUEST_MS, () =>
      late.abort(driverError("TIMEOUT", `A server did not answer within ${REQUEST_MS} ms.`)),
    );
    try {
      return await this.#call(node, send, args, late.signal);
    } finally {
      timer.cancel();
    }
  }

  async #call<A extends readonly unknown[], R>(
    node: Node,
    send: (connection: Connection, ...args: A) => Promise<R>,
    args: readonly [...A],
    signal: AbortSignal,
  ): Promise<R> {
    const bound = AbortSignal.any([signal, this.#closing.signal]);
    bound.throwIfAborted();
    const { address, connection } = await this.#connect(this.#cluster.addresses(node), bound);
    bound.throwIfAborted();
    let answered = true;
    try {
      return await until(bound, send(connection, ...args));
    } catch (error) {
      const cut = (error as { code?: unknown }).code === "PLT_KFK_NETWORK";
      answered = !cut && !bound.aborted;
      if (bound.aborted) connection.socket.destroy();
      throw cut ? (FAILURES.get(connection) ?? error) : error;
    } finally {
      this.#cluster.seen(address, answered);
    }
  }

  async #connect(
    addresses: readonly Address[],
    bound: AbortSignal,
  ): Promise<{ readonly address: Address; readonly connection: Connection }> {
    let failure: unknown;
    for (const address of addresses) {
      try {
        return { address, connection: await until(bound, this.#open(address)) };
      } catch (error) {
        this.#cluster.seen(address, false);
        bound.throwIfAborted();
        // A server that refuses us says more than another one that is down.
        if (failure === undefined || !classify(error).retryable) failure = error;
      }
    }
    throw failure;
  }

  async #open(address: Address): Promise<Connection> {
    const connection = await this.#pool(address).get(address);
    // One that was just cut stays in the pool until it has said so.
    if (connection.socket.destroyed && connection.isConnected()) await new Promise((closed) => connection.once("close", closed));
    return connection.isConnected() ? connection : this.#pool(address).get(address);
  }

  /** Cuts all connections: nothing more is sent over this line. */
  close(): void {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(unavailable("The connection was closed."));
    this.#cluster.forget(this);
    for (const pool of this.#pools.values()) {
      for (const [, connection] of pool) connection.socket?.destroy();
      void pool.close().catch(() => {});
    }
  }
}

/** Rejects with the signal's reason once it aborts; what is under way is left to itself. */
export function until<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
