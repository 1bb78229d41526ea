import type { Cut, Place, ShardId } from "brokerkit/driver";
import type { MessageId } from "./transport.ts";

/** The shard of a group's inbox, which is read beside the topic. Partition 3 of the topic is the shard "3". */
export const RETRY: ShardId = "retry";

/** `persistent://tenant/namespace/topic`. The service refuses names with `-partition-`, which its partitions have; topics hold no `=`. */
export function fullName(namespace: string, topic: string): string {
  return `persistent://${namespace}/${topic.replace(/-partition(?=-)/g, "-partition=")}`;
}

/** The topic that holds messages for one group only, read by its members beside the topic itself. */
export function inboxOf(topic: string, group: string): string {
  return `${topic}.${group}.retry`;
}

/** A spot behind which to read: the message with this index in its entry, or all of that entry where `index` is infinite. */
export interface Spot {
  readonly ledger: number;
  readonly entry: number;
  readonly index: number;
}

/** Message 2 of entry 17 of ledger 5 in partition 0 ⇄ `0:5.17.2`; an entry of one message has it at 0. */
export function placeOf(shard: ShardId, { ledger, entry, index }: Spot): Place {
  // Behind a whole entry is before everything of the next one, whether that is there or not.
  return (index === Number.POSITIVE_INFINITY ? `${shard}:${ledger}.${entry + 1}` : `${shard}:${ledger}.${entry}.${index}`) as Place;
}

export function spotOf(place: Place): Spot {
  const [ledger = 0, entry = 0, index] = place
    .slice(place.indexOf(":") + 1)
    .split(".")
    .map(Number);
  return index === undefined ? { ledger, entry: entry - 1, index: Number.POSITIVE_INFINITY } : { ledger, entry, index };
}

export function spotOfId({ ledger, entry, batchIndex }: MessageId): Spot {
  return { ledger, entry, index: Math.max(0, batchIndex) };
}

export function idOfSpot(partition: number, { ledger, entry, index }: Spot): MessageId {
  return { ledger, entry, partition, batchIndex: index === Number.POSITIVE_INFINITY ? -1 : index };
}

/** Negative where `a` is before `b`. */
export function compareSpots(a: Spot, b: Spot): number {
  return a.ledger - b.ledger || a.entry - b.entry || (a.index === b.index ? 0 : a.index - b.index);
}

export function cutOf(spots: ReadonlyMap<number, Spot>): Cut {
  return new Map([...spots].map(([partition, spot]) => [String(partition), placeOf(String(partition), spot)]));
}

/** By partition. Places of other shards than the topic's own say nothing here. */
export function spotsOf(cut: Cut): Map<number, Spot> {
  const spots = new Map<number, Spot>();
  for (const [shard, place] of cut) if (/^\d+$/.test(shard)) spots.set(Number(shard), spotOf(place));
  return spots;
}
