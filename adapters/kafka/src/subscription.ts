import type { Cut, SettleResult, Shard, ShardId, SubscribeRequest, Subscription, WireDelivery, WireStart } from "brokerkit/driver";
import { classify, protocolName, unavailable } from "./errors.ts";
import { cutBefore, EARLIEST, inboxOf, shardId } from "./mapping.ts";
import type { Behaviour } from "./options.ts";
import type { LogShard, RecordDelivery } from "./protocol/batches.ts";
import { type Cluster, REQUEST_MS } from "./protocol/cluster.ts";
import { Committer } from "./protocol/committer.ts";
import { Fetcher } from "./protocol/fetcher.ts";
import { LogReader, offsetsOf, topicNow } from "./protocol/log-reader.ts";
import { type Assigned, createMembership, type Membership } from "./protocol/membership.ts";
import { commitOffsets, committedOffsets, isolationLevel, offsetsAt, pause } from "./protocol/offsets.ts";
import { PartitionReader } from "./protocol/partition.ts";

/** A subscription that wants to know when its group's inbox is made. */
export interface Member {
  readonly topic: string;
  /** Partitions or the inbox may have appeared. */
  refresh(): void;
}

/** How long leaving waits for acknowledgements that are under way. */
const FLUSH_MS = 800;
const LOOK_MS = 25;
const AGAIN_MS = 100;
/** The group moves on; whose turn it is then to commit its start is seen at the next look. */
const MOVING: ReadonlySet<string> = new Set([
  "ILLEGAL_GENERATION",
  "STALE_MEMBER_EPOCH",
  "REBALANCE_IN_PROGRESS",
  "UNKNOWN_MEMBER_ID",
  "UNKNOWN_TOPIC_OR_PARTITION",
]);

/** Opens a subscription. `members` holds those of groups while they are open. */
export async function openSubscription(
  cluster: Cluster,
  behaviour: Behaviour,
  request: SubscribeRequest,
  signal: AbortSignal,
  members: Set<Member> = new Set(),
): Promise<Subscription> {
  const { topic, group, from, events } = request;
  const isolation = isolationLevel(behaviour);
  const state = await topicNow(cluster, topic, signal);
  if (group !== undefined) return GroupSubscription.open(cluster, behaviour, request, group, signal, members);
  const offsets = await offsetsOf(cluster, state, from, isolation, signal);
  return new BroadcastSubscription(new LogReader(cluster, { topic, isolation, events }, offsets), cutBefore(offsets));
}

/** Everything published from now on, or from a point, seen by this reader alone. There is nothing to settle on the server. */
class BroadcastSubscription implements Subscription {
  readonly created = true;
  readonly start: Cut;
  readonly #reader: LogReader;

  constructor(reader: LogReader, start: Cut) {
    this.#reader = reader;
    this.start = start;
  }

  receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    return this.#reader.receive(max, waitMs, signal);
  }

  pause(shards: readonly ShardId[]): void {
    this.#reader.pause(shards, true);
  }

  resume(shards: readonly ShardId[]): void {
    this.#reader.pause(shards, false);
  }

  async ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    return deliveries.map(() => "confirmed");
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {
    this.#reader.close();
  }
}

const keyOf = ({ topic, partition }: Assigned): string => `${topic}:${partition}`;

/** A partition while this member has it. */
interface Ownership extends Assigned {
  readonly shard: LogShard;
  /** From when its start is known. */
  reader: PartitionReader | undefined;
  /** It is being handed over: nothing more is read of it. */
  leaving: boolean;
  /** The highest offset that is over, with all before it. */
  settled: number;
}

/** Something of it is given out and not acknowledged. */
function isOpen(one: Ownership | undefined): boolean {
  if (one?.reader === undefined) return false;
  const { delays, given } = one.reader;
  return delays?.open ?? given > one.settled;
}

/**
 * One member of a group. Ownership is the membership's: it outlives links, and while it lasts this reads on and commits as soon as there is
 * a link again.
 */
class GroupSubscription implements Subscription, Member {
  created = false;
  readonly topic: string;
  readonly #cluster: Cluster;
  readonly #groupId: string;
  readonly #inbox: string;
  readonly #isolation: 0 | 1;
  readonly #events: SubscribeRequest["events"];
  readonly #members: Set<Member>;
  readonly #membership: Membership;
  readonly #fetcher: Fetcher;
  readonly #committer: Committer;
  readonly #ended = new AbortController();
  /** Resolves when the group's start is durable: until then nobody knows where to read. */
  readonly #placed: PromiseWithResolvers<void> = Promise.withResolvers();
  readonly #owned = new Map<string, Ownership>();
  /** By shard, for settling; those that are given up have left. */
  readonly #settling = new Map<Shard, Ownership>();
  readonly #drainMs: number;
  #stirred: PromiseWithResolvers<void> = Promise.withResolvers();
  #closing: Promise<void> | undefined;

