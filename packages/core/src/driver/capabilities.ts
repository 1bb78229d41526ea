/** How surely a message reaches a subscriber: `"none"` means the backend has no such delivery. */
export type DeliveryLevel = "none" | "at-most-once" | "at-least-once";

/** Where a reader may start. `"time"` is a publish time, `"position"` a cut over all shards. */
export type StartKind = "latest" | "earliest" | "time" | "position";
/** A replay begins somewhere in what is there already. */
export type ReplayKind = Exclude<StartKind, "latest">;
/** How well a group's backlog is known. */
export type LagKind = "exact" | "upper-bound" | "estimate" | "none";

/**
 * What a backend does natively, with its limits: one total, frozen record of plain data.
 *
 * A driver declares only what its backend does; core computes the effective record from it (what core supplies portably)
 * and everything that users see reads that one. The record decides which conformance cases run.
 * Sizes are bytes, times milliseconds. `Infinity` means "no limit"; 0 means "not available" wherever a limit is asked for.
 */
export interface Capabilities {
  /** `groups`: how many groups a topic can have; 0 where there are none. With 1, that group begins with its topic. */
  readonly delivery: { readonly group: DeliveryLevel; readonly broadcast: DeliveryLevel; readonly groups: number };
  /** Messages outlive a restart of the backend (process or server). */
  readonly durable: boolean;
  /** What a confirmed publish has reached at the least. */
  readonly durabilityOnAck: "none" | "memory" | "page-cache" | "fsync" | "replicated";
  /**
   * Limits of one `Driver.publish` call and how many calls may be under way at once.
   * `order: "call"`: one key's records in one call are stored in array order, and if one is not stored none after it is.
   * `order: "record"`: no such promise; core never puts a key twice into one call.
   */
  readonly publish: {
    readonly maxRecords: number;
    readonly maxBytes: number;
    readonly inFlight: number;
    readonly order: "call" | "record";
  };
  /**
   * `unit`: what one acknowledgement covers. `"prefix"`: everything up to it in its shard (logs; core tracks the contiguous head).
   * `ack`: what a resolved `Subscription.ack` means.
   */
  readonly settle: { readonly unit: "message" | "entry" | "prefix"; readonly ack: "confirmed" | "written" | "recorded" };
  /** Limits of `receive`: records a call, concurrent calls, longest wait. */
  readonly receive: { readonly maxRecords: number; readonly concurrency: number; readonly maxWaitMs: number };
  /**
   * `native`: `Subscription.nack` exists. `maxDelayMs`: its longest delay.
   * `counted`: what survives a crash of the consumer: how often it was delivered, how often it failed as well, or nothing.
   */
  readonly redelivery: { readonly native: boolean; readonly maxDelayMs: number; readonly counted: "none" | "deliveries" | "failures" };
  /** How long a delivery is owned without being extended (0: until the connection or session ends), and whether `extend` exists. */
  readonly lease: { readonly ms: number; readonly extend: boolean };
  /** How much may be held unsettled for in-place retry, and which reader stalls at the bound. */
  readonly hold: { readonly maxMs: number; readonly maxUnacked: number; readonly scope: "shard" | "subscription" | "group" };
  /** Who is kept from handling one key twice at once: all members of the group, one process, nobody. */
  readonly keyOrder: "members" | "process" | "none";
  /** `Driver.coordination` and `SubscribeRequest.exclusive` are there: core makes `keyOrder: "members"` of topics with partitions out of them. */
  readonly coordination: boolean;
  /** Start points that `subscribe` (group, broadcast) and `replay` take. */
  readonly from: Readonly<{ group: readonly StartKind[]; broadcast: readonly StartKind[]; replay: readonly ReplayKind[] }>;
  /** Moving a group: under running members, only without members, or not at all. */
  readonly seek: "live" | "idle" | "none";
  /** A cursor knows its end when it opens. */
  readonly cursorEnd: boolean;
  /** Delayed publish, longest delay. */
  readonly delay: { readonly maxMs: number };
  /** A message's own time to live, longest. */
  readonly ttl: { readonly maxMs: number };
  /** Priority levels, `levels: 0` for none; accepted values are 0 … levels − 1, higher first. */
  readonly priority: { readonly levels: number };
  /** Publishing one `dedupeId` again within this window stores nothing. */
  readonly dedupe: { readonly windowMs: number };
  /** Messages for one group only: a native queue, a second stream read by the same subscription, or none. */
  readonly groupInbox: "native" | "stream" | "none";
  readonly lag: Readonly<{ count: LagKind; unit: "message" | "entry"; inFlight: boolean; oldest: boolean }>;
  /**
   * `perDelivery`: a group's deliveries and receipts carry places; what is read by a replay or a broadcast that can begin at a position carries
   * them always. `dense`: the place after n is n + 1.
   */
  readonly places: { readonly perDelivery: boolean; readonly dense: boolean };
  /** `explicit`: a topic must be created before it is published to. `partitions`: most shards a topic can be created with. */
  readonly topics: { readonly explicit: boolean; readonly partitions: number; readonly describe: boolean };
  /** Retention that `createTopic` can set. */
  readonly retention: { readonly ms: boolean; readonly bytes: boolean; readonly compact: boolean };
  /** `maxBytes`: body, headers and key together, as the driver counts them (`Driver.publish` never sees a larger one). */
  readonly message: Readonly<{ maxBytes: number; maxHeaders: number; key: boolean; headers: boolean; tombstone: boolean }>;
}

/** The boolean view of `Capabilities`: what `requires` and the types of topics speak of. */
export interface Features {
  /** Durable named subscriptions whose members compete. */
  readonly groups: boolean;
  /** Reading again what was published. */
  readonly replay: boolean;
  /** Moving a group. */
  readonly seek: boolean;
  /** Knowing what a group has not acknowledged. */
  readonly lag: boolean;
  /** Delayed publish. */
  readonly delay: boolean;
  /** One key is handled by one member of a group at a time. */
  readonly keyOrder: boolean;
  /** Groups deliver at least once. */
  readonly atLeastOnce: boolean;
}
