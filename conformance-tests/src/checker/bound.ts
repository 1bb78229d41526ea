import type { Terms } from "./claims.ts";
import { comparePlaces, type Delivery, type Entry, type Group, type Interruption, type Message, shardOf } from "./ledger.ts";
import { concerns } from "./order.ts";

/** When an entry's first durable acknowledgement was there; infinite if never. */
function durableT(entry: Entry, terms: Terms): number {
  let first = Number.POSITIVE_INFINITY;
  for (const delivery of entry.deliveries) {
    let t = delivery.ackT + terms.ackSettleMs;
    if (terms.acks === "none") t = delivery.t;
    else if (terms.acks === "implied" && delivery.handled) t = delivery.doneT + terms.ackSettleMs;
    if (t < first) first = t;
  }
  return first;
}

/** One entry as the bound sees it. */
interface Owed {
  readonly entry: Entry;
  readonly durableT: number;
  readonly shard: string;
  readonly position: string | undefined;
}

/** Entries by shard, in the order of their places. */
function byShard(group: Group, terms: Terms): readonly (readonly Owed[])[] {
  const shards = new Map<string, Owed[]>();
  for (const entry of group.entries.values()) {
    const position = entry.deliveries[0]?.position;
    const owed: Owed = { entry, durableT: durableT(entry, terms), shard: shardOf(position), position };
    const list = shards.get(owed.shard);
    if (list === undefined) shards.set(owed.shard, [owed]);
    else list.push(owed);
  }
  if (terms.settle === "prefix") {
    for (const list of shards.values()) {
      // Without positions the order of delivery has to do; the sort is stable.
      list.sort((a, b) => (a.position === undefined || b.position === undefined ? 0 : comparePlaces(a.position, b.position)));
    }
  }
  return [...shards.values()];
}

/** Whether the interruption hit a delivery of this entry: one in its hands when it began, or received until it was over. */
function hits(it: Interruption, deliveries: readonly Delivery[]): boolean {
  let held: Delivery | undefined;
  for (const delivery of deliveries) {
    if (delivery.t > it.to) break;
    if (delivery.t <= it.from) held = delivery;
    else if (it.unit === "broker" || delivery.process === it.target) return true;
  }
  return held !== undefined && (it.unit === "broker" || held.process === it.target);
}

/**
 * The entries whose redelivery each interruption explains: received, and not durably acknowledged at that instant.
 * Where acknowledging is by prefix, one is durable only if everything before it on its shard is acknowledged, also what was received later.
 * @returns how often each entry was outstanding
 */
export function outstanding(group: Group, terms: Terms, interruptions: readonly Interruption[]): ReadonlyMap<Entry, number> {
  const times = new Map<Entry, number>();
  const relevant = interruptions.filter((it) => concerns(it, group));
  if (relevant.length === 0) return times;
  for (const list of byShard(group, terms)) {
    for (const it of relevant) {
      if (it.shard !== undefined && it.shard !== list[0]?.shard) continue;
      let afterHead = false;
      for (const owed of list) {
        const open = owed.durableT > it.from;
        if (open) afterHead = true;
        if (!open && !(terms.settle === "prefix" && afterHead)) continue;
        if (hits(it, owed.entry.deliveries)) times.set(owed.entry, (times.get(owed.entry) ?? 0) + 1);
      }
    }
  }
  return times;
}

/**
 * How many extra copies of one message its publishing explains: attempts in doubt, attempts under way while the broker was interrupted
 * (the SDK may have sent again), and attempts that the application itself repeated.
 */
export function extraCopies(
  message: Message,
  interruptions: readonly Interruption[],
): { readonly doubt: number; readonly repeated: number } {
  const inDoubt = message.invokes - message.oks - message.fails;
  let during = 0;
  const end = message.oks + message.fails + message.infos < message.invokes ? Number.POSITIVE_INFINITY : message.endT;
  for (const it of interruptions) if (it.unit === "broker" && message.invokeT <= it.to && end >= it.from) during++;
  return { doubt: Math.max(inDoubt, during), repeated: Math.max(0, message.oks - 1) };
}
