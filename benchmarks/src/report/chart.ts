import { short } from "./format.ts";
import type { Run } from "./result.ts";
import { type Phase, type Summary, series, summaryOf } from "./statistics.ts";

const WIDTH = 760;
const LABEL = 250;
const BAR = 14;
const GAP = 4;
const GROUP_GAP = 10;
const VALUE = 70;
const TOP = 44;

const PHASES: readonly { readonly phase: Phase; readonly words: string; readonly color: string }[] = [
  { phase: "publish", words: "publish", color: "#2f6fb2" },
  { phase: "consume", words: "consume with ack", color: "#4f9d69" },
  { phase: "live", words: "end to end", color: "#b8860b" },
];

const xml = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const n = (value: number): string => value.toFixed(1);

interface Bar {
  readonly y: number;
  readonly color: string;
  readonly summary: Summary;
}

/** Messages a second of one run as bars: the median, and a line from the slowest round to the fastest. */
export function chartOf(run: Run): string {
  const bars: Bar[] = [];
  const labels: { readonly y: number; readonly text: string }[] = [];
  let y = TOP;
  const rows = [
    ...run.columns.map((column) => ({
      title: column.title,
      figures: PHASES.map(({ phase, color }) => ({ color, summary: summaryOf(series(column, phase, "perSecond")) })),
    })),
    ...run.natives.map(({ title, perSecond }) => ({ title, figures: [{ color: PHASES[0]?.color ?? "", summary: summaryOf(perSecond) }] })),
  ];
  for (const { title, figures } of rows) {
    const drawn = figures.filter((figure): figure is { color: string; summary: Summary } => figure.summary !== undefined);
    labels.push({ y: y + (drawn.length * (BAR + GAP)) / 2, text: title });
    for (const { color, summary } of drawn) {
      bars.push({ y, color, summary });
      y += BAR + GAP;
    }
    y += GROUP_GAP;
  }
  const most = Math.max(1, ...bars.map(({ summary }) => summary.max));
  const x = (value: number): number => LABEL + (value / most) * (WIDTH - LABEL - VALUE);
  const legend = PHASES.map(
    ({ words, color }, index) =>
      `<rect x="${LABEL + index * 150}" y="20" width="10" height="10" fill="${color}"/><text x="${LABEL + index * 150 + 15}" y="29">${words}</text>`,
  );
  const lines = bars.flatMap(({ y: top, color, summary }) => {
    const middle = top + BAR / 2;
    return [
      `<rect x="${LABEL}" y="${n(top)}" width="${n(Math.max(1, x(summary.median) - LABEL))}" height="${BAR}" fill="${color}"/>`,
      `<line x1="${n(x(summary.min))}" y1="${n(middle)}" x2="${n(x(summary.max))}" y2="${n(middle)}" stroke="#666" stroke-width="1.5"/>`,
      `<text x="${n(x(summary.max) + 5)}" y="${n(middle + 4)}">${short(summary.median)}</text>`,
    ];
  });
  const names = labels.map(({ y: at, text }) => `<text x="${LABEL - 8}" y="${n(at + 2)}" text-anchor="end">${xml(text)}</text>`);
  const height = Math.ceil(y + 6);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="system-ui, sans-serif" font-size="12" fill="#444">`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    `<text x="8" y="29" font-weight="600">messages a second</text>`,
    ...legend,
    ...names,
    ...lines,
    "</svg>",
    "",
  ].join("\n");
}
