import type { Terms } from "./claims.ts";
import type { Group, Interruption } from "./ledger.ts";
import { isDue } from "./loss.ts";
import { concerns } from "./order.ts";

/** The first of sorted times that is later than `t`. */
function after(times: Float64Array, t: number): number | undefined {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((times[middle] ?? 0) > t) high = middle;
    else low = middle + 1;
  }
  return times[low];
}

/**
 * `recoveryMs`: the longest time from the end of an interruption (its begin, where nothing came back) to the next delivery. An interruption
 * after which nothing was due any more does not count.
 */
export function judgeRecovery(group: Group, terms: Terms, interruptions: readonly Interruption[]): number | undefined {
  const relevant = interruptions.filter((it) => it.unit !== "shard" && concerns(it, group));
  if (relevant.length === 0) return undefined;
  const receives: number[] = [];
  for (const { deliveries } of group.entries.values()) for (const { t } of deliveries) receives.push(t);
  const times = Float64Array.from(receives).sort();
  const confirmed: number[] = [];
  for (const { message } of group.entries.values()) if (isDue(message, terms)) confirmed.push(message.okT);
  const oks = Float64Array.from(confirmed).sort();

  let longest: number | undefined;
  for (const it of relevant) {
    const back = it.ended ? it.to : it.from;
    const next = after(times, back);
    if (next === undefined) continue;
    // With nothing left to deliver, the wait for the next publish is no recovery.
    const confirmedNext = after(oks, back);
    const waiting = [...group.entries.values()].some(
      ({ message, deliveries }) => message.okT <= back && (deliveries.at(-1)?.t ?? 0) > back,
    );
    const from = waiting || confirmedNext === undefined ? back : confirmedNext;
    longest = Math.max(longest ?? 0, next - from, 0);
  }
  return longest;
}
