import type { Capabilities } from "./driver/capabilities.ts";

/** Who does it: the backend, the portable layer above it, or nobody. */
export type Supply = "native" | "portable" | "none";

/** What an application can rely on, and who provides it. `"none"` means that asking for it is `UNSUPPORTED`. */
export interface Supplied {
  /** Named groups whose members share the messages. */
  readonly groups: Supply;
  readonly broadcast: Supply;
  readonly replay: Supply;
  /** `publishAll`: in one call of the backend, or one by one. */
  readonly publishBatch: Supply;
  /** Handing several deliveries to one handler. */
  readonly deliveryBatch: Supply;
  /** Running the handler again after a failure, in place. */
  readonly retry: Supply;
  /** A delivery given back for later: by the backend, or held by the portable layer within `hold`. */
  readonly delayedNack: Supply;
  /** Retry behind everything else, in the group's inbox. */
  readonly requeue: Supply;
  /** Keeping what failed for good. */
  readonly deadLetter: Supply;
  /** Listing, counting and purging dead letters. */
  readonly deadLetterList: Supply;
  /** Sending dead letters back to the group that failed. */
  readonly redrive: Supply;
  /** One key at a time: by the backend (native), or by the portable layer, within one process or (topics with `partitions`) among all members. */
  readonly keyOrder: Supply;
  /** More time for a delivery: the backend's lease and the handler's limit (native), or the limit alone where there is no lease. */
  readonly extend: Supply;
}

/**
 * What users see as `broker.capabilities`: the backend's own record, as narrow as the connected server is, and in `supply` who
 * provides each thing an application may ask for. Sizes are bytes, times milliseconds.
 */
export interface EffectiveCapabilities extends Capabilities {
  readonly supply: Supplied;
}

/** Most partitions that core makes of one topic: each is a topic of the backend's. */
export const MOST_PARTITIONS = 256;

/** A backend's record with the partitions that core makes of its registers; the record itself where it has none. */
export function withPartitions(native: Capabilities): Capabilities {
  if (!native.coordination) return native;
  return { ...native, keyOrder: "members", topics: { ...native.topics, partitions: MOST_PARTITIONS } };
}
