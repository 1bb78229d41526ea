import { extraCopies, outstanding } from "./bound.ts";
import type { Terms } from "./claims.ts";
import { type Entry, type Group, type Interruption, shardOf } from "./ledger.ts";
import { Tally } from "./tally.ts";
import type { Duplicates } from "./verdict.ts";

interface Copies {
  readonly stored: number;
  readonly redelivered: number;
  readonly retries: number;
}

/** Sorts an entry's further deliveries: each failed one entitles to one retry, the rest are duplicates. */
function copiesOf(entry: Entry): Copies {
  let stored = 0;
  let redelivered = 0;
  let retries = 0;
  let failures = 0;
  const seen: string[] = [];
  for (const [n, delivery] of entry.deliveries.entries()) {
    const position = delivery.position;
    if (n > 0) {
      if (failures > retries) retries++;
      // A place in another shard is a copy made by a requeue, not the same message stored twice.
      else if (position !== undefined && !seen.includes(position) && seen.some((other) => shardOf(other) === shardOf(position))) stored++;
      else redelivered++;
    }
    if (position !== undefined && !seen.includes(position)) seen.push(position);
    if (delivery.failed) failures++;
  }
  return { stored, redelivered, retries };
}

/** `duplicates`, counted per delivery and held against the bound. */
export function judgeDuplicates(group: Group, terms: Terms, interruptions: readonly Interruption[]): Duplicates {
  const found = new Tally();
  const unexplained = new Tally();
  const owed = outstanding(group, terms, interruptions);
  let stored = 0;
  let redelivered = 0;
  let retries = 0;
  for (const entry of group.entries.values()) {
    if (entry.deliveries.length < 2 || entry.message.invokes === 0) continue;
    const copies = copiesOf(entry);
    stored += copies.stored;
    redelivered += copies.redelivered;
    retries += copies.retries;
    const count = copies.stored + copies.redelivered;
    if (count === 0) continue;
    const words = (): string => `${entry.message.id} at ${entry.deliveries.map((delivery) => delivery.process).join(", ")}`;
    found.add(words, count);
    const extra = extraCopies(entry.message, interruptions);
    // A copy that was stored twice can itself be outstanding when an interruption comes.
    const allowed = (owed.get(entry) ?? 0) * (1 + extra.doubt + extra.repeated) + extra.doubt + extra.repeated;
    if (count > allowed) unexplained.add(words, count - allowed);
  }

  let deliveriesOwed = 0;
  for (const times of owed.values()) deliveriesOwed += times;
  let inDoubt = 0;
  for (const message of group.topic.messages.values()) {
    if (message.invokes === 0) continue;
    const extra = extraCopies(message, interruptions);
    inDoubt += extra.doubt + extra.repeated;
  }
  return {
    ...found.finding(),
    stored,
    redelivered,
    retries,
    bound: deliveriesOwed + inDoubt,
    outstanding: deliveriesOwed,
    inDoubt,
    unexplained: unexplained.finding(),
  };
}
