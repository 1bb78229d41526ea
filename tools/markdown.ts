// What the documentation's own checks read of a Markdown file: code blocks, headings with their anchors, links, generated parts.

/** A fenced block of code. Lines are counted from 1. */
export interface Block {
  /** The first word behind the fence, such as `ts`. */
  readonly language: string;
  readonly text: string;
  /** The line of its opening fence. */
  readonly line: number;
  /** The HTML comment that stands before it, without its delimiters. */
  readonly marker: string | undefined;
  /** Where its text begins and ends, as indexes into `lines`. */
  readonly from: number;
  readonly to: number;
}

export interface Heading {
  readonly level: number;
  readonly text: string;
  readonly anchor: string;
  readonly line: number;
}

export interface Link {
  readonly target: string;
  readonly line: number;
}

export interface Markdown {
  readonly lines: readonly string[];
  readonly blocks: readonly Block[];
  readonly headings: readonly Heading[];
  /** Anchors that a link may lead to: those of headings, and `<a id="…">`. */
  readonly anchors: ReadonlySet<string>;
  readonly links: readonly Link[];
}

const FENCE = /^(\s*)(`{3,}|~{3,})\s*([\w+-]*)/;
const COMMENT = /^\s*<!--\s*(.*?)\s*-->\s*$/;

/** The anchor that a heading gets where Markdown is shown: lower case, words joined by hyphens, punctuation left out. */
export function anchorOf(heading: string): string {
  return heading
    .replace(/`|\*|<[^>]*>/g, "")
    .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\p{M}\s_-]/gu, "")
    .replace(/\s/g, "-");
}

/** The nearest line above `index` that is not blank, if it is an HTML comment. */
function markerAbove(lines: readonly string[], index: number): string | undefined {
  let above = index - 1;
  while (above >= 0 && lines[above]?.trim() === "") above--;
  return COMMENT.exec(lines[above] ?? "")?.[1];
}

function linksOf(line: string, number: number): Link[] {
  const bare = line.replace(/`[^`]*`/g, "");
  const found: Link[] = [];
  for (const [, target] of bare.matchAll(/\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g))
    if (target !== undefined) found.push({ target, line: number });
  for (const [, target] of bare.matchAll(/<(?:a|img)\b[^>]*?\b(?:href|src)="([^"]+)"/g))
    if (target !== undefined) found.push({ target, line: number });
  const reference = /^\s{0,3}\[[^\]^]+\]:\s*(\S+)/.exec(bare)?.[1];
  if (reference !== undefined) found.push({ target: reference, line: number });
  return found;
}

export function parseMarkdown(text: string): Markdown {
  const lines = text.split("\n");
  const blocks: Block[] = [];
  const headings: Heading[] = [];
  const links: Link[] = [];
  const anchors = new Set<string>();
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index] ?? "";
    const fence = FENCE.exec(line);
    if (fence !== null) {
      const [, , ticks = "", language = ""] = fence;
      let end = index + 1;
      while (end < lines.length && !(lines[end] ?? "").trim().startsWith(ticks)) end++;
      const body = lines.slice(index + 1, end).join("\n");
      blocks.push({ language, text: body, line: index + 1, marker: markerAbove(lines, index), from: index + 1, to: end });
      index = end;
      continue;
    }
    const heading = /^(#{1,6})\s+(.*?)\s*#*$/.exec(line);
    if (heading !== null) {
      const [, marks = "", title = ""] = heading;
      const plain = anchorOf(title);
      let anchor = plain;
      for (let n = 1; anchors.has(anchor); n++) anchor = `${plain}-${n}`;
      anchors.add(anchor);
      headings.push({ level: marks.length, text: title, anchor, line: index + 1 });
    }
    for (const [, id] of line.matchAll(/<a\s+(?:id|name)="([^"]+)"/g)) if (id !== undefined) anchors.add(id);
    links.push(...linksOf(line, index + 1));
  }
  return { lines, blocks, headings, anchors, links };
}

/** Puts `text` between `<!-- generated: name -->` and `<!-- /generated -->`, everywhere; the rest stays. */
export function fillGenerated(markdown: string, fill: (name: string) => string | undefined): string {
  return markdown.replace(
    /(<!-- generated: ([\w-]+) -->\n)[\s\S]*?(<!-- \/generated -->)/g,
    (whole, open: string, name: string, close: string) => {
      const text = fill(name);
      return text === undefined ? whole : `${open}\n${text.trim()}\n\n${close}`;
    },
  );
}

/** The names of a file's generated parts. */
export function generatedNames(markdown: string): string[] {
  return [...markdown.matchAll(/<!-- generated: ([\w-]+) -->/g)].map(([, name]) => name ?? "");
}

/** A table, padded as the formatter pads it, so that the two agree. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows].map((cells) => cells.map((cell) => cell.replaceAll("|", "\\|")));
  const widths = head.map((_, column) => Math.max(3, ...all.map((cells) => [...(cells[column] ?? "")].length)));
  const row = (cells: readonly string[], fill = " "): string =>
    `| ${widths.map((width, n) => pad(cells[n] ?? "", width, fill)).join(" | ")} |`;
  const [first = [], ...others] = all;
  return [row(first), row([], "-"), ...others.map((cells) => row(cells))].join("\n");
}

function pad(cell: string, width: number, fill: string): string {
  return cell + fill.repeat(width - [...cell].length);
}
