// The comparison for people: marks and words, colours where they are wanted, lines as wide as the terminal.
import { styleText } from "node:util";
import type { Change, Comparison, Verdict } from "./compare.ts";

export interface Look {
  /** Columns. */
  readonly width: number;
  readonly colours: boolean;
}

const MARKS: Readonly<Record<Verdict, readonly [mark: string, colour: "red" | "green" | "yellow"]>> = {
  worse: ["-", "red"],
  different: ["~", "yellow"],
  better: ["+", "green"],
};
const LABEL = 9;

/** @param title what stands in the first line, such as "a → b" */
export function asText(title: string, { changes, unchanged }: Comparison, { width, colours }: Look): string {
  const paint = (style: Parameters<typeof styleText>[0], text: string): string =>
    colours ? styleText(style, text, { validateStream: false }) : text;
  const labelled = (label: string, text: string): string[] =>
    wrap(text, width - LABEL).map((line, n) => (n === 0 ? `    ${label}`.padEnd(LABEL) : " ".repeat(LABEL)) + line);

  const lines = [paint("bold", title), summary(changes), ""];
  for (const [section, group] of Map.groupBy(changes, (change) => change.section)) {
    lines.push(paint("bold", section));
    for (const { name, verdict, was, will, advice } of group) {
      const [mark, colour] = MARKS[verdict];
      lines.push(`${paint(colour, `  ${mark} ${verdict}`)}: ${name}`, ...labelled("was", was), ...labelled("will", will));
      lines.push(...labelled("do", advice).map((line) => paint("dim", line)));
    }
    lines.push("");
  }
  if (unchanged.length > 0) lines.push(...wrap(`Unchanged: ${unchanged.join(", ")}.`, width));
  return `${[...lines, ...wrap(ALWAYS, width)].join("\n")}\n`;
}

const ALWAYS =
  "In every move messages, groups and positions stay where they are. Both records say what a backend does at most: the server and its options " +
  "may leave less, which broker.capabilities tells once connected.";

function summary(changes: readonly Change[]): string {
  const of = (verdict: Verdict): number => changes.filter((change) => change.verdict === verdict).length;
  return changes.length === 0
    ? "Nothing changes in meaning."
    : `${of("worse")} worse, ${of("different")} different, ${of("better")} better`;
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
