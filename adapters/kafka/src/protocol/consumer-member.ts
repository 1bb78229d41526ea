import { randomUUID } from "node:crypto";
import { driverError } from "brokerkit/driver";
import { protocolName, unavailable } from "./client-error.ts";
import { type Cluster, METADATA_MS } from "./cluster.ts";
import type { Line } from "./line.ts";
import type { Assigned, MemberEpoch, Membership, MembershipRequest } from "./membership.ts";
import type { Answer, Args } from "./requests.ts";
import { NO_KIP_848, Session } from "./session.ts";

interface ByTopicId {
  readonly topicId: string;
  readonly partitions: number[];
}

/** Member epochs with a meaning of their own (KIP-848): to join, to leave, to leave for a moment as a static member. */
const JOIN = 0;
const LEAVE = -1;
const LEAVE_STATIC = -2;
/** Kind of resource in DescribeConfigs. */
const GROUP = 32 as const;
const SESSION_TIMEOUT = "consumer.session.timeout.ms";

/**
 * A member by ConsumerGroupHeartbeat (KIP-848): the coordinator assigns, and every heartbeat says what this member has and hears what it
 * should have. A partition moves once its owner's heartbeat leaves it out.
 */
export class ConsumerMember implements Membership {
  readonly #cluster: Cluster;
  readonly #request: MembershipRequest;
  readonly #session: Session;
  readonly #line: Line;
  #memberId: string = randomUUID();
  /** Whom this member was before it lost everything: the coordinator may still count on that one, and lets nobody join twice by one id. */
  #former: string | undefined;
  #memberEpoch = JOIN;
  /** Counts losses: an answer to a request of an earlier life says nothing about this one. */
  #life = 0;
  /** Topic ids by name, as of the last assignment. */
  #ids: ReadonlyMap<string, string> = new Map();
  /** What the coordinator wants this member to have, unless that is being brought about already. */
  #target: readonly ByTopicId[] | undefined;
  #reconciling: Promise<void> | undefined;
  /** What the coordinator last heard of this member's partitions; `undefined`: it has to hear everything anew. */
  #told: string | undefined;
  #nap: { cancel(): void } | undefined;
  /** A heartbeat is due at once. */
  #nudged = false;
  #leaving: Promise<void> | undefined;

