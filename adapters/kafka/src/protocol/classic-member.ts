import { assign, type Claimant } from "./assignor.ts";
import { protocolName, unavailable } from "./client-error.ts";
import { type Cluster, METADATA_MS } from "./cluster.ts";
import type { Line } from "./line.ts";
import type { Assigned, MemberEpoch, Membership, MembershipRequest } from "./membership.ts";
import type { Answer } from "./requests.ts";
import { PROTOCOL, Session } from "./session.ts";

const TYPE = "consumer";
/** Version of the subscription and assignment formats: https://cwiki.apache.org/confluence/display/KAFKA/KIP-792 */
const FORMAT = 3;
/** What JoinGroup and SyncGroup may take beyond the rebalance time-out, which is how long the broker waits for the other members. */
const GRACE_MS = 5_000;

interface ByTopic {
  readonly topic: string;
  readonly partitions: number[];
}

function byTopic(partitions: readonly Assigned[]): ByTopic[] {
  return [...Map.groupBy(partitions, ({ topic }) => topic)].map(([topic, list]) => ({
    topic,
    partitions: list.map((one) => one.partition),
  }));
}

function flat(topics: readonly ByTopic[]): Assigned[] {
  return topics.flatMap(({ topic, partitions }) => partitions.map((partition) => ({ topic, partition })));
}

/**
 * A member by JoinGroup, SyncGroup and Heartbeat, with cooperative rebalancing (KIP-429) and static membership (KIP-345). What it owns it
 * keeps while it joins again; heartbeats go on meanwhile, on a line of their own, so that a long rebalance can be told from a dead link.
 */
export class ClassicMember implements Membership {
  readonly #cluster: Cluster;
  readonly #request: MembershipRequest;
  readonly #session: Session;
  readonly #beats: Line;
  #joins: Line;
  #memberId = "";
  #generation = -1;
  /** JoinGroup is under way: what heartbeats say of the generation is about the one before. */
  #joining = false;
  #leading = false;
  /** Partitions by topic as of the last assignment that this member knows of; a difference is a reason to join again. */
  #counts: ReadonlyMap<string, number> = new Map();
  #rejoin: PromiseWithResolvers<string> = Promise.withResolvers();
  #beating: Promise<void> | undefined;
  #leaving: Promise<void> | undefined;
  #checking: Promise<void> | undefined;
  #checkAgain = false;

