import { type Claims, type GroupClaims, type Terms, termsOf } from "./claims.ts";
import { collect } from "./collect.ts";
import { judgeDuplicates } from "./duplicates.ts";
import type { HistoryEvent } from "./event.ts";
import { type Group, groupName, type Ledger, type Topic } from "./ledger.ts";
import { isDue, judgeGap, judgeLost, judgePhantom, judgeRecovered } from "./loss.ts";
import { judgeOrder } from "./order.ts";
import { judgeOverlap } from "./overlap.ts";
import { judgeRecovery } from "./recovery.ts";
import { judgeStall } from "./stall.ts";
import { sumOf } from "./sum.ts";
import { findingOf, Tally } from "./tally.ts";
import type { Finding, Findings, GroupVerdict, Published, Verdict } from "./verdict.ts";

function say(reasons: string[], where: string, finding: Finding, what: string): void {
  if (finding.count === 0) return;
  const examples = finding.examples.join("; ");
  reasons.push(
    `${where}: ${finding.count} ${what}${examples === "" ? "" : ` (${examples}${finding.count > finding.examples.length ? "; …" : ""})`}`,
  );
}

/** Whether the SDK's count of losses agrees with ours; in-doubt publishes that never came may count as lost or not. */
function lossComplaint({ lost }: Findings, group: Group, terms: Terms): string | undefined {
  if (terms.losses === "any") return undefined;
  let perhaps = 0;
  for (const message of group.topic.messages.values()) {
    if (message.invokes > 0 && !isDue(message, terms) && !group.entries.has(message.id)) perhaps++;
  }
  if (lost.reported > lost.count + perhaps) return `the SDK reported ${lost.reported} lost, but only ${lost.count} are`;
  if (lost.reported < lost.count && !lost.unknown) return `${lost.count} are lost, but the SDK reported ${lost.reported}`;
  return undefined;
}

function reasonsOf(findings: Findings, group: Group, terms: Terms): string[] {
  const where = groupName(group.topic.name, group.name);
  const reasons: string[] = [];
  const { duplicates } = findings;
  if (terms.atLeastOnce) say(reasons, where, findings.lost, "lost");
  else {
    const complaint = lossComplaint(findings, group, terms);
    if (complaint !== undefined) reasons.push(`${where}: ${complaint}`);
  }
  say(reasons, where, findings.phantom, "phantom");
  say(reasons, where, findings.order, "out of order");
  say(reasons, where, findings.earlyAck, "acknowledged before they were done");
  say(reasons, where, findings.gap, "received and never settled");
  say(reasons, where, findings.overlap, "overlapping handler runs of one key");
  say(reasons, where, findingOf(group.unmatched), "settled without a delivery");
  if (terms.duplicates !== "any" && duplicates.count > duplicates.bound) {
    say(reasons, where, duplicates, `duplicates, more than the bound of ${duplicates.bound}`);
  }
  if (terms.duplicates === "each") say(reasons, where, duplicates.unexplained, "duplicates that no interruption explains");
  say(reasons, where, findings.stall, `stalls longer than ${terms.stallMs} ms`);
  if (terms.recoveryMs !== undefined && findings.recoveryMs !== undefined && findings.recoveryMs > terms.recoveryMs) {
    reasons.push(`${where}: work resumed after ${Math.round(findings.recoveryMs)} ms, later than ${terms.recoveryMs} ms`);
  }
  return reasons;
}

