/** Within which of a group's members the handlers of one key keep publish order. */
export type KeyScope = "members" | "process" | "none";

/** What a subscription promises, and therefore what the checker may hold against it. */
export interface Promises {
  /**
   * Publish order per (producer, key), judged on the first delivery of each id: over the whole group, within each process, or not at all.
   * Under `process`, a message published before a member died or let go of a shard is not judged: it may have come from that member's buffer.
   */
  readonly order: KeyScope;
  /** True: nothing acknowledged may be missing. False: what is missing is compared with what the SDK reported. */
  readonly atLeastOnce: boolean;
  /** Where two handlers of one key must never run at once. Default: as `order`; nowhere where `acks` is `none`. */
  readonly overlap?: KeyScope | undefined;
  /** `prefix`: an acknowledgement is durable once everything before it on its shard is acknowledged too (logs). Default `each`. */
  readonly settle?: "each" | "prefix" | undefined;
  /**
   * `recorded` (default): the history holds the `ack` events. `implied`: it does not, and a `done: ok` stands for the acknowledgement.
   * `none`: nothing is ever acknowledged (broadcast, replay), so nothing is owed again after a delivery, and `done` need not be written.
   */
  readonly acks?: "recorded" | "implied" | "none" | undefined;
  /** Milliseconds after which an acknowledgement in the history is durable: for backends that do not confirm, and for implied ones. Default 0. */
  readonly ackSettleMs?: number | undefined;
  /**
   * `sum` (default): all duplicates together within the bound. `each`: also none of a message that was durably acknowledged, or never in doubt.
   * `any`: counted only.
   */
  readonly duplicates?: "sum" | "each" | "any" | undefined;
  /** Where losses are allowed: `counted` (default): the SDK must have reported as many. `any`: counted only. */
  readonly losses?: "counted" | "any" | undefined;
  /** Longest time, in milliseconds, without a delivery, `done` or `ack` while work is outstanding. Default: reported, not judged. */
  readonly stallMs?: number | undefined;
  /** Longest time, in milliseconds, from the end of an interruption to the next delivery. Default: reported, not judged. */
  readonly recoveryMs?: number | undefined;
  /** How far the clocks of two processes may disagree, in milliseconds. Default 0.5. */
  readonly clockMs?: number | undefined;
}

/** One group that the run had. Every (topic, group) of the history must be claimed, and promises can be given for it alone. */
export interface GroupClaims extends Partial<Promises> {
  readonly topic: string;
  readonly group: string;
  /** The time (`historyTime`) its start was durable: messages whose publish began earlier need not have come. Default: all need. */
  readonly since?: number | undefined;
  /** The time it ended: messages confirmed later need not have come. Default: all need. */
  readonly until?: number | undefined;
}

/** What a run claims. Groups are named and not guessed: a group that received nothing would otherwise be invisible. */
export interface Claims extends Promises {
  readonly groups: readonly GroupClaims[];
}

/** Claims of one group with every default filled in. */
export interface Terms {
  readonly topic: string;
  readonly group: string;
  readonly since: number;
  readonly until: number;
  readonly order: KeyScope;
  readonly overlap: KeyScope;
  readonly atLeastOnce: boolean;
  readonly settle: "each" | "prefix";
  readonly acks: "recorded" | "implied" | "none";
  readonly ackSettleMs: number;
  readonly duplicates: "sum" | "each" | "any";
  readonly losses: "counted" | "any";
  readonly stallMs: number | undefined;
  readonly recoveryMs: number | undefined;
  readonly clockMs: number;
}

/** The terms of one claimed group. */
export function termsOf(claims: Claims, group: GroupClaims): Terms {
  const order = group.order ?? claims.order;
  const acks = group.acks ?? claims.acks ?? "recorded";
  const overlap = group.overlap ?? group.order ?? claims.overlap ?? order;
  return {
    topic: group.topic,
    group: group.group,
    since: group.since ?? Number.NEGATIVE_INFINITY,
    until: group.until ?? Number.POSITIVE_INFINITY,
    order,
    overlap: acks === "none" ? (group.overlap ?? "none") : overlap,
    atLeastOnce: group.atLeastOnce ?? claims.atLeastOnce,
    settle: group.settle ?? claims.settle ?? "each",
    acks,
    ackSettleMs: group.ackSettleMs ?? claims.ackSettleMs ?? 0,
    duplicates: group.duplicates ?? claims.duplicates ?? "sum",
    losses: group.losses ?? claims.losses ?? "counted",
    stallMs: group.stallMs ?? claims.stallMs,
    recoveryMs: group.recoveryMs ?? claims.recoveryMs,
    clockMs: group.clockMs ?? claims.clockMs ?? 0.5,
  };
}
