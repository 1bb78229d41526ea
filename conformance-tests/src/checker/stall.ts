import type { Terms } from "./claims.ts";
import type { Entry, Group, Interruption } from "./ledger.ts";
import { isDue } from "./loss.ts";
import { concerns } from "./order.ts";
import { Tally } from "./tally.ts";
import type { Stall } from "./verdict.ts";

/** Work was outstanding from `from` to `to`. */
interface Span {
  readonly from: number;
  readonly to: number;
}

/** From confirmed to received, and from received to done. What was never received is a loss, not a wait. */
function spans(entries: Iterable<Entry>, terms: Terms, deaths: ReadonlyMap<string, number>, end: number): Span[] {
  const all: Span[] = [];
  for (const { message, deliveries } of entries) {
    const first = deliveries[0];
    if (first !== undefined && isDue(message, terms)) all.push({ from: message.okT, to: first.t });
    for (const { t, doneT, process } of deliveries) {
      // Where acknowledgements mean nothing, `done` need not be written either.
      if (Number.isNaN(doneT) && terms.acks === "none") continue;
      all.push({ from: t, to: Number.isNaN(doneT) ? Math.max(t, deaths.get(process) ?? end) : doneT });
    }
  }
  return all;
}

/** The parts of a span outside the windows in which the broker was away. */
function outside(span: Span, windows: readonly Interruption[]): Span[] {
  let parts = [span];
  for (const { from, to } of windows) {
    parts = parts.flatMap((part) => {
      if (to <= part.from || from >= part.to) return [part];
      return [
        { from: part.from, to: from },
        { from: to, to: part.to },
      ].filter((rest) => rest.to > rest.from);
    });
  }
  return parts;
}

/** When each process died, for those that did. */
export function deathsOf(interruptions: readonly Interruption[]): ReadonlyMap<string, number> {
  const deaths = new Map<string, number>();
  for (const it of interruptions) if (it.unit === "process" && it.target !== undefined && !it.ended) deaths.set(it.target, it.from);
  return deaths;
}

/** `stall`: how long the group stood still although there was work and a broker. */
export function judgeStall(group: Group, terms: Terms, interruptions: readonly Interruption[], end: number): Stall {
  const found = new Tally();
  const all = spans(group.entries.values(), terms, deathsOf(interruptions), end).sort((a, b) => a.to - b.to);
  // earliest[n]: the earliest begin among the spans that end at all[n].to or later.
  const earliest = new Float64Array(all.length);
  let least = Number.POSITIVE_INFINITY;
  for (let n = all.length - 1; n >= 0; n--) {
    least = Math.min(least, all[n]?.from ?? least);
    earliest[n] = least;
  }

  const windows = interruptions.filter((it) => it.unit === "broker" && it.ended && concerns(it, group));
  let longestMs = 0;
  let next = 0;
  for (const quiet of [...group.quiet, { from: group.lastT, to: end }]) {
    while (next < all.length && (all[next]?.to ?? end) < quiet.to) next++;
    // During a quiet time nothing is received or done, so outstanding work only grows: its earliest piece tells how long it waited.
    const begin = earliest[next];
    if (begin === undefined || begin >= quiet.to) continue;
    for (const part of outside({ from: Math.max(quiet.from, begin), to: quiet.to }, windows)) {
      const ms = part.to - part.from;
      longestMs = Math.max(longestMs, ms);
      if (terms.stallMs !== undefined && ms > terms.stallMs) {
        found.add(() => `${Math.round(ms)} ms from ${new Date(part.from).toISOString()}`);
      }
    }
  }
  return { ...found.finding(), longestMs };
}