function judgeGroup(ledger: Ledger, claims: Claims, claimed: GroupClaims): GroupVerdict {
  const terms = termsOf(claims, claimed);
  const topic: Topic = ledger.topics.get(terms.topic) ?? {
    name: terms.topic,
    messages: new Map(),
    lanes: new Map(),
    places: new Map(),
    diverged: [],
  };
  const group: Group = ledger.groups.get(groupName(terms.topic, terms.group)) ?? {
    topic,
    name: terms.group,
    entries: new Map(),
    early: [],
    unmatched: [],
    quiet: [],
    lastT: ledger.lastT,
    reported: 0,
    reportedUnknown: false,
  };
  const { interruptions } = ledger;
  let deliveries = 0;
  let handled = 0;
  for (const entry of group.entries.values()) {
    deliveries += entry.deliveries.length;
    if (entry.deliveries.some((delivery) => delivery.handled)) handled++;
  }
  const findings: Findings = {
    deliveries,
    received: group.entries.size,
    handled,
    lost: judgeLost(group, terms),
    phantom: judgePhantom(group),
    recovered: judgeRecovered(group),
    duplicates: judgeDuplicates(group, terms, interruptions),
    order: judgeOrder(group, terms, interruptions),
    earlyAck: findingOf(terms.atLeastOnce ? group.early : []),
    gap: judgeGap(group, terms, interruptions),
    overlap: judgeOverlap(group, terms, interruptions),
    stall: judgeStall(group, terms, interruptions, ledger.lastT),
    recoveryMs: judgeRecovery(group, terms, interruptions),
  };
  const reasons = reasonsOf(findings, group, terms);
  return { topic: terms.topic, group: terms.group, valid: reasons.length === 0, reasons, ...findings };
}

function publishedOf(ledger: Ledger): Published {
  const killed = new Set(ledger.interruptions.filter((it) => it.unit === "process").map((it) => it.target));
  const hung = new Tally();
  let messages = 0;
  let acknowledged = 0;
  let failed = 0;
  for (const topic of ledger.topics.values()) {
    for (const message of topic.messages.values()) {
      if (message.invokes === 0) continue;
      messages++;
      if (message.oks > 0) acknowledged++;
      else if (message.fails === message.invokes) failed++;
      const open = message.oks + message.fails + message.infos < message.invokes;
      if (open && !killed.has(message.producer)) hung.add(() => `${message.id} of ${message.producer}`);
    }
  }
  return { messages, acknowledged, failed, inDoubt: messages - acknowledged - failed, hung: hung.finding() };
}

function notesOf(groups: readonly GroupVerdict[], published: Published): string[] {
  const notes: string[] = [];
  for (const verdict of groups) {
    const where = groupName(verdict.topic, verdict.group);
    if (verdict.received === 0) notes.push(`${where}: received nothing`);
    say(notes, where, verdict.duplicates.unexplained, "duplicates that no interruption of their own explains");
    if (verdict.recovered.failed > 0)
      notes.push(`${where}: ${verdict.recovered.failed} received although their publish was said to have failed`);
    if (verdict.order.exempt > 0)
      notes.push(`${where}: order of ${verdict.order.exempt} not judged (moved between members, or published twice)`);
  }
  if (published.messages === 0) notes.push("nothing was published");
  return notes;
}

/**
 * Judges a history against what the run claims. Reads it once; memory grows with messages and deliveries.
 * Let the run drain first: what is still on its way at the last event counts as lost.
 * @param history events merged by time, as `readHistory` yields them
 * @throws HistoryError when the history contradicts itself (not when the system under test misbehaved: that is the verdict)
 */
export function check(history: Iterable<HistoryEvent>, claims: Claims): Verdict {
  const ledger = collect(history);
  const groups = claims.groups.map((claimed) => judgeGroup(ledger, claims, claimed));
  const published = publishedOf(ledger);
  const diverged = findingOf([...ledger.topics.values()].flatMap((topic) => topic.diverged));

  const reasons = groups.flatMap((group) => group.reasons);
  say(reasons, "positions", diverged, "that hold two messages");
  say(reasons, "publish", published.hung, "that never ended");
  const claimed = new Set(claims.groups.map(({ topic, group }) => groupName(topic, group)));
  for (const [name, group] of ledger.groups) {
    if (!claimed.has(name)) reasons.push(`${name}: ${group.entries.size} messages received by a group that the run does not claim`);
  }
  return {
    valid: reasons.length === 0,
    reasons,
    notes: notesOf(groups, published),
    events: ledger.events,
    durationMs: ledger.events === 0 ? 0 : ledger.lastT - ledger.firstT,
    interruptions: ledger.interruptions.length,
    published,
    diverged,
    ...sumOf(groups),
    groups,
  };
}
