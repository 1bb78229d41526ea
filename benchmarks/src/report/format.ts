import type { Summary } from "./statistics.ts";

/** Three figures that matter, without noise: 1,234,567 is 1.23 M. */
export function short(value: number): string {
  const [amount, unit] = Math.abs(value) >= 1e6 ? [value / 1e6, " M"] : Math.abs(value) >= 1e4 ? [value / 1e3, " k"] : [value, ""];
  const digits = Math.abs(amount) >= 100 ? 0 : Math.abs(amount) >= 10 ? 1 : 2;
  return `${amount.toFixed(digits)}${unit}`;
}

/** `median (min–max)`, or a dash where nothing was measured. */
export function spread(summary: Summary | undefined): string {
  if (summary === undefined) return "–";
  const { median, min, max } = summary;
  return min === max ? short(median) : `${short(median)} (${short(min)}–${short(max)})`;
}

export function medianOf(summary: Summary | undefined): string {
  return summary === undefined ? "–" : short(summary.median);
}

export function percent(summary: Summary | undefined): string {
  return summary === undefined ? "–" : summary.median.toFixed(0);
}

/** Rows as a GitHub table; the first row is the head. */
export function markdown(rows: readonly (readonly string[])[]): string {
  const [head = [], ...body] = rows;
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map((_, n) => (n === 0 ? "---" : "---:"))), ...body.map(line)].join("\n");
}

/** Rows for a terminal: the first column to the left, the others to the right. */
export function aligned(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, n) => Math.max(...rows.map((row) => (row[n] ?? "").length)));
  return rows
    .map((row) =>
      row
        .map((cell, n) => (n === 0 ? cell.padEnd(widths[n] ?? 0) : cell.padStart(widths[n] ?? 0)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