  constructor(cluster: Cluster, request: MembershipRequest) {
    this.#cluster = cluster;
    this.#request = request;
    this.#session = new Session(cluster, request, (reason) => {
      this.#generation = -1;
      // A request that hangs on a dead link holds nothing up any more.
      this.#joins = this.#session.replace(this.#joins);
      this.#rejoin.resolve(reason);
    });
    this.#beats = this.#session.line();
    this.#joins = this.#session.line();
  }

  get epoch(): MemberEpoch {
    return { generation: this.#generation, memberId: this.#memberId, instanceId: this.#session.instanceId };
  }

  get owned(): readonly Assigned[] {
    return this.#session.owned;
  }

  async join(signal: AbortSignal): Promise<void> {
    try {
      await this.#session.start(signal, (joined) => this.#run(joined));
    } catch (error) {
      void this.leave();
      throw error;
    }
  }

  async #run(joined: () => void): Promise<void> {
    void this.#watch();
    let reason = "it is new";
    while (!this.#session.over) {
      const revoked = await this.#round(reason);
      joined();
      reason = revoked ? "it has given up partitions that move" : await this.#rejoin.promise;
    }
  }

  /** Joins until there is an assignment, and takes that. Resolves to whether it took partitions away. */
  async #round(reason: string): Promise<boolean> {
    for (;;) {
      try {
        return await this.#session.take(await this.#agree(reason));
      } catch (error) {
        if (this.#session.over) throw error;
        switch (protocolName(error)) {
          case "MEMBER_ID_REQUIRED":
            // The first request only gets an id (KIP-394).
            this.#memberId = (error as { response?: Answer<"JoinGroup"> }).response?.memberId ?? "";
            break;
          case "REBALANCE_IN_PROGRESS":
            break;
          case "UNKNOWN_MEMBER_ID":
            this.#memberId = "";
            this.#session.lose("the group does not know this member any more");
            break;
          case "ILLEGAL_GENERATION":
            this.#session.lose("the group has gone on without this member");
            break;
          default:
            if (!this.#session.mends(error)) throw error;
            await this.#session.pause(this.#session.retryMs);
        }
      }
    }
  }

  /** Agrees on a generation with the other members. Resolves to this member's part. */
  async #agree(reason: string): Promise<readonly Assigned[]> {
    const { groupId, behaviour } = this.#request;
    const { clock, client } = this.#cluster;
    const { instanceId } = this.#session;
    const { sessionTimeoutMs, rebalanceTimeoutMs } = behaviour;
    const ms = rebalanceTimeoutMs + GRACE_MS;
    this.#rejoin = Promise.withResolvers();
    const protocols = [{ name: PROTOCOL, metadata: this.#subscription() }];
    this.#joining = true;
    const joined = await this.#session
      .ask(
        this.#joins,
        "JoinGroup",
        [groupId, sessionTimeoutMs, rebalanceTimeoutMs, this.#memberId, instanceId, TYPE, protocols, `rejoins since ${reason}`],
        ms,
      )
      .finally(() => {
        this.#joining = false;
      });
    const { memberId, generationId } = joined;
    this.#memberId = memberId;
    this.#generation = generationId;
    this.#leading = joined.leader === memberId;
    this.#beating ??= this.#beat();
    const shares = await this.#shares(joined);
    // Ownership ended meanwhile: what this generation would give could be neither kept alive nor committed.
    if (this.#generation !== generationId) throw unavailable(`The session ended while the group "${groupId}" agreed.`);
    const sent = clock.monotonic();
    const args = [groupId, generationId, memberId, instanceId, TYPE, PROTOCOL, shares] as const;
    const { assignment } = await this.#session.ask(this.#joins, "SyncGroup", [...args], ms);
    this.#session.renew(sent);
    if (!this.#session.alive) {
      this.#session.lose("the group took longer to agree than the session lasts");
      throw unavailable(`The group "${groupId}" took longer to agree than its session time-out of ${sessionTimeoutMs} ms.`);
    }
    return flat(client.decodeConsumerProtocolAssignment(assignment).assignedPartitions);
  }

  /** What this member tells the leader: the topics it wants and what it has. */
  #subscription(): Buffer {
    // Where others look for the generation before version 2 of the format.
    const userData = Buffer.alloc(4);
    userData.writeInt32BE(this.#generation);
    return this.#cluster.client.encodeConsumerProtocolSubscription({
      version: FORMAT,
      topics: [...this.#request.topics],
      userData,
      ownedPartitions: byTopic(this.owned),
      generationId: this.#generation,
    });
  }

  /** What the leader gives to each member; nothing from the others, or where a returning leader finds the assignment as it was (KIP-814). */
  async #shares(joined: Answer<"JoinGroup">): Promise<{ memberId: string; assignment: Buffer }[]> {
    const { client } = this.#cluster;
    if (!this.#leading) {
      this.#counts = await this.#count(this.#request.topics, METADATA_MS);
      return [];
    }
    const members = joined.members.map(({ memberId, groupInstanceId, metadata }): Claimant => {
      const said = client.decodeConsumerProtocolSubscription(metadata);
      return {
        id: memberId,
        name: groupInstanceId ?? memberId,
        topics: said.topics,
        owned: flat(said.ownedPartitions),
        generation: said.version < 2 ? client.decodeCooperativeStickyGeneration(said.userData) : said.generationId,
      };
    });
    this.#counts = await this.#count([...new Set(members.flatMap(({ topics }) => topics))], 0);
    if (joined.skipAssignment) return [];
    const given = assign(members, this.#counts);
    return members.map(({ id }) => ({
      memberId: id,
      assignment: client.encodeConsumerProtocolAssignment({ version: FORMAT, assignedPartitions: byTopic(given.get(id) ?? []) }),
    }));
  }

  async #beat(): Promise<void> {
    const { groupId, behaviour } = this.#request;
    const { clock } = this.#cluster;
    let wait = 0;
    while (!this.#session.over) {
      await this.#session.pause(wait);
      wait = behaviour.heartbeatMs;
      const { generation, memberId, instanceId } = this.epoch;
      if (generation < 0 || this.#session.over) continue;
      const sent = clock.monotonic();
      try {
        await this.#session.ask(this.#beats, "Heartbeat", [groupId, generation, memberId, instanceId]);
        this.#session.renew(sent);
      } catch (error) {
        if (generation !== this.#generation || memberId !== this.#memberId) continue;
        wait = this.#missed(error, sent);
      }
    }
  }

  /** Resolves to when to try again. */
  #missed(error: unknown, sent: number): number {
    const { heartbeatMs } = this.#request.behaviour;
    switch (protocolName(error)) {
      case "REBALANCE_IN_PROGRESS":
        this.#session.renew(sent);
        if (!this.#joining) this.#rejoin.resolve("the group rebalances");
        return heartbeatMs;
      case "ILLEGAL_GENERATION":
        // While joining, the answer with the new generation may be on its way.
        if (!this.#joining) this.#session.lose("the group has gone on without this member");
        return heartbeatMs;
      case "UNKNOWN_MEMBER_ID":
        if (!this.#joining) this.#memberId = "";
        this.#session.lose("the group does not know this member any more");
        return heartbeatMs;
      default:
        // One that goes astray while joining says little: the requests that join tell whether that goes on.
        if (!this.#session.passes(error)) this.#session.fail(error);
        return this.#session.retryMs;
    }
  }

  refresh(): void {
    this.#checkAgain = true;
    this.#checking ??= this.#check().finally(() => {
      this.#checking = undefined;
    });
  }

  async #check(): Promise<void> {
    while (this.#checkAgain && !this.#session.over) {
      this.#checkAgain = false;
      try {
        const counts = await this.#count([...this.#counts.keys()], 0);
        if ([...counts].some(([topic, count]) => this.#counts.get(topic) !== count))
          this.#rejoin.resolve("topics or partitions have changed");
      } catch {
        // The leader looks again soon anyway.
      }
    }
  }

  /** The leader looks by itself; the others are told by whoever makes a topic. */
  async #watch(): Promise<void> {
    while (!this.#session.over) {
      await this.#session.pause(METADATA_MS);
      if (this.#leading) this.refresh();
    }
  }

  async #count(topics: readonly string[], maxAgeMs: number): Promise<ReadonlyMap<string, number>> {
    const states = await this.#cluster.topics(topics, undefined, maxAgeMs);
    return new Map(topics.map((topic) => [topic, states.get(topic)?.partitions.length ?? 0]));
  }

  leave(): Promise<void> {
    this.#leaving ??= this.#leave();
    return this.#leaving;
  }

  async #leave(): Promise<void> {
    const { groupId } = this.#request;
    const { memberId, instanceId } = this.epoch;
    this.#session.close(unavailable("The member has left its group."));
    if (memberId === "" || instanceId !== null) return;
    await this.#session.farewell("LeaveGroup", [groupId, [{ memberId, groupInstanceId: null, reason: "the subscription was closed" }]]);
  }
}