  private constructor(cluster: Cluster, behaviour: Behaviour, request: SubscribeRequest, group: string, members: Set<Member>) {
    this.topic = request.topic;
    this.#cluster = cluster;
    this.#groupId = behaviour.groupId(request.topic, group);
    this.#inbox = inboxOf(request.topic, group);
    this.#isolation = isolationLevel(behaviour);
    this.#events = request.events;
    // The membership waits for half of the time that others wait for this member; committing needs some of that.
    this.#drainMs = behaviour.rebalanceTimeoutMs / 4;
    this.#members = members;
    this.#membership = createMembership(cluster, {
      groupId: this.#groupId,
      topics: [this.topic, this.#inbox],
      behaviour,
      events: {
        revoked: (partitions) => this.#revoked(partitions),
        lost: (partitions, reason) => this.#lost(partitions, reason),
        assigned: (partitions) => this.#assigned(partitions),
        failed: (error) => this.#fail(error),
      },
    });
    this.#fetcher = new Fetcher(cluster, { isolation: this.#isolation, events: request.events, heals: true, inbox: this.#inbox });
    this.#committer = new Committer(cluster, this.#groupId, () => this.#membership.epoch);
  }

  static async open(
    cluster: Cluster,
    behaviour: Behaviour,
    request: SubscribeRequest,
    group: string,
    signal: AbortSignal,
    members: Set<Member>,
  ): Promise<Subscription> {
    const made = new GroupSubscription(cluster, behaviour, request, group, members);
    members.add(made);
    try {
      await made.#membership.join(signal);
      await made.#place(request.from, AbortSignal.any([signal, made.#ended.signal]));
      made.#placed.resolve();
      return made;
    } catch (error) {
      await made.close();
      throw error;
    }
  }

  // ---- where the group starts
  /** Sees to it that the group has a start. The owner of the topic's first partition commits it for all of them, the others wait for that. */
  async #place(from: WireStart, signal: AbortSignal): Promise<void> {
    for (;;) {
      const state = await topicNow(this.#cluster, this.topic, signal);
      // Before the commits are read: what another owner commits meanwhile must not be overwritten, and is not under an epoch that is over.
      const { epoch } = this.#membership;
      const first = this.#owned.has(keyOf({ topic: this.topic, partition: 0 }));
      const committed = await committedOffsets(this.#cluster, this.#groupId, [state], signal);
      if (committed.has(this.topic)) return;
      if (first) {
        const offsets = await offsetsOf(this.#cluster, state, from, this.#isolation, signal);
        try {
          await commitOffsets(this.#cluster, this.#groupId, new Map([[this.topic, offsets]]), signal, epoch);
          this.created = true;
          return;
        } catch (error) {
          if (!MOVING.has(protocolName(error) ?? "")) throw error;
        }
      }
      await pause(this.#cluster, LOOK_MS, signal);
    }
  }

  /** Where to read partitions: behind what is committed. A partition without a commit is newer than the group's start. */
  async #starts(partitions: readonly Assigned[], signal: AbortSignal): Promise<ReadonlyMap<string, number>> {
    // What is assigned exists, perhaps since a moment ago: what was known before does not count.
    const states = await this.#cluster.topics([...new Set(partitions.map(({ topic }) => topic))], signal, 0);
    const present = [...states.values()].filter((state) => state !== undefined);
    const committed = await committedOffsets(this.#cluster, this.#groupId, present, signal);
    const found = new Map<string, number>();
    for (const state of present) {
      const mine = partitions.filter(({ topic }) => topic === state.name);
      const known = committed.get(state.name);
      const first = mine.every(({ partition }) => known?.has(partition) === true)
        ? undefined
        : await offsetsAt(this.#cluster, state, EARLIEST, this.#isolation, signal);
      for (const { partition } of mine) {
        found.set(keyOf({ topic: state.name, partition }), Number(known?.get(partition) ?? first?.get(partition) ?? 0n));
      }
    }
    return found;
  }

  // ---- what the membership says
  #assigned(partitions: readonly Assigned[]): void {
    const taken = partitions.map(({ topic, partition }): Ownership => {
      const inbox = topic === this.#inbox;
      return { topic, partition, shard: { id: shardId(partition, inbox), inbox }, reader: undefined, leaving: false, settled: -1 };
    });
    for (const one of taken) {
      this.#owned.set(keyOf(one), one);
      this.#settling.set(one.shard, one);
    }
    void this.#read(taken);
  }

  /** Reads them from where the group stands, once that is known. One that no server knows of yet is looked for again. */
  async #read(taken: readonly Ownership[]): Promise<void> {
    const { signal } = this.#ended;
    await this.#placed.promise;
    for (;;) {
      const still = taken.filter((one) => one.reader === undefined && !one.leaving && this.#owned.get(keyOf(one)) === one);
      if (still.length === 0 || signal.aborted) return;
      try {
        const starts = await this.#starts(still, AbortSignal.any([signal, AbortSignal.timeout(REQUEST_MS)]));
        this.#begin(still, starts);
        if (still.every((one) => starts.has(keyOf(one)))) return;
      } catch (error) {
        if (protocolName(error) !== undefined && !classify(error).retryable) return this.#fail(error);
      }
      await pause(this.#cluster, AGAIN_MS, signal).catch(() => {});
    }
  }

  #begin(taken: readonly Ownership[], starts: ReadonlyMap<string, number>): void {
    const readers: PartitionReader[] = [];
    for (const one of taken) {
      const from = starts.get(keyOf(one));
      if (from === undefined || one.leaving || this.#owned.get(keyOf(one)) !== one) continue;
      one.reader = new PartitionReader(this.#cluster.client, one, { from, isolation: this.#isolation });
      readers.push(one.reader);
    }
    this.#fetcher.add(readers);
  }

  /**
   * Hands them over. Nothing more of them is given out, and what is being handled may end first, for a time: or the next owner would
   * handle the same keys meanwhile. Then what was acknowledged is committed.
   */
  async #revoked(partitions: readonly Assigned[]): Promise<void> {
    const given = partitions.flatMap((one) => this.#owned.get(keyOf(one)) ?? []);
    for (const one of given) one.leaving = true;
    const readers = given.flatMap(({ reader }) => reader ?? []);
    this.#fetcher.remove(readers);
    await this.#drained(partitions);
    await this.#committer.flush(readers);
    // Whoever acknowledged hears that it is confirmed before the shard is lost.
    await new Promise((turn) => setImmediate(turn));
    this.#drop(partitions, "the group rebalances");
  }

  /** Resolves when nothing of these is open any more, or the time for that is over. */
  async #drained(partitions: readonly Assigned[]): Promise<void> {
    let late = false;
    const bound = this.#cluster.clock.timer(this.#drainMs, () => {
      late = true;
      this.#stirred.resolve();
    });
    const open = (): boolean => partitions.some((one) => isOpen(this.#owned.get(keyOf(one))));
    while (!late && open()) await this.#stirred.promise;
    bound.cancel();
  }

  /** Somebody may wait for what has just changed. */
  #stir(): void {
    this.#stirred.resolve();
    this.#stirred = Promise.withResolvers();
  }

  #lost(partitions: readonly Assigned[], reason: string): void {
    const had = partitions.some((one) => this.#owned.has(keyOf(one)));
    const readers = this.#drop(partitions, reason);
    this.#committer.lose(readers);
    if (had) this.#fetcher.fail(unavailable(`Its place in the group "${this.#groupId}" is lost: ${reason}.`));
  }

  /** Ends ownership here. */
  #drop(partitions: readonly Assigned[], reason: string): PartitionReader[] {
    const dropped = partitions.flatMap((one) => this.#owned.get(keyOf(one)) ?? []);
    for (const one of dropped) {
      this.#owned.delete(keyOf(one));
      this.#settling.delete(one.shard);
    }
    const readers = dropped.flatMap(({ reader }) => reader ?? []);
    this.#fetcher.remove(readers);
    for (const { shard } of dropped) this.#events.lost(shard, reason);
    this.#stir();
    return readers;
  }

  #fail(error: unknown): void {
    this.#fetcher.fail(error);
    this.#ended.abort(error);
  }

  refresh(): void {
    this.#membership.refresh();
  }

  // ---- Subscription
  receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    return this.#fetcher.receive(max, waitMs, signal);
  }

  pause(shards: readonly ShardId[]): void {
    this.#fetcher.pause(shards, true);
  }

  resume(shards: readonly ShardId[]): void {
    this.#fetcher.pause(shards, false);
  }

  ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    const results = (deliveries as readonly RecordDelivery[]).map((delivery) => this.#settle(delivery));
    this.#stir();
    return Promise.all(results);
  }

  #settle({ shard, offset }: RecordDelivery): SettleResult | Promise<SettleResult> {
    const one = this.#settling.get(shard);
    if (one?.reader === undefined) return "lost";
    const { delays, position } = one.reader;
    if (delays === undefined) {
      if (offset <= one.settled) return "lost";
      one.settled = offset;
      return this.#committer.commit(one.reader, offset + 1);
    }
    if (!delays.settled(offset)) return "lost";
    const floor = delays.floor(position);
    if (floor - 1 <= one.settled) return "recorded";
    one.settled = floor - 1;
    return this.#committer.commit(one.reader, floor);
  }

  flush(): Promise<void> {
    return this.#committer.flush();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#members.delete(this);
    this.#fetcher.close();
    const late = pause(this.#cluster, FLUSH_MS, this.#ended.signal).catch(() => {});
    await Promise.race([this.#committer.flush(), late]);
    this.#committer.close();
    this.#ended.abort(unavailable("The subscription was closed."));
    this.#placed.resolve();
    this.#owned.clear();
    this.#settling.clear();
    this.#stir();
    await this.#membership.leave();
  }
}
