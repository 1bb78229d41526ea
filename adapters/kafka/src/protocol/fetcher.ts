import type { ShardId, SubscriptionEvents, Timer } from "brokerkit/driver";
import { classify, topicMissing } from "../errors.ts";
import { placeOf } from "../mapping.ts";
import type { RecordDelivery } from "./batches.ts";
import { protocolName, readable, unavailable } from "./client-error.ts";
import type { Cluster, TopicState } from "./cluster.ts";
import { type FetchedPartition, fetchFrom } from "./fetch.ts";
import type { Line } from "./line.ts";
import { bounds } from "./offsets.ts";
import type { PartitionReader } from "./partition.ts";
import type { Args } from "./requests.ts";
import { bounded } from "./waiting.ts";

/** How much one partition may have waiting when more of it is asked for, and the most that one answer brings of it. */
const PARTITION_BYTES = 1_048_576;
/**
 * What one reader may hold of what was fetched and not read yet. Each leading node has an equal part of it, and each request to a node an
 * equal part of that, so that nobody waits for the room of others; never less than the second figure for a request.
 */
const BUFFER_BYTES = 16 * PARTITION_BYTES;
const LEAST_BYTES = 65_536;
/** How long a leader waits for news when it is asked about all its partitions, and when others may want to be asked about soon. */
const WAIT_MS = 500;
const SHORT_WAIT_MS = 50;
/** Requests to one node at once, each over a connection of its own: partitions with more to read do not wait for the others' news. */
const LANES = 2;
const [FIRST_PAUSE_MS, LONGEST_PAUSE_MS] = [50, 1_000];

/** https://kafka.apache.org/protocol#protocol_error_codes */
const OUT_OF_RANGE = 1;
/** After these the same request may be answered, perhaps by another node. */
const ELSEWHERE: ReadonlySet<string> = new Set([
  "NOT_LEADER_OR_FOLLOWER",
  "LEADER_NOT_AVAILABLE",
  "REPLICA_NOT_AVAILABLE",
  "FENCED_LEADER_EPOCH",
  "UNKNOWN_LEADER_EPOCH",
  "UNKNOWN_TOPIC_OR_PARTITION",
  "UNKNOWN_TOPIC_ID",
  "INCONSISTENT_TOPIC_ID",
  "OFFSET_NOT_AVAILABLE",
  "KAFKA_STORAGE_ERROR",
  "BROKER_NOT_AVAILABLE",
  "REQUEST_TIMED_OUT",
  "UNKNOWN_SERVER_ERROR",
]);

/** How long an answer may take beyond the time for which the node waits for news. */
const ANSWER_MS = 10_000;

/** The leader of a partition while none is known, here as in metadata. */
const NOBODY = -1;

export interface FetcherRequest {
  readonly isolation: 0 | 1;
  readonly events: Pick<SubscriptionEvents, "dataLoss"> & Partial<Pick<SubscriptionEvents, "state">>;
  /** A link that is gone does not end it: what is owned stays owned, and is fetched again once there is a link. */
  readonly heals: boolean;
  /** This topic may be missing, now or later. */
  readonly inbox?: string;
  /** The log was cut back behind what this partition's reader has read: it goes on there, and other records will have the same offsets. */
  readonly cutBack?: (one: PartitionReader) => void;
}

/**
 * Reads partitions of topics from whichever nodes lead them, ahead of what is asked for and within bounds. A partition is in at most one
 * request at a time.
 */
export class Fetcher {
  readonly #cluster: Cluster;
  readonly #request: FetcherRequest;
  readonly #partitions = new Set<PartitionReader>();
  readonly #lanes: readonly Line[];
  /** Lanes in use by node, with the room that is kept for their answers. */
  readonly #polls = new Map<number, Map<Line, number>>();
  /** Topic ids by name: a topic that is made anew under its old name is another one. */
  readonly #ids = new Map<string, string>();
  readonly #closing = new AbortController();
  #turn = 0;
  #fed = 0;
  #failure: unknown;
  #wake: (() => void) | undefined;
  #looking = false;
  #pauseMs = 0;
  #timer: Timer | undefined;

  constructor(cluster: Cluster, request: FetcherRequest) {
    this.#cluster = cluster;
    this.#request = request;
    this.#lanes = Array.from({ length: LANES }, () => cluster.line());
  }

  get partitions(): ReadonlySet<PartitionReader> {
    return this.#partitions;
  }

