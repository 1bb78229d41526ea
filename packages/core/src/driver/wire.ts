/** Names one ordered part of a topic. Matches `[A-Za-z0-9_-]+`. */
export type ShardId = string;

/**
 * One ownership of a shard, compared by identity. Taking a shard again after `lost` is a new object.
 * A backend without shards uses one object for each ownership epoch (a connection, a channel).
 */
export interface Shard {
  readonly id: ShardId;
  /**
   * Where the ownership is a lease of its own: when it ends unless it is renewed meanwhile, on `Clock.monotonic()`. Core reads it each time
   * and starts and settles nothing after it.
   */
  readonly until?: number | undefined;
}

declare const placeBrand: unique symbol;
/** One message's spot: `<shard>:<n>[.<n>…]`, non-negative integers compared numerically within one shard; a prefix is less. */
export type Place = string & { readonly [placeBrand]: "Place" };

/** Everything at or before the shard's place is before the cut. A shard that is missing has nothing before the cut. */
export type Cut = ReadonlyMap<ShardId, Place>;

/** A start as drivers get it: checked against `Capabilities.from`, positions already decoded. `ms` is epoch time. */
export type WireStart =
  | { readonly kind: "latest" }
  | { readonly kind: "earliest" }
  | { readonly kind: "time"; readonly ms: number }
  | { readonly kind: "position"; readonly cut: Cut };

export type WireHeader = readonly [name: string, value: Uint8Array];

/** Where a record goes: to every group of a topic, or (with `group`) to that group's inbox only. */
export interface Target {
  readonly topic: string;
  readonly group?: string | undefined;
}

/**
 * A record to publish. Core has validated names, sizes and capabilities. Arrays and bytes belong to core and stay unchanged until
 * `publish` settles; a driver that keeps them longer copies them.
 */
export interface WireRecord {
  readonly target: Target;
  /** Names the message; stays the same through retries, requeue and redrive. */
  readonly id: string;
  /** Names this act of publishing: what a dedupe window looks at. */
  readonly dedupeId: string;
  readonly key: Uint8Array | undefined;
  /** `"topic"`: the whole topic is one sequence, and its keys have no say. Matters where the backend orders by something like a key alone. */
  readonly order?: "topic" | undefined;
  readonly headers: readonly WireHeader[];
  /** `null` is a tombstone. */
  readonly body: Uint8Array | null;
  /** When the message was first published, epoch ms. */
  readonly publishedAt: number;
  /** Deliver not before this many ms from now. Only where `delay.maxMs` allows it; inbox records wherever `groupInbox` is not none. */
  readonly delayMs?: number | undefined;
  readonly ttlMs?: number | undefined;
  readonly priority?: number | undefined;
  /** Failures of this message so far; comes back as `WireDelivery.failures`. Set on inbox records only. */
  readonly failures?: number | undefined;
}

/** `sent: "no"`: no byte of it can have been stored. `"maybe"`: it may have been. `error` is the raw error. */
export type PublishResult =
  | { readonly ok: true; readonly place?: Place | undefined; readonly duplicate?: true | undefined }
  | { readonly ok: false; readonly error: unknown; readonly sent: "no" | "maybe" };

/** One delivered message. The object's identity is the settlement handle: drivers may subclass it and core hands the same object back. */
export interface WireDelivery {
  readonly shard: Shard;
  readonly place: Place | undefined;
  /** Our id; for foreign messages the native id, or `undefined`: core derives one from the place. Never random per delivery. */
  readonly id: string | undefined;
  readonly key: Uint8Array | undefined;
  readonly headers: readonly WireHeader[];
  readonly body: Uint8Array | null;
  /** Epoch ms. */
  readonly publishedAt: number;
  /** Native deliveries including this one; 1 where the backend does not count. */
  readonly deliveries: number;
  /** Failures recorded by `nack` or carried by an inbox record; 0 where the backend does not keep them. */
  readonly failures: number;
  /** It came through the group's inbox (requeued or redriven), so it is no part of the topic's order. */
  readonly inbox: boolean;
  /** End of the lease on `Clock.monotonic()`, `Infinity` without a lease. Drivers err on the early side. */
  readonly leaseUntil: number;
}

/**
 * `confirmed`: the backend has answered. `written`: sent, the protocol has no answer. `recorded`: kept, goes out with a later head.
 * `lost`: this delivery is no longer owned, nothing was changed.
 */
export type SettleResult = "confirmed" | "written" | "recorded" | "lost" | { readonly error: unknown };
