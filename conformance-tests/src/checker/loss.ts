import type { Terms } from "./claims.ts";
import type { Entry, Group, Interruption, Message } from "./ledger.ts";
import { Tally } from "./tally.ts";
import type { Finding, Lost, Phantom, Recovered } from "./verdict.ts";

/** Whether the group owes this message: confirmed, begun after the group's start and confirmed before its end. */
export function isDue(message: Message, terms: Terms): boolean {
  return message.oks > 0 && message.invokeT >= terms.since && message.okT <= terms.until;
}

/** `lost`, with prefix, middle and postfix by the order in which publishing began. */
export function judgeLost(group: Group, terms: Terms): Lost {
  const missing = new Tally();
  let prefix = 0;
  let middle = 0;
  let sinceLast = 0;
  let any = false;
  // The map keeps the order of the first event of each id, which for a published message is its invoke.
  for (const message of group.topic.messages.values()) {
    if (message.invokes === 0) continue;
    if (group.entries.has(message.id)) {
      if (any) middle += sinceLast;
      else prefix += sinceLast;
      any = true;
      sinceLast = 0;
    } else if (isDue(message, terms)) {
      sinceLast++;
      missing.add(() => `${message.id} (${message.producer}, seq ${message.seq})`);
    }
  }
  // A group that received nothing at all missed its beginning.
  if (!any) prefix = sinceLast;
  return {
    ...missing.finding(),
    prefix,
    middle,
    postfix: any ? sinceLast : 0,
    reported: group.reported,
    unknown: group.reportedUnknown,
  };
}

/** `phantom`: nobody published it, or not like this. */
export function judgePhantom(group: Group): Phantom {
  const found = new Tally();
  let unknown = 0;
  let altered = 0;
  for (const { message, deliveries } of group.entries.values()) {
    for (const delivery of deliveries) {
      if (message.invokes === 0) {
        unknown++;
        found.add(() => `${message.id} at ${delivery.process}: never published`);
      } else if (delivery.hash !== undefined && (delivery.hash !== message.hash || delivery.key !== message.key)) {
        altered++;
        found.add(() => `${message.id} at ${delivery.process}: other ${delivery.hash === message.hash ? "key" : "content"}`);
      }
    }
  }
  return { ...found.finding(), unknown, altered };
}

/** `recovered`: received without ever having been confirmed. */
export function judgeRecovered(group: Group): Recovered {
  const found = new Tally();
  let inDoubt = 0;
  let failed = 0;
  for (const { message } of group.entries.values()) {
    if (message.invokes === 0 || message.oks > 0) continue;
    if (message.fails === message.invokes) failed++;
    else inDoubt++;
    found.add(() => message.id);
  }
  return { ...found.finding(), inDoubt, failed };
}

function isSettled({ deliveries }: Entry, terms: Terms): boolean {
  return deliveries.some((delivery) => delivery.acked || (terms.acks === "implied" && delivery.handled));
}

/** Never confirmed, and the server was interrupted behind its last delivery: nobody has promised to keep it. */
function mayBeGone({ message, deliveries }: Entry, interruptions: readonly Interruption[]): boolean {
  const last = deliveries.at(-1)?.t ?? Number.NEGATIVE_INFINITY;
  return message.oks === 0 && interruptions.some((it) => it.unit === "broker" && it.to >= last);
}

/** `gap`: received, and at the end of a drained history still not settled; the group has gone past it. */
export function judgeGap(group: Group, terms: Terms, interruptions: readonly Interruption[]): Finding {
  const found = new Tally();
  if (!terms.atLeastOnce || terms.acks === "none") return found.finding();
  for (const entry of group.entries.values()) {
    if (entry.message.invokes === 0 || isSettled(entry, terms) || mayBeGone(entry, interruptions)) continue;
    found.add(() => {
      const last = entry.deliveries.at(-1);
      return `${entry.message.id}, last at ${last?.process}${last?.position === undefined ? "" : ` (${last.position})`}`;
    });
  }
  return found.finding();
}
