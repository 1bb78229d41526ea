import type { SettleResult, Shard, ShardId, SubscriptionEvents } from "brokerkit/driver";
import { classify } from "../errors.ts";
import { shardId } from "../mapping.ts";
import type { LogShard, RecordDelivery } from "./batches.ts";
import { ClassicMember } from "./classic-member.ts";
import { unavailable } from "./client-error.ts";
import type { Cluster, Reader } from "./cluster.ts";
import { Committer } from "./committer.ts";
import { ConsumerMember } from "./consumer-member.ts";
import { Fetcher } from "./fetcher.ts";
import { type GroupStart, type Start, startGroup, startsOf } from "./group-start.ts";
import { REQUEST_MS } from "./line.ts";
import { type Assigned, keyOf, type MemberSettings, type Membership, type MembershipRequest } from "./membership.ts";
import { PartitionReader } from "./partition.ts";
import { Ranges } from "./ranges.ts";
import { bounded, pause, until } from "./waiting.ts";

/** How long leaving waits for acknowledgements that are under way. */
const FLUSH_MS = 800;
const AGAIN_MS = 100;

/** A member of a group, not joined yet, that speaks the protocol that the options name. */
export function createMembership(cluster: Cluster, request: MembershipRequest): Membership {
  return request.behaviour.groupProtocol === "consumer" ? new ConsumerMember(cluster, request) : new ClassicMember(cluster, request);
}

export interface GroupReading extends GroupStart {
  /** The topic that is read beside it, once there is one. */
  readonly inbox: string;
  readonly member: MemberSettings;
  readonly events: SubscriptionEvents;
}

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

/**
 * Reads a topic and its inbox as one member of a group. Ownership is the membership's: it outlives links, and while it lasts this reads on
 * and commits as soon as there is a link again.
 */
export class GroupReader implements Reader {
  /** This member made the group. */
  created = false;
  readonly topic: string;
  readonly #cluster: Cluster;
  readonly #request: GroupReading;
  readonly #membership: Membership;
  readonly #fetcher: Fetcher;
  readonly #committer: Committer;
  readonly #ended = new AbortController();
  /** Resolves when the group's start is durable: until then nobody knows where to read. */
  readonly #placed: PromiseWithResolvers<void> = Promise.withResolvers();
  readonly #owned = new Map<string, Ownership>();
  /** By shard, for settling; those that are given up have left. */
  readonly #settling = new Map<Shard, Ownership>();
  #closing: Promise<void> | undefined;

