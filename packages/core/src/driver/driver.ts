import type { Capabilities } from "./capabilities.ts";
import type { Classified } from "./errors.ts";
import type { Cut, Place, PublishResult, SettleResult, Shard, ShardId, WireDelivery, WireRecord, WireStart } from "./wire.ts";

/**
 * One backend connection behind the SPI. A driver makes one attempt at everything: it does not retry, reconnect in a loop, hold policy
 * timers, decode, dead-letter or queue while offline; core does all of that, once, for every backend.
 *
 * Core guarantees: `connect` has resolved before anything else is called; nothing is called after `close`; calls are within the limits
 * of `capabilities`; names are valid. Every promise must settle within 1 s of its signal's abort.
 * Every member but `publish` rejects with the raw client error (`classify` maps it) or with `driverError(code, text)`.
 */
export interface Driver {
  /** The static ceiling, without I/O; the same record that the adapter's `./capabilities` exports. */
  readonly capabilities: Capabilities;

  /**
   * Opens or re-opens: one bounded attempt. On a healthy connection it resolves at once. Resolves to what this server can do, which is
   * never more than the ceiling. Held by: lifecycle/reconnect, errors/nothing-listening, expected-capabilities.
   */
  connect(signal: AbortSignal): Promise<Capabilities>;

  /**
   * What this topic can do (retention, queue type; `topics.partitions` is how many shards it has); never more than `connect` said.
   * `NOT_FOUND` where topics are explicit.
   */
  describe(topic: string, signal: AbortSignal): Promise<Capabilities>;

  /**
   * Stores records, possibly for many targets. Never rejects and never throws: one result per record, same order.
   * Obligations: when it settles, nothing more is sent for these records (close the connection if that is what it takes), and each
   * failed one says whether its bytes may have left. While down, it fails at once with `sent: "no"` and an UNAVAILABLE error.
   * Concurrency: up to `publish.inFlight` calls. On abort it settles within 1 s; what was written by then is `sent: "maybe"`.
   * Held by: publish/*, faults/in-doubt.
   */
  publish(batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]>;

  /**
   * Opens a subscription. When it resolves, the group's start is durable: everything whose publish begins later is delivered, on
   * every shard, also on shards added later. `NOT_FOUND` for a missing topic where topics are explicit.
   * Held by: subscribe/*, order/*, lease/*.
   */
  subscribe(request: SubscribeRequest, signal: AbortSignal): Promise<Subscription>;

  /** Opens a reader that moves no group. Held by: replay/*. */
  replay(request: ReplayRequest, signal: AbortSignal): Promise<Cursor>;

  readonly admin: Admin;

  /** Only where `capabilities.coordination`. Held by: order/partitions-*. */
  readonly coordination?: Coordination;

  /** A round trip to the backend. */
  ping(signal: AbortSignal): Promise<void>;

  /** A pure table from raw errors to codes; unknown ones are `INTERNAL`, not retryable. Never throws. */
  classify(error: unknown): Classified;

  /** Lets everything go: sockets, timers, listeners, files. Idempotent, bounded to a few seconds, never rejects. */
  close(): Promise<void>;
}

export interface SubscriptionEvents {
  /**
   * This ownership will be handed to another member, who must find its keys idle. Core starts nothing more of it, and resolves when what it
   * had started is handled and acknowledged. The driver bounds the wait, commits, and raises `lost`, which this never replaces.
   */
  releasing(shard: Shard): Promise<void>;
  /**
   * This ownership is over (rebalance, lease, connection). Called before any other member can own it where the backend allows.
   * Core drops what has not started, aborts running signals and settles nothing of it on the wire any more.
   */
  lost(shard: Shard, reason: string): void;
  /** A shard's link went down or came back without losing ownership. */
  state(shard: ShardId, state: "up" | "down", error?: unknown): void;
  /**
   * Messages that this reader should have seen are gone. Called before anything later of that shard is delivered; the driver then goes
   * on behind the hole, and core fails the reader unless told to skip. `missing`: how many, where that can be known.
   */
  dataLoss(shard: ShardId, from: Place | undefined, to: Place | undefined, missing: number | undefined): void;
}

