import type { Cut, Place, ShardId } from "brokerkit/driver";

/** The consumer group of a group, unless `naming` says otherwise. */
export function groupIdOf(topic: string, group: string): string {
  return `${topic}.${group}`;
}

/** The topic that holds messages for one group only, read by its members beside the topic itself. */
export function inboxOf(topic: string, group: string): string {
  return `${topic}.${group}.retry`;
}

/** Partition 3 is the shard "3"; partition 3 of the inbox is "retry-3". */
export function shardId(partition: number, inbox: boolean): ShardId {
  return inbox ? `retry-${partition}` : String(partition);
}

/** Offset 17 of partition 3 ⇄ `3:17`. */
export function placeOf(shard: ShardId, offset: bigint): Place {
  return `${shard}:${offset}` as Place;
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
  return place === undefined ? 0n : BigInt(place.slice(place.indexOf(":") + 1)) + 1n;
}
