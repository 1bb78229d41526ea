import { sumFindings } from "./tally.ts";
import type { Findings } from "./verdict.ts";

/** The findings of all groups as one. */
export function sumOf(groups: readonly Findings[]): Findings {
  const sum = (pick: (group: Findings) => number): number => groups.reduce((total, group) => total + pick(group), 0);
  const recoveries = groups.flatMap(({ recoveryMs }) => (recoveryMs === undefined ? [] : [recoveryMs]));
  return {
    deliveries: sum((group) => group.deliveries),
    received: sum((group) => group.received),
    handled: sum((group) => group.handled),
    lost: {
      ...sumFindings(groups.map((group) => group.lost)),
      prefix: sum((group) => group.lost.prefix),
      middle: sum((group) => group.lost.middle),
      postfix: sum((group) => group.lost.postfix),
      reported: sum((group) => group.lost.reported),
      unknown: groups.some((group) => group.lost.unknown),
    },
    phantom: {
      ...sumFindings(groups.map((group) => group.phantom)),
      unknown: sum((group) => group.phantom.unknown),
      altered: sum((group) => group.phantom.altered),
    },
    recovered: {
      ...sumFindings(groups.map((group) => group.recovered)),
      inDoubt: sum((group) => group.recovered.inDoubt),
      failed: sum((group) => group.recovered.failed),
    },
    duplicates: {
      ...sumFindings(groups.map((group) => group.duplicates)),
      stored: sum((group) => group.duplicates.stored),
      redelivered: sum((group) => group.duplicates.redelivered),
      retries: sum((group) => group.duplicates.retries),
      bound: sum((group) => group.duplicates.bound),
      outstanding: sum((group) => group.duplicates.outstanding),
      inDoubt: sum((group) => group.duplicates.inDoubt),
      unexplained: sumFindings(groups.map((group) => group.duplicates.unexplained)),
    },
    order: {
      ...sumFindings(groups.map((group) => group.order)),
      judged: sum((group) => group.order.judged),
      exempt: sum((group) => group.order.exempt),
    },
    earlyAck: sumFindings(groups.map((group) => group.earlyAck)),
    gap: sumFindings(groups.map((group) => group.gap)),
    overlap: sumFindings(groups.map((group) => group.overlap)),
    stall: { ...sumFindings(groups.map((group) => group.stall)), longestMs: Math.max(0, ...groups.map((group) => group.stall.longestMs)) },
    recoveryMs: recoveries.length === 0 ? undefined : Math.max(...recoveries),
  };
}