export interface SubscribeRequest {
  readonly topic: string;
  /** `undefined`: broadcast, this subscriber alone sees everything from `from` on. */
  readonly group: string | undefined;
  /** Where a *new* group starts; one that exists keeps its place. Broadcast starts here always. */
  readonly from: WireStart;
  /** The most deliveries core will own at once: a prefetch bound for backends that push. */
  readonly credit: number;
  /**
   * Core holds the lease of this topic for the group, so no other member should read it now. What earlier owners left pending is handed out
   * first, in place order, before anything newer; with a native single active consumer, as soon as the former owner's link has ended.
   * What a former owner settles afterwards answers `"lost"` or changes nothing.
   */
  readonly exclusive?: boolean | undefined;
  readonly events: SubscriptionEvents;
}

/** One member of a group, or one broadcast reader. Calls to `receive` overlap up to `receive.concurrency`; the others at any time. */
export interface Subscription {
  /** The group did not exist before this call. Broadcast: always true. */
  readonly created: boolean;
  /** Broadcast on backends with places: the resolved start, so that core can resume a reader that lost its connection. */
  readonly start?: Cut | undefined;
  /**
   * Waits up to `waitMs` for messages and resolves to at most `max` (`[]` when idle). `max` 0 … never happens. After abort it resolves
   * within 1 s with what was assigned meanwhile; nothing assigned is ever dropped. Rejects UNAVAILABLE (after `lost` for every shard)
   * when ownership did not survive the link; then core connects and subscribes again. The array belongs to core.
   * A group that serves `keyOrder: "members"` never hands out a key that has an unsettled delivery with another member, nor one behind a
   * delayed redelivery of that key.
   */
  receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]>;
  /**
   * Stop and go on fetching from these shards; what is already owned stays owned. Without shards: from all, for good; `receive` answers what
   * has come by then, and `[]` once nothing is left (for groups at most once, where nobody else is given what one member has taken).
   */
  pause?(shards?: readonly ShardId[]): void;
  resume?(shards: readonly ShardId[]): void;
  /**
   * Acknowledges; one result per delivery, same order. Where `settle.unit` is `"prefix"` core passes contiguous heads: the last of each
   * shard covers all before it, and drivers coalesce. Settling twice, or what is no longer owned, answers `"lost"` and changes nothing.
   */
  ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]>;
  /** Gives back for redelivery after `delayMs`, recording the absolute number of `failures` where the backend keeps it. */
  nack?(items: readonly Nack[]): Promise<readonly SettleResult[]>;
  /** Makes the lease end `ms` from now, only if this member still owns the delivery. */
  extend?(deliveries: readonly WireDelivery[], ms: number): Promise<readonly SettleResult[]>;
  /**
   * Core has given this ownership up by itself: a part of what came under it is lost, and the rest must not overtake that. Nothing more is
   * handed out under it; all that is unsettled comes again under a new one. Only where the shard is a lease of its own (`Shard.until`).
   */
  forfeit?(shard: Shard): void;
  /** Resolves when every ack given so far is as durable as the backend makes it. */
  flush(): Promise<void>;
  /** Leaves: commits pending heads, gives back what is unsettled at once where the backend can, ends waiting receives. Idempotent. */
  close(): Promise<void>;
}

export interface Nack {
  readonly delivery: WireDelivery;
  readonly delayMs: number;
  readonly failures: number;
}

export interface ReplayRequest {
  readonly topic: string;
  readonly from: WireStart;
  /** Ends at this cut or time, exclusive for a time, or at the end as of opening, whichever comes first. */
  readonly to?: WireStart | undefined;
  /** Go on past `end` and wait for more. */
  readonly follow: boolean;
  readonly events: Pick<SubscriptionEvents, "dataLoss">;
}

