import type { Cut, Place, ShardId, WireStart } from "brokerkit/driver";

export type Compression = "none" | "gzip" | "snappy" | "lz4" | "zstd";

/** Kafka's own limits: https://github.com/apache/kafka/blob/trunk/clients/src/main/java/org/apache/kafka/common/internals/Topic.java */
export const MAX_NAME = 249;

/** Headers that carry what Kafka's records have no field for. */
export const ID = "brokerkit-id";
/** Failures so far, decimal: inbox records only. */
export const FAILURES = "brokerkit-failures";
/** Not to be delivered before this time, epoch ms, decimal: inbox records only. */
export const DUE = "brokerkit-due";
/**
 * When the message was first published, epoch ms, decimal. Set where that is long ago: the record's own time is the present then, or
 * retention would take a dead letter away as soon as it is written.
 */
export const PUBLISHED = "brokerkit-published";
/** Age from which `PUBLISHED` is used. */
export const OLD_MS = 60_000;

/** The topic that holds messages for one group only, read by its members beside the topic itself. */
export function inboxOf(topic: string, group: string): string {
  return `${topic}.${group}.retry`;
}

const RETRY = "retry-";

/** Partition 3 is the shard "3"; partition 3 of the inbox is "retry-3". */
export function shardId(partition: number, inbox: boolean): ShardId {
  return inbox ? `${RETRY}${partition}` : String(partition);
}

export function partitionOf(shard: ShardId): { readonly partition: number; readonly inbox: boolean } {
  const inbox = shard.startsWith(RETRY);
  return { partition: Number(inbox ? shard.slice(RETRY.length) : shard), inbox };
}

/** Offset 17 of partition 3 ⇄ `3:17`. */
export function placeOf(shard: ShardId, offset: bigint): Place {
  return `${shard}:${offset}` as Place;
}

export function offsetOf(place: Place): bigint {
  return BigInt(place.slice(place.indexOf(":") + 1));
}

/** What lies before `next` in each partition, as a cut: cuts name the last one that is before them. */
export function cutBefore(next: ReadonlyMap<number, bigint>): Cut {
  const cut = new Map<ShardId, Place>();
  for (const [partition, offset] of next) {
    if (offset > 0n) cut.set(shardId(partition, false), placeOf(shardId(partition, false), offset - 1n));
  }
  return cut;
}

/** The offset that comes first behind a cut. A partition that the cut does not name has nothing before it. */
export function nextOf(cut: Cut, partition: number): bigint {
  const place = cut.get(shardId(partition, false));
  return place === undefined ? 0n : offsetOf(place) + 1n;
}

/** Timestamps that ask for an offset: https://kafka.apache.org/protocol#The_Messages_ListOffsets */
export const LATEST = -1n;
export const EARLIEST = -2n;

/** What to ask ListOffsets for; a position needs no asking. */
export function timestampOf(start: Exclude<WireStart, { kind: "position" }>): bigint {
  if (start.kind === "latest") return LATEST;
  return start.kind === "earliest" ? EARLIEST : BigInt(Math.max(0, Math.ceil(start.ms)));
}
