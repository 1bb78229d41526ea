import { type Clock, driverError } from "brokerkit/driver";
import { readable, unavailable } from "./client-error.ts";
import { type Address, type Endpoint, Line, type Node } from "./line.ts";
import { type Answer, type Args, type Client, type RequestName, type Requests, VERSIONS } from "./requests.ts";
import { bounded } from "./waiting.ts";

/** One topic as the cluster's metadata shows it. */
export interface TopicState {
  readonly name: string;
  readonly id: string;
  /** By number: the leading node, −1 while there is none, and the leader's epoch. */
  readonly partitions: readonly { readonly leader: number; readonly epoch: number }[];
  /** Copies that each partition has at least. */
  readonly replicas: number;
}

/** Who reads over a cluster. */
export interface Reader {
  readonly topic: string;
  /** Partitions, or the inbox of its group, may have appeared. */
  refresh(): void;
  /** Idempotent, and ends in time. */
  close(): void | Promise<void>;
}

/** How long a server may be silent before another one is asked, where any will do. */
const SILENT_MS = 2_000;
/** Answers about topics are asked for again after this time, or as soon as one proves wrong. */
export const METADATA_MS = 5_000;

/**
 * A cluster as one driver sees it: which requests its servers know, where partitions and groups live, and connections by purpose. It makes
 * one attempt at everything: only what changes nothing is asked again, of another server.
 */
export class Cluster {
  readonly client: Client;
  readonly endpoint: Endpoint;
  readonly clock: Clock;
  /** Readers that are open. */
  readonly readers: Set<Reader> = new Set();
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
  readonly #down: (error: unknown) => void;
  /** The common connections are being looked after, or are known to be down. */
  #doubted = false;
  #closed = false;

  private constructor(library: Client, endpoint: Endpoint, clock: Clock, down: (error: unknown) => void) {
    this.client = library;
    this.endpoint = endpoint;
    this.clock = clock;
    this.#down = down;
    this.#control = this.line(() => this.#look());
    this.#inquiries = this.line(() => this.#look());
  }

  /**
   * Connects to the first bootstrap address that answers, and learns the cluster. Rejects with the raw error. `down`: it can't be
   * reached any more, which is said once until it is learnt anew.
   */
  static async open(endpoint: Endpoint, clock: Clock, signal: AbortSignal, down: (error: unknown) => void = () => {}): Promise<Cluster> {
    const cluster = new Cluster(await import("@platformatic/kafka"), endpoint, clock, down);
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
    const { bootstrap, connectTimeoutMs: ms } = this.endpoint;
    const where = bootstrap.map(({ host, port }) => `${host}:${port}`).join(", ");
    const late = (): unknown => unavailable(`${where} did not answer within ${ms} ms. Is it Kafka, and TLS where TLS is spoken?`);
    try {
      await bounded(this.clock, ms, late, (bound) => this.#learn(bound), signal);
    } catch (error) {
      if (error instanceof Error && error.message === CLOSED)
        throw unavailable(`${where} closed the connection instead of answering. Does it ask for a user (sasl), and is it Kafka?`, error);
      throw error;
    }
  }

  async #learn(signal: AbortSignal): Promise<void> {
    const { async } = this.client.apiVersionsV3.api;
    const asked = await this.#inquire((each) => this.#inquiries.call("any", async, ["brokerkit", "0.1.0"], each), signal);
    this.#apis = new Map(asked.apiKeys.map((api) => [api.name, api]));
    await this.#refresh([], signal);
    this.#doubted = false;
  }

  /**
   * A connection that went may be one that was idle for long. Whether the cluster is gone, a question tells, over a connection of its own:
   * the others may be about to be closed as well.
   */
  #look(): void {
    if (this.#doubted || this.#closed) return;
    this.#doubted = true;
    const { connectTimeoutMs: ms } = this.endpoint;
    const late = (): unknown => unavailable(`The cluster did not answer within ${ms} ms.`);
    const line = this.line();
    bounded(this.clock, ms, late, (bound) => line.ask("any", "Metadata", [[], false, false], bound))
      .then(
        () => {
          this.#doubted = false;
        },
        (error: unknown) => {
          if (!this.#closed) this.#down(readable(error));
        },
      )
      .finally(() => line.close());
  }

  /** Whether there is a version of a request that both sides know. */
  knows(name: RequestName): boolean {
    return this.#version(name) !== undefined;
  }

  #version(name: RequestName): number | undefined {
    const api = this.#apis.get(name);
    return api && VERSIONS[name].find((version) => version >= api.minVersion && version <= api.maxVersion);
  }

  /** The best version of a request that both sides know. Throws `UNSUPPORTED` where there is none. */
  form<N extends RequestName>(name: N): Requests[N] {
    const version = this.#version(name);
    if (version === undefined) {
      throw driverError(
        "UNSUPPORTED",
        `The server knows no version of the request ${name} that this adapter speaks (${VERSIONS[name].join(", ")}): Kafka 3.5 or newer is needed.`,
      );
    }
    const key = `${name.charAt(0).toLowerCase()}${name.slice(1)}V${version}` as "fetchV17";
    return this.client[key] as unknown as Requests[N];
  }

  /** Connections for one purpose: requests of one line to one node are answered in turn, so what waits long has a line of its own. */
  line(onCut?: () => void): Line {
    const line = new Line(this, onCut);
    this.#lines.add(line);
    if (this.#closed) line.close();
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
      const silence = unavailable(`A server did not answer within ${SILENT_MS} ms.`);
      try {
        return await bounded(this.clock, SILENT_MS, () => silence, ask, signal);
      } catch (error) {
        if (error !== silence) throw error;
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
      const replicas = Math.min(...partitions.map(({ replicaNodes }) => replicaNodes.length));
      const state = { name, id: topicId, partitions: [] as { leader: number; epoch: number }[], replicas };
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