  private constructor(cluster: Cluster, request: GroupReading) {
    const { topic, inbox, groupId, isolation, member, events } = request;
    this.topic = topic;
    this.#cluster = cluster;
    this.#request = request;
    this.#membership = createMembership(cluster, {
      groupId,
      topics: [topic, inbox],
      behaviour: member,
      events: {
        revoked: (partitions) => this.#revoked(partitions),
        lost: (partitions, reason) => this.#lost(partitions, reason),
        assigned: (partitions) => this.#assigned(partitions),
        failed: (error) => this.#fail(error),
      },
    });
    this.#fetcher = new Fetcher(cluster, { isolation, events, heals: true, inbox, cutBack: (one) => this.#cutBack(one) });
    this.#committer = new Committer(cluster, groupId, () => this.#membership.epoch);
  }

  /** Joins, and resolves when the group's start is durable. Rejects with what ended that, and leaves. */
  static async open(cluster: Cluster, request: GroupReading, signal: AbortSignal): Promise<GroupReader> {
    const made = new GroupReader(cluster, request);
    cluster.readers.add(made);
    try {
      await made.#membership.join(signal);
      made.created = await startGroup(cluster, request, () => made.#ownerEpoch, AbortSignal.any([signal, made.#ended.signal]));
      made.#placed.resolve();
      return made;
    } catch (error) {
      await made.close();
      throw error;
    }
  }

  /** What to commit under for the whole topic, while its first partition is this member's. */
  get #ownerEpoch(): Membership["epoch"] | undefined {
    return this.#owned.has(keyOf({ topic: this.topic, partition: 0 })) ? this.#membership.epoch : undefined;
  }

  // ---- what the membership says
  #assigned(partitions: readonly Assigned[]): void {
    void this.#read(partitions.map((one) => this.#own(one)));
  }

  #own({ topic, partition }: Assigned): Ownership {
    const inbox = topic === this.#request.inbox;
    const shard = { id: shardId(partition, inbox), inbox };
    const one: Ownership = { topic, partition, shard, reader: undefined, leaving: false, settled: -1 };
    this.#owned.set(keyOf(one), one);
    this.#settling.set(one.shard, one);
    return one;
  }

  /** What was given out is not in the log any more, so it is another ownership that goes on there. The group must not stay behind the log. */
  #cutBack(reader: PartitionReader): void {
    if (this.#owned.get(keyOf(reader))?.reader !== reader) return;
    this.#committer.lose(this.#drop([reader], "its log was cut back"));
    const one = this.#own(reader);
    this.#begin([one], new Map([[keyOf(one), { from: reader.position, over: new Ranges() }]]));
    if (one.reader !== undefined) void this.#committer.commit(one.reader, reader.position);
  }

  /** Reads them from where the group stands, once that is known. One that no server knows of yet is looked for again. */
  async #read(taken: readonly Ownership[]): Promise<void> {
    const { signal } = this.#ended;
    await this.#placed.promise;
    for (;;) {
      const still = taken.filter((one) => one.reader === undefined && !one.leaving && this.#owned.get(keyOf(one)) === one);
      if (still.length === 0 || signal.aborted) return;
      try {
        const look = (bound: AbortSignal): ReturnType<typeof startsOf> => startsOf(this.#cluster, this.#request, still, bound);
        const starts = await bounded(
          this.#cluster.clock,
          REQUEST_MS,
          () => unavailable("The group's place was not told in time."),
          look,
          signal,
        );
        this.#begin(still, starts);
        if (still.every((one) => starts.has(keyOf(one)))) return;
      } catch (error) {
        if (!classify(error).retryable) return this.#fail(error);
      }
      await pause(this.#cluster, AGAIN_MS, signal).catch(() => {});
    }
  }

  #begin(taken: readonly Ownership[], starts: ReadonlyMap<string, Start>): void {
    const readers: PartitionReader[] = [];
    for (const one of taken) {
      const start = starts.get(keyOf(one));
      if (start === undefined || one.leaving || this.#owned.get(keyOf(one)) !== one) continue;
      one.reader = new PartitionReader(this.#cluster.client, one, { ...start, isolation: this.#request.isolation });
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
    const handled = Promise.all(given.map(({ shard }) => this.#request.events.releasing(shard)));
    // The membership waits for half of the time that others wait for this member; committing needs some of that.
    const ms = this.#request.member.rebalanceTimeoutMs / 4;
    const late = (): unknown => unavailable(`What is being handled did not end within ${ms} ms.`);
    await bounded(this.#cluster.clock, ms, late, (bound) => until(bound, handled), this.#ended.signal).catch(() => {});
    await this.#committer.flush(readers);
    // Whoever acknowledged hears that it is confirmed before the shard is lost.
    await new Promise((turn) => setImmediate(turn));
    this.#drop(partitions, "the group rebalances");
  }

  #lost(partitions: readonly Assigned[], reason: string): void {
    const had = partitions.some((one) => this.#owned.has(keyOf(one)));
    const readers = this.#drop(partitions, reason);
    this.#committer.lose(readers);
    if (had) this.#fetcher.fail(unavailable(`Its place in the group "${this.#request.groupId}" is lost: ${reason}.`));
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
    for (const { shard } of dropped) this.#request.events.lost(shard, reason);
    return readers;
  }

  #fail(error: unknown): void {
    this.#fetcher.fail(error);
    this.#ended.abort(error);
  }

  refresh(): void {
    this.#membership.refresh();
  }

  // ---- what the subscription asks
  receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly RecordDelivery[]> {
    return this.#fetcher.receive(max, waitMs, signal);
  }

  pause(shards: readonly ShardId[], paused: boolean): void {
    this.#fetcher.pause(shards, paused);
  }

  /** Acknowledges this record, and in a partition of the topic all before it. */
  commit({ shard, offset }: RecordDelivery): SettleResult | Promise<SettleResult> {
    const one = this.#settling.get(shard);
    if (one?.reader === undefined) return "lost";
    const { delays, position } = one.reader;
    if (delays === undefined) {
      if (offset <= one.settled) return "lost";
      one.settled = offset;
      return this.#committer.commit(one.reader, offset + 1);
    }
    if (!delays.settled(offset)) return "lost";
    return this.#committer.commit(one.reader, delays.floor(position));
  }

  flush(): Promise<void> {
    return this.#committer.flush();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#cluster.readers.delete(this);
    this.#fetcher.close();
    const late = pause(this.#cluster, FLUSH_MS, this.#ended.signal).catch(() => {});
    await Promise.race([this.#committer.flush(), late]);
    this.#committer.close();
    this.#ended.abort(unavailable("The subscription was closed."));
    this.#placed.resolve();
    this.#owned.clear();
    this.#settling.clear();
    await this.#membership.leave();
  }
}
