import type { Findings, Verdict } from "./verdict.ts";

type Row = readonly string[];

function table(rows: readonly Row[]): string {
  const widths: number[] = [];
  for (const row of rows) for (const [n, cell] of row.entries()) widths[n] = Math.max(widths[n] ?? 0, cell.length);
  return rows
    .map((row) =>
      row
        .map((cell, n) => (n === 0 ? cell.padEnd(widths[n] ?? 0) : cell.padStart(widths[n] ?? 0)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

const ms = (value: number | undefined): string => (value === undefined ? "–" : `${Math.round(value)} ms`);

const rows: readonly (readonly [string, (findings: Findings) => string])[] = [
  ["deliveries", (f) => String(f.deliveries)],
  ["received", (f) => String(f.received)],
  ["handled", (f) => String(f.handled)],
  [
    "lost",
    (f) => (f.lost.count === 0 ? "0" : `${f.lost.count} (${f.lost.prefix} prefix, ${f.lost.middle} middle, ${f.lost.postfix} postfix)`),
  ],
  ["lost, as reported", (f) => `${f.lost.reported}${f.lost.unknown ? " and unknown" : ""}`],
  ["phantom", (f) => String(f.phantom.count)],
  ["recovered", (f) => String(f.recovered.count)],
  ["duplicates / bound", (f) => `${f.duplicates.count} / ${f.duplicates.bound}`],
  ["  stored twice", (f) => String(f.duplicates.stored)],
  ["retries", (f) => String(f.duplicates.retries)],
  ["out of order / judged", (f) => `${f.order.count} / ${f.order.judged}`],
  ["early acks", (f) => String(f.earlyAck.count)],
  ["gaps", (f) => String(f.gap.count)],
  ["overlaps", (f) => String(f.overlap.count)],
  ["longest stall", (f) => ms(f.stall.longestMs)],
  ["recovery", (f) => ms(f.recoveryMs)],
];

/** A verdict as a table for people, with its reasons below. Lines end in "\n"; no colours. */
export function formatVerdict(verdict: Verdict): string {
  const { published } = verdict;
  const columns = verdict.groups.length > 1 ? [...verdict.groups, verdict] : verdict.groups;
  const heads = columns.map((column) => ("group" in column ? `${column.topic}/${column.group}` : "all"));
  const body = rows.map(([name, cell]): Row => [name, ...columns.map(cell)]);
  const lines = [
    `published ${published.messages}: ${published.acknowledged} acknowledged, ${published.failed} failed, ${published.inDoubt} in doubt; ` +
      `${verdict.interruptions} interruptions, ${verdict.events} events in ${ms(verdict.durationMs)}`,
    table([["", ...heads], ...body]),
    `diverged positions: ${verdict.diverged.count}`,
    ...verdict.notes.map((note) => `note: ${note}`),
    verdict.valid ? "valid" : "NOT VALID",
    ...verdict.reasons.map((reason) => `  ${reason}`),
  ];
  return `${lines.join("\n")}\n`;
}