  add(partitions: readonly PartitionReader[]): void {
    for (const one of partitions) this.#partitions.add(one);
    // Who waits for another partition's leader must not hold these up.
    if (this.#timer !== undefined) {
      this.#timer.cancel();
      this.#looking = false;
    }
    this.#pauseMs = 0;
    this.#look();
  }

  /** Nothing of these is given out any more. */
  remove(partitions: readonly PartitionReader[]): void {
    for (const one of partitions) this.#partitions.delete(one);
    this.#dispatch();
  }

  pause(shards: readonly ShardId[], paused: boolean): void {
    for (const one of this.#partitions) if (shards.includes(one.shard.id)) one.paused = paused;
    if (paused) return;
    this.#dispatch();
    this.wake();
  }

  /**
   * Waits until a record is there, `waitMs` are over, the signal aborts, or `done` says so. Rejects with what ended the fetcher, once all
   * that was fetched before is given out.
   */
  async receive(max: number, waitMs: number, signal: AbortSignal, done: () => boolean = () => false): Promise<RecordDelivery[]> {
    const { clock } = this.#cluster;
    const deadline = clock.monotonic() + waitMs;
    // What made room is often a commit's answer: the next commit goes out first, and is answered while this is read and handled.
    await new Promise<void>((turn) => setImmediate(turn));
    for (;;) {
      const taken = this.#take(max);
      if (taken.length > 0) return taken;
      if (this.#failure !== undefined) throw this.#failure;
      const left = deadline - clock.monotonic();
      if (signal.aborted || this.#closed || left <= 0 || done()) return taken;
      await this.#news(left, signal);
    }
  }

  get #closed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Resolves when there may be something, or no time left. */
  async #news(ms: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#cluster;
    const { promise, resolve } = Promise.withResolvers<void>();
    let wait = ms;
    for (const { delays, paused } of this.#partitions) {
      if (delays !== undefined && !paused) wait = Math.min(wait, Math.max(1, delays.next - clock.now()));
    }
    this.#wake = resolve;
    const timer = clock.timer(wait, resolve);
    signal.addEventListener("abort", this.wake, { once: true });
    await promise;
    signal.removeEventListener("abort", this.wake);
    timer.cancel();
  }

  /** Something has changed for whoever waits. */
  readonly wake = (): void => {
    this.#wake?.();
  };

  /** An equal share of each partition that has something, beginning with another one every time. */
  #take(max: number): RecordDelivery[] {
    const taken: RecordDelivery[] = [];
    const now = this.#cluster.clock.now();
    let ready = [...this.#partitions].filter((one) => !one.paused && (one.buffered > 0 || (one.delays?.next ?? now + 1) <= now));
    const first = this.#turn++ % Math.max(1, ready.length);
    ready = [...ready.slice(first), ...ready.slice(0, first)];
    try {
      while (taken.length < max && ready.length > 0) {
        const share = Math.ceil((max - taken.length) / ready.length);
        ready = ready.filter((one) => {
          for (let n = 0; n < share && taken.length < max; n++) {
            const record = one.next(now);
            if (record === undefined) return false;
            taken.push(record);
          }
          return true;
        });
      }
    } catch (error) {
      this.fail(error);
    }
    this.#dispatch();
    return taken;
  }

  /** It can't go on. What was fetched before is still given out. */
  fail(error: unknown): void {
    this.#failure = readable(error);
    this.wake();
  }

  close(): void {
    if (this.#closed) return;
    this.#closing.abort(unavailable("The reader was closed."));
    this.#timer?.cancel();
    for (const lane of this.#lanes) lane.close();
    this.#partitions.clear();
    this.wake();
  }

  // ---- fetch
  #dispatch(): void {
    if (this.#closed || this.#failure !== undefined) return;
    const byNode = Map.groupBy(this.#partitions, ({ leader }) => leader);
    byNode.delete(NOBODY);
    const bytes = Math.max(LEAST_BYTES, Math.floor(BUFFER_BYTES / (LANES * byNode.size)));
    for (const [node, led] of byNode) {
      const polls = this.#polls.get(node) ?? new Map<Line, number>();
      const lane = this.#lanes.find((line) => !polls.has(line));
      if (lane === undefined) continue;
      const wanted = led.filter((one) => !one.busy && !one.done && !one.held && one.buffered < PARTITION_BYTES);
      if (wanted.length === 0) continue;
      let room = LANES * bytes - sum(polls.values()) - sum(led.map(({ buffered }) => buffered));
      const least = Math.min(bytes, PARTITION_BYTES);
      if (room < least) room += forgotten(led);
      if (room < least) continue;
      this.#polls.set(node, polls.set(lane, Math.min(room, bytes)));
      // An answer is filled in the order asked (KIP-74): whoever got something last comes last.
      wanted.sort((a, b) => a.fed - b.fed);
      void this.#poll(node, lane, wanted, Math.min(room, bytes));
    }
  }

  async #poll(node: number, lane: Line, partitions: readonly PartitionReader[], bytes: number): Promise<void> {
    for (const one of partitions) one.busy = true;
    try {
      await this.#accept(await this.#ask(node, lane, partitions, bytes), partitions);
    } catch (error) {
      if (protocolName(error) === undefined) this.#doubted(node);
      this.#troubled(partitions, error);
    }
    this.#polls.get(node)?.delete(lane);
    for (const one of partitions) one.busy = false;
    this.#dispatch();
    this.wake();
  }

  #ask(node: number, lane: Line, partitions: readonly PartitionReader[], bytes: number): Promise<FetchedPartition[]> {
    const topics: Args<"Fetch">[6] = [];
    for (const one of partitions) {
      const topicId = this.#ids.get(one.topic) ?? "";
      // The order counts, so a topic stands there as often as needed.
      if (topics.at(-1)?.topicId !== topicId) topics.push({ topicId, partitions: [] });
      topics.at(-1)?.partitions.push({
        partition: one.partition,
        currentLeaderEpoch: one.leaderEpoch,
        fetchOffset: BigInt(one.fetchAt),
        lastFetchedEpoch: one.fetchedEpoch,
        partitionMaxBytes: Math.min(bytes, PARTITION_BYTES),
      });
    }
    const others = [...this.#partitions].some((one) => one.leader === node && !one.busy && !one.done);
    const wait = others ? SHORT_WAIT_MS : WAIT_MS;
    const args: Args<"Fetch"> = [wait, 1, bytes, this.#request.isolation, 0, -1, topics, [], ""];
    return this.#within(wait + ANSWER_MS, (signal) => fetchFrom(this.#cluster, lane, node, args, signal));
  }

  /** Runs what has to end in time, and with the fetcher. */
  #within<T>(ms: number, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const late = (): unknown => unavailable(`A node did not answer within ${ms} ms.`);
    return bounded(this.#cluster.clock, ms, late, run, this.#closing.signal);
  }

  async #accept(answer: readonly FetchedPartition[], asked: readonly PartitionReader[]): Promise<void> {
    const beyond: PartitionReader[] = [];
    // A node that has any record to give gives at least one batch, whatever the bounds (KIP-74).
    const nothing = answer.every(({ records }) => records.length === 0);
    const byPlace = new Map(asked.map((one) => [`${this.#ids.get(one.topic)} ${one.partition}`, one]));
    for (const fetched of answer) {
      const one = byPlace.get(`${fetched.topicId} ${fetched.partition}`);
      if (one === undefined || !this.#partitions.has(one)) continue;
      if (fetched.errorCode === OUT_OF_RANGE) beyond.push(one);
      else if (fetched.errorCode !== 0) this.#troubled([one], new this.#cluster.client.ProtocolError(fetched.errorCode));
      else this.#fine(one, fetched, nothing);
    }
    await Promise.all(beyond.map((one) => this.#outOfRange(one)));
  }

  #fine(one: PartitionReader, fetched: FetchedPartition, nothing: boolean): void {
    const end = this.#request.isolation === 1 ? fetched.stableOffset : fetched.highWatermark;
    if (fetched.divergesAt >= 0) this.#cutBack(one, fetched.divergesAt);
    else if (nothing) one.hollow = one.fetchAt < end;
    else if (one.add(fetched)) one.fed = ++this.#fed;
    if (one.down) this.#request.events.state?.(one.shard.id, "up");
    one.down = false;
    if (this.#pauseMs > 0 && ![...this.#partitions].some(({ down, leader }) => down || leader < 0)) this.#pauseMs = 0;
  }

  // ---- what is gone
  /** Retention has passed this reader, or the log has been cut back behind it. */
  async #outOfRange(one: PartitionReader): Promise<void> {
    const { topic, partition, shard, fetchAt } = one;
    try {
      const { first, end } = await this.#within(ANSWER_MS, async (signal) => {
        const state = (await this.#cluster.topics([topic], signal)).get(topic);
        if (state === undefined) throw new this.#cluster.client.ProtocolError("UNKNOWN_TOPIC_OR_PARTITION");
        return bounds(this.#cluster, state, 0, signal);
      });
      const [lowest, highest] = [Number(first.get(partition)), Number(end.get(partition))];
      if (!this.#partitions.has(one)) return;
      if (fetchAt < lowest) {
        const next = Math.min(lowest, one.until);
        this.#request.events.dataLoss(shard.id, placeOf(shard.id, BigInt(fetchAt)), placeOf(shard.id, BigInt(next - 1)), next - fetchAt);
        one.skipTo(next);
      } else if (fetchAt > highest) this.#cutBack(one, highest);
      // The leader does not know the epoch any more in which this was written.
      else one.fetchedEpoch = -1;
    } catch (error) {
      this.#troubled([one], error);
    }
  }

  /** The log has another past from this offset on, or ends there: a leader took over that did not have everything. */
  #cutBack(one: PartitionReader, offset: number): void {
    const { shard, fetchAt, position } = one;
    if (offset < fetchAt) {
      this.#request.events.dataLoss(shard.id, placeOf(shard.id, BigInt(offset)), placeOf(shard.id, BigInt(fetchAt - 1)), undefined);
    }
    one.moveTo(Math.min(position, offset));
    if (offset < position) this.#request.cutBack?.(one);
  }

  // ---- where to fetch
  /** A node can't be reached: what it leads and was not asked for now needs another leader too. */
  #doubted(node: number): void {
    for (const one of this.#partitions) {
      if (one.leader !== node || one.busy) continue;
      one.leader = NOBODY;
      this.#cluster.stale(one.topic);
    }
  }

  #troubled(partitions: readonly PartitionReader[], error: unknown): void {
    if (this.#closed) return;
    const name = protocolName(error);
    for (const one of partitions) {
      if (!this.#partitions.has(one)) continue;
      one.leader = NOBODY;
      this.#cluster.stale(one.topic);
      if (!one.down) this.#request.events.state?.(one.shard.id, "down", readable(error));
      one.down = true;
    }
    if (name === undefined ? this.#request.heals && classify(error).retryable : ELSEWHERE.has(name)) this.#look();
    else this.fail(error);
  }

  /** Finds the leaders that are not known, again and again with a pause that grows. */
  #look(): void {
    if (this.#looking || this.#closed) return;
    this.#looking = true;
    const run = (): void => {
      this.#timer = undefined;
      void this.#find().finally(() => {
        this.#looking = false;
        this.#dispatch();
        if ([...this.#partitions].some(({ leader }) => leader < 0)) this.#look();
      });
    };
    if (this.#pauseMs === 0) run();
    else this.#timer = this.#cluster.clock.timer(this.#pauseMs, run);
    this.#pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, this.#pauseMs * 2));
  }

  async #find(): Promise<void> {
    const lost = [...this.#partitions].filter(({ leader }) => leader < 0);
    try {
      const topics = [...new Set(lost.map(({ topic }) => topic))];
      const states = await this.#within(ANSWER_MS, (signal) => this.#cluster.topics(topics, signal));
      for (const one of lost) this.#placed(one, states.get(one.topic));
    } catch (error) {
      if (!this.#request.heals || !classify(error).retryable) this.fail(error);
    }
  }

  #placed(one: PartitionReader, state: TopicState | undefined): void {
    const { topic, partition } = one;
    if (state === undefined) {
      this.#cluster.stale(topic);
      if (topic !== this.#request.inbox) this.fail(topicMissing(topic));
      return;
    }
    const known = this.#ids.get(topic) ?? state.id;
    this.#ids.set(topic, known);
    if (known !== state.id) this.fail(unavailable(`The topic "${topic}" was deleted and made anew.`));
    const { leader, epoch } = state.partitions[partition] ?? { leader: NOBODY, epoch: -1 };
    one.leader = leader;
    one.leaderEpoch = epoch;
    if (leader < 0) this.#cluster.stale(topic);
  }
}

function sum(numbers: Iterable<number>): number {
  let total = 0;
  for (const one of numbers) total += one;
  return total;
}

/** Forgets what is fetched of those that nothing is taken from now: they must not keep the others from being read. Returns the bytes. */
function forgotten(partitions: readonly PartitionReader[]): number {
  const idle = partitions.filter((one) => one.held && !one.busy);
  const bytes = sum(idle.map(({ buffered }) => buffered));
  for (const one of idle) one.moveTo(one.position);
  return bytes;
}
