import type { Cut, Place, ShardId, WireStart } from "../../driver/wire.ts";

/** The backend's topic that is one partition of `topic`. */
export function partName(topic: string, part: number): string {
  return `${topic}.${part}.shard`;
}

/** Whether a topic is one that core or a driver has made: it has no partitions of its own. */
export function isDerived(topic: string): boolean {
  return topic.endsWith(".shard") || topic.endsWith(".retry") || topic.endsWith(".dead");
}

/** A shard of a partition, as a shard of the whole topic. */
export function outerShard(part: number, shard: ShardId): ShardId {
  return `${part}-${shard}`;
}

/** A place in a partition, as one in the whole topic. */
export function outerPlace(part: number, place: Place): Place {
  return `${part}-${place}` as Place;
}

/** The partition that a shard belongs to, and its name there. */
export function innerShard(shard: ShardId): { readonly part: number; readonly shard: ShardId } {
  const dash = shard.indexOf("-");
  return { part: Number(shard.slice(0, dash)), shard: shard.slice(dash + 1) };
}

/** One cut over all partitions. */
export function outerCut(cuts: readonly Cut[]): Cut {
  return new Map(
    cuts.flatMap((cut, part) => [...cut].map(([shard, place]) => [outerShard(part, shard), outerPlace(part, place)] as const)),
  );
}

/** A start of the whole topic, as one of a partition. */
export function innerStart(start: WireStart, part: number): WireStart {
  if (start.kind !== "position") return start;
  const prefix = `${part}-`;
  const cut = new Map<ShardId, Place>();
  for (const [shard, place] of start.cut) {
    if (shard.startsWith(prefix)) cut.set(shard.slice(prefix.length), place.slice(prefix.length) as Place);
  }
  return { kind: "position", cut };
}
