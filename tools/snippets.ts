// Code in documentation is cut from programs that are compiled and run: `// #region name` … `// #endregion` marks a part of a file.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A marker in Markdown, `snippet: examples/docs/a.ts#imports+use`: parts of one file, one after the other. */
export interface SnippetRef {
  readonly path: string;
  readonly regions: readonly string[];
}

const OPEN = /^\s*\/\/ #region (\S+)\s*$/;
const CLOSE = /^\s*\/\/ #endregion\s*$/;

/** Reads a marker; undefined for a comment that is none. */
export function parseRef(marker: string | undefined): SnippetRef | undefined {
  const found = /^snippet:\s*([^#\s]+)#([\w+-]+)$/.exec(marker ?? "");
  if (found === null) return undefined;
  return { path: found[1] ?? "", regions: (found[2] ?? "").split("+") };
}

function dedent(lines: readonly string[]): string[] {
  const indent = Math.min(...lines.filter((line) => line.trim() !== "").map((line) => line.length - line.trimStart().length));
  return lines.map((line) => (Number.isFinite(indent) ? line.slice(indent) : line).trimEnd());
}

/** Every region of a source text by its name, without its indentation. Regions may lie inside each other. Throws for unpaired marks. */
export function regionsOf(text: string): Map<string, string> {
  const open: { name: string; lines: string[] }[] = [];
  const found = new Map<string, string>();
  for (const line of text.split("\n")) {
    const name = OPEN.exec(line)?.[1];
    if (name !== undefined) {
      if (found.has(name) || open.some((one) => one.name === name)) throw new Error(`there are two regions "${name}"`);
      open.push({ name, lines: [] });
    } else if (CLOSE.test(line)) {
      const done = open.pop();
      if (done === undefined) throw new Error("an #endregion has no #region");
      found.set(
        done.name,
        dedent(done.lines)
          .join("\n")
          .replace(/^\n+|\n+$/g, ""),
      );
    } else {
      for (const one of open) one.lines.push(line);
    }
  }
  const left = open.at(-1);
  if (left !== undefined) throw new Error(`the region "${left.name}" has no #endregion`);
  return found;
}

/** The text that a marker stands for. Throws, saying what is missing. */
export function cut(root: string, { path, regions }: SnippetRef): string {
  if (!existsSync(join(root, path))) throw new Error(`there is no file ${path}`);
  const known = regionsOf(readFileSync(join(root, path), "utf8"));
  const parts = regions.map((name) => {
    const text = known.get(name);
    if (text === undefined) throw new Error(`${path} has no region "${name}"; it has ${[...known.keys()].join(", ") || "none"}`);
    return text;
  });
  return parts.join("\n\n");
}