  constructor(cluster: Cluster, request: MembershipRequest) {
    this.#cluster = cluster;
    this.#request = request;
    this.#session = new Session(cluster, request, () => {
      this.#life += 1;
      this.#memberEpoch = JOIN;
      this.#target = undefined;
      this.#told = undefined;
      this.#former = this.#memberId;
      this.#memberId = randomUUID();
      this.#nap?.cancel();
    });
    this.#line = this.#session.line();
  }

  get epoch(): MemberEpoch {
    const generation = this.#memberEpoch === JOIN ? -1 : this.#memberEpoch;
    return { generation, memberId: this.#memberId, instanceId: this.#session.instanceId };
  }

  get owned(): readonly Assigned[] {
    return this.#session.owned;
  }

  async join(signal: AbortSignal): Promise<void> {
    if (!this.#cluster.knows("ConsumerGroupHeartbeat")) {
      this.#session.close(unavailable("The member never joined its group."));
      throw driverError("UNSUPPORTED", NO_KIP_848);
    }
    try {
      await this.#session.start(signal, (joined) => this.#run(joined));
    } catch (error) {
      void this.leave();
      throw error;
    }
  }

  async #run(joined: () => void): Promise<void> {
    await this.#learnSession();
    while (!this.#session.over) {
      this.#nudged = false;
      const wait = await this.#beat();
      if (this.#memberEpoch !== JOIN && this.#reconciling === undefined) joined();
      if (this.#nudged) continue;
      const nap = this.#session.pause(wait);
      this.#nap = nap;
      await nap;
    }
  }

  #nudge(): void {
    this.#nudged = true;
    this.#nap?.cancel();
  }

  /** How long a session lasts is the cluster's to say in this protocol. Where it may not be asked, the option has to be right. */
  async #learnSession(): Promise<void> {
    const { groupId } = this.#request;
    const resources = [{ resourceType: GROUP, resourceName: groupId, configurationKeys: [SESSION_TIMEOUT] }];
    for (;;) {
      try {
        const { results } = await this.#session.ask(this.#line, "DescribeConfigs", [resources, false, false]);
        const ms = Number(results[0]?.configs.find(({ name }) => name === SESSION_TIMEOUT)?.value);
        if (ms > 0) this.#session.sessionMs = ms;
        return;
      } catch (error) {
        if (this.#session.over) throw error;
        if (this.#session.mends(error)) await this.#session.pause(this.#session.retryMs);
        else if (protocolName(error) !== undefined) return;
        else throw error;
      }
    }
  }

  /** Resolves to when the next one is due. */
  async #beat(): Promise<number> {
    const { groupId, behaviour, topics } = this.#request;
    const life = this.#life;
    const joining = this.#memberEpoch === JOIN;
    if (this.#former !== undefined) {
      await this.#session.farewell("ConsumerGroupHeartbeat", this.#goodbye(this.#former));
      this.#former = undefined;
    }
    const everything = this.#told === undefined;
    const owned = this.#ownedById();
    const said = JSON.stringify(owned);
    // Not while an assignment waits to be taken: whoever says that it lacks what it is about to take, lets go of it.
    const telling = joining || (this.#target === undefined && said !== this.#told);
    const sent = this.#cluster.clock.monotonic();
    let answer: Answer<"ConsumerGroupHeartbeat">;
    try {
      answer = await this.#session.ask(this.#line, "ConsumerGroupHeartbeat", [
        groupId,
        this.#memberId,
        this.#memberEpoch,
        this.#session.instanceId,
        null,
        everything ? behaviour.rebalanceTimeoutMs : -1,
        everything ? [...topics] : null,
        null,
        null,
        telling ? owned : null,
      ]);
    } catch (error) {
      if (this.#session.over) throw error;
      return life === this.#life ? this.#missed(error) : 0;
    }
    if (life !== this.#life) return 0;
    this.#session.renew(sent);
    this.#memberEpoch = answer.memberEpoch;
    if (telling) this.#told = said;
    if (answer.assignment !== null) {
      this.#target = answer.assignment.topicPartitions;
      this.#reconciling ??= this.#reconcile().finally(() => {
        this.#reconciling = undefined;
        this.#nudge();
      });
    }
    return answer.heartbeatIntervalMs;
  }

  #missed(error: unknown): number {
    const name = protocolName(error);
    // It may have arrived all the same; the next one says everything.
    this.#told = undefined;
    if (name === "UNKNOWN_MEMBER_ID" || name === "FENCED_MEMBER_EPOCH") {
      this.#session.lose("the group has gone on without this member");
    } else if (name !== "UNRELEASED_INSTANCE_ID" && !this.#session.mends(error)) {
      // UNRELEASED_INSTANCE_ID: the instance's last process has not left, and its session has not run out yet.
      throw error;
    }
    return this.#session.retryMs;
  }

  #ownedById(): ByTopicId[] {
    return [...Map.groupBy(this.owned, ({ topic }) => topic)].flatMap(([topic, list]) => {
      const topicId = this.#ids.get(topic);
      return topicId === undefined ? [] : [{ topicId, partitions: list.map(({ partition }) => partition).sort((a, b) => a - b) }];
    });
  }

  /** Brings about what the coordinator wants, and what it wants meanwhile. */
  async #reconcile(): Promise<void> {
    while (this.#target !== undefined && !this.#session.over) {
      const target = this.#target;
      const known = await this.#named(target).catch(() => undefined);
      // Only the latest may be taken: the coordinator regards as free what an earlier one gave and this member never said to have.
      if (this.#target !== target) continue;
      this.#target = undefined;
      if (known !== undefined) await this.#session.take(known.partitions);
      if (known?.complete === true) continue;
      // Who says everything is told everything: the assignment comes again.
      await this.#session.pause(this.#session.retryMs);
      this.#told = undefined;
    }
  }

  /** An assignment names topics by id; one that is quite new may not be in the metadata yet. */
  async #named(target: readonly ByTopicId[]): Promise<{ readonly partitions: readonly Assigned[]; readonly complete: boolean }> {
    const { topics } = this.#request;
    let states = await this.#cluster.topics(topics, undefined, METADATA_MS);
    const nameOf = (topicId: string): string | undefined => topics.find((name) => states.get(name)?.id === topicId);
    if (target.some(({ topicId }) => nameOf(topicId) === undefined)) states = await this.#cluster.topics(topics, undefined, 0);
    this.#ids = new Map(topics.flatMap((name) => [[name, states.get(name)?.id ?? ""] as const]));
    const partitions = target.flatMap(({ topicId, partitions: numbers }) => {
      const topic = nameOf(topicId);
      return topic === undefined ? [] : numbers.map((partition) => ({ topic, partition }));
    });
    return { partitions, complete: target.every(({ topicId }) => nameOf(topicId) !== undefined) };
  }

  /** Nothing to do: the coordinator watches topics and partitions itself. */
  refresh(): void {}

  leave(): Promise<void> {
    this.#leaving ??= this.#leave();
    return this.#leaving;
  }

  async #leave(): Promise<void> {
    this.#session.close(unavailable("The member has left its group."));
    await this.#session.farewell("ConsumerGroupHeartbeat", this.#goodbye(this.#memberId));
  }

  #goodbye(memberId: string): Args<"ConsumerGroupHeartbeat"> {
    const { instanceId } = this.#session;
    const epoch = instanceId === null ? LEAVE : LEAVE_STATIC;
    return [this.#request.groupId, memberId, epoch, instanceId, null, -1, null, null, null, null];
  }
}