export interface Cursor {
  /** The end, fixed when the cursor opened; empty for an empty topic. A shard's last record may itself be gone (compaction). */
  readonly end: Cut;
  /**
   * Waits up to `waitMs` for at most `max` records. `atEnd`: the *fetch position* has reached `end` on every shard, also when the topic is
   * empty or its tail was compacted away. A bounded cursor delivers nothing behind `end`.
   */
  receive(
    max: number,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<{ readonly deliveries: readonly WireDelivery[]; readonly atEnd: boolean }>;
  close(): Promise<void>;
}

export interface TopicSpec {
  readonly name: string;
  readonly partitions?: number | undefined;
  readonly retention?: Retention | undefined;
  /** The adapter's own options, from `TopicOptions.native`, under the adapter's name; the driver validates them. */
  readonly native?: unknown;
}

export interface Retention {
  readonly ms?: number | undefined;
  readonly bytes?: number | undefined;
  readonly compact?: boolean | undefined;
}

export interface TopicInfo {
  readonly partitions: number | undefined;
  readonly retention: Retention | undefined;
  /** `undefined` where the backend cannot list them. */
  readonly groups: readonly string[] | undefined;
}

export interface WireLag {
  readonly count: number | undefined;
  readonly inFlight: number | undefined;
  readonly oldestMs: number | undefined;
}

/** Every call is safe to repeat. A member whose capability is absent is never called. */
export interface Admin {
  /** Creates what is missing and never alters what is there. */
  createTopic(spec: TopicSpec, signal: AbortSignal): Promise<"created" | "existing">;
  /** `undefined`: there is no such topic. */
  describeTopic(topic: string, signal: AbortSignal): Promise<TopicInfo | undefined>;
  /** Deletes the topic with its groups and inboxes; deleting what is not there succeeds. */
  deleteTopic(topic: string, signal: AbortSignal): Promise<void>;
  /**
   * When it resolves the start is durable (see `subscribe`). `exclusive`: the group will be read by exclusive subscriptions only. Never
   * disturbs who reads the group now.
   */
  createGroup(topic: string, group: string, from: WireStart, signal: AbortSignal, exclusive?: boolean): Promise<"created" | "existing">;
  deleteGroup(topic: string, group: string, signal: AbortSignal): Promise<void>;
  /** A group's floor: everything at or before it is acknowledged. Without a group: the topic's end. `NOT_FOUND` for an unknown group. */
  position(topic: string, group: string | undefined, signal: AbortSignal): Promise<Cut>;
  /**
   * Moves the group, clears what is pending (a loss for outstanding deliveries: `lost` is raised), then resolves.
   * `seek: "idle"` backends reject `GROUP_ACTIVE` with the members.
   */
  seek(topic: string, group: string, to: WireStart, signal: AbortSignal): Promise<void>;
  /** What the group has not acknowledged, its inbox included; `undefined` for what cannot be known, never a guessed 0. */
  lag(topic: string, group: string, signal: AbortSignal): Promise<WireLag>;
}

/** A small value that several processes share. `revision` is opaque and changes with every write. */
export interface Register {
  readonly value: Uint8Array;
  readonly revision: string;
}

/**
 * Registers change only by compare-and-set and outlive processes. Names match `[A-Za-z0-9._/-]+` and have at most 400 characters, values
 * have at most 256 KiB. A write whose promise rejected may have been made. They belong to no topic: deleting one leaves them.
 */
export interface Coordination {
  /** `undefined`: never written. Linearizable: never older than a write that had resolved. */
  read(name: string, signal: AbortSignal): Promise<Register | undefined>;
  /**
   * Writes only if the revision is still `expected` (`undefined`: only if never written). Resolves to the new revision, or to `undefined`
   * when another was faster.
   */
  compareAndSet(name: string, expected: string | undefined, value: Uint8Array, signal: AbortSignal): Promise<string | undefined>;
}
