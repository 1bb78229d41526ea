// The end of the tour: what the run claimed, what the checker says, and how people see it.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Claims, check, type GroupVerdict, readHistory, type Verdict } from "@brokerkit/conformance/checker";
import { REPLAY } from "./plan.ts";
import { number, type Screen } from "./screen.ts";
import type { Shown } from "./stage.ts";

const CLAIMS = "claims.json";

export function keepClaims(dir: string, claims: Claims): void {
  writeFileSync(join(dir, CLAIMS), `${JSON.stringify(claims, undefined, 2)}\n`);
}

/** A verdict with the claims that it was judged by. */
export interface Judgement {
  readonly verdict: Verdict;
  readonly claims: Claims;
}

/**
 * Judges the history in a folder by the claims beside it.
 * @throws HistoryError, or the file system's error, when there is nothing that could be judged
 */
export function judge(dir: string): Judgement {
  const claims = JSON.parse(readFileSync(join(dir, CLAIMS), "utf8")) as Claims;
  return { claims, verdict: check(readHistory(dir), claims) };
}

/** 0 valid, 1 not. */
export function exitCodeOf(verdict: Verdict): 0 | 1 {
  return verdict.valid ? 0 : 1;
}

const SCOPES = { members: "among members", process: "within a process", none: "not claimed" } as const;

/** The last table: what was shown, or why it could not be, and below it the checker's verdict, a column for each group or reader. */
export function showVerdict(screen: Screen, { verdict, claims }: Judgement, shown: readonly Shown[]): void {
  const { groups, published } = verdict;
  const doubt = published.failed + published.inDoubt;
  const all = number(published.acknowledged) + (doubt === 0 ? "" : ` + ${number(doubt)} in doubt`);
  const row = (name: string, cell: (group: GroupVerdict) => string): string[] => [name, ...groups.map(cell)];
  const orderOf = ({ group }: GroupVerdict): string => (group === REPLAY ? "one reader" : SCOPES[claims.order]);
  screen.table(
    shown.map(({ step, text, shown: could }) => [step, could ? text : screen.paint("yellow", text)]),
    { right: false },
  );
  if (shown.length > 0) screen.line();
  screen.table(
    [
      row(screen.paint("bold", "checker"), ({ group }) => screen.paint("bold", group)),
      row("published", ({ group }) => (group === REPLAY ? "" : all)),
      row("handled", ({ group, handled, received }) => (group === REPLAY ? `${number(received)} read` : number(handled))),
      row("lost", ({ lost }) => number(lost.count)),
      ...(!claims.atLeastOnce && groups.some(({ lost }) => lost.count + lost.reported > 0)
        ? [row("  counted by the SDK", ({ lost }) => `${number(lost.reported)}${lost.unknown ? " or more" : ""}`)]
        : []),
      row("phantom", ({ phantom }) => number(phantom.count)),
      row("duplicates (bound)", ({ duplicates }) => `${number(duplicates.count)} (${number(duplicates.bound)})`),
      row("order per key", orderOf),
      row("  out of order (judged)", ({ order }) => (order.judged === 0 ? "" : `${number(order.count)} (${number(order.judged)})`)),
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
  const id = /\bproducer-\d+-\d+\b/.exec(verdict.reasons.join(" "))?.[0] ?? "producer-1-0";
  screen.line();
  screen.line(`The history is kept in ${dir}: a file for each process, a line for each thing it did, with its time t.`);
  screen.line(`One order's way:  grep '"${id}"' ${join(dir, "*.jsonl")}`);
  screen.line(`Judge it again:   npm start -- --judge ${dir}`);
}
