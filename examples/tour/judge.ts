// The end of the tour: what the run claimed, what the checker says, and how people see it.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Claims, check, type Findings, readHistory, type Verdict } from "@brokerkit/conformance/checker";
import { number, type Screen } from "./screen.ts";

const CLAIMS = "claims.json";

export function keepClaims(dir: string, claims: Claims): void {
  writeFileSync(join(dir, CLAIMS), `${JSON.stringify(claims, undefined, 2)}\n`);
}

/**
 * Judges the history in a folder by the claims beside it.
 * @throws HistoryError, or the file system's error, when there is nothing that could be judged
 */
export function judge(dir: string): Verdict {
  const claims = JSON.parse(readFileSync(join(dir, CLAIMS), "utf8")) as Claims;
  return check(readHistory(dir), claims);
}

/** 0 valid, 1 not. */
export function exitCodeOf(verdict: Verdict): 0 | 1 {
  return verdict.valid ? 0 : 1;
}

/** The last table: a column for each group or reader of the run. */
export function showVerdict(screen: Screen, verdict: Verdict): void {
  const { groups, published } = verdict;
  const doubt = published.failed + published.inDoubt;
  const row = (name: string, cell: (findings: Findings, order: number) => string): string[] => [name, ...groups.map((group, n) => cell(group, n))];
  screen.line(screen.paint("bold", "The checker's verdict"));
  screen.table(
    [
      ["", ...groups.map(({ group }) => screen.paint("bold", group))],
      row("published", () => number(published.acknowledged) + (doubt === 0 ? "" : ` + ${number(doubt)} in doubt`)),
      row("handled", ({ handled }) => number(handled)),
      row("lost", ({ lost }) => number(lost.count)),
      ...(groups.some(({ lost }) => lost.count + lost.reported > 0) ? [row("  lost, by the SDK's own count", ({ lost }) => number(lost.reported))] : []),
      row("phantom", ({ phantom }) => number(phantom.count)),
      row("duplicates (at most)", ({ duplicates }) => `${number(duplicates.count)} (${number(duplicates.bound)})`),
      row("out of order per key (of)", ({ order }) => (order.judged === 0 ? "not claimed" : `${number(order.count)} (${number(order.judged)})`)),
    ],
    { right: true },
  );
  screen.line();
  const seconds = (verdict.durationMs / 1_000).toFixed(1);
  const what = `${number(verdict.events)} events in ${seconds} s`;
  if (verdict.valid) {
    screen.line(`${screen.paint("green", screen.paint("bold", "VALID"))}  ${what}`);
    return;
  }
  screen.line(`${screen.paint("red", screen.paint("bold", "NOT VALID"))}  ${what}`);
  for (const reason of verdict.reasons) screen.line(`  ${screen.paint("red", "✗")} ${reason}`);
}

/** Where to look when it is not valid. */
export function showWhereToLook(screen: Screen, dir: string, verdict: Verdict): void {
  const id = /\b((?:producer|o)-\d+-\d+)\b/.exec(verdict.reasons.join(" "))?.[1] ?? "producer-1-0";
  screen.line();
  screen.line(`The history is kept in ${dir}: one file a process, in the order of what it did.`);
  screen.line(`One order's way:  grep -h '"${id}"' ${join(dir, "*.jsonl")} | sort -t, -k2`);
  screen.line("Judge it again:   npm start -- --judge <that folder>");
}
