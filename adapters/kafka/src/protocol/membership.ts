/** How members take part in groups. */
export interface MemberSettings {
  /** Which group protocol they speak: KIP-429 (classic, cooperative) or KIP-848 (consumer). */
  readonly groupProtocol: "classic" | "consumer";
  /** Static membership (KIP-345): prefix of `group.instance.id`, unique per process. */
  readonly instanceId: string | undefined;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
  readonly heartbeatMs: number;
}

/** One partition, as the members of a group share it out. */
export interface Assigned {
  readonly topic: string;
  readonly partition: number;
}

export const keyOf = ({ topic, partition }: Assigned): string => `${topic}:${partition}`;

/** What happens to a member's partitions. Nothing is called after `leave`, and nothing before `join`. */
export interface MembershipEvents {
  /**
   * The member must give these up, and does so once the promise settles: stop fetching, commit, resolve. Awaited for at most half of the
   * rebalance time-out; after that, or if the session ends meanwhile, `lost` follows for the same partitions.
   */
  revoked(partitions: readonly Assigned[]): Promise<void>;
  /** These are gone already (session over, fenced, not known any more): nothing of them may be settled. */
  lost(partitions: readonly Assigned[], reason: string): void;
  /** These are owned from now on. */
  assigned(partitions: readonly Assigned[]): void;
  /** The membership is over and can't go on by itself (authorisation, a fenced instance, another protocol): the error to pass on. */
  failed(error: unknown): void;
}

/** What a member commits under. */
export interface MemberEpoch {
  /** The generation (classic) or the member epoch (KIP-848); −1 while the member has none. */
  readonly generation: number;
  readonly memberId: string;
  readonly instanceId: string | null;
}

/** One member of a consumer group. It heals cut connections and moved coordinators by itself for as long as its session lives. */
export interface Membership {
  /** Joins, once. Resolves when the first assignment, perhaps of nothing, is there. Rejects with what ended it, and leaves. */
  join(signal: AbortSignal): Promise<void>;
  readonly epoch: MemberEpoch;
  /** Assigned and neither revoked nor lost. */
  readonly owned: readonly Assigned[];
  /** Topics or partitions may have appeared: they are assigned soon, if so. May be called at any time, often. */
  refresh(): void;
  /** Leaves, within 2 s; a static member stays in the group until its session ends. Idempotent, never rejects. */
  leave(): Promise<void>;
}

export interface MembershipRequest {
  readonly groupId: string;
  /** Names; such as don't exist yet are assigned once they do. */
  readonly topics: readonly string[];
  readonly behaviour: MemberSettings;
  readonly events: MembershipEvents;
}
