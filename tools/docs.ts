// Writes what documentation takes from elsewhere: code cut from the programs under examples/docs/, what a command prints, and tables made
// from the sources and from recorded runs. `node tools/setup.mjs node tools/docs.ts` rewrites the files; tools/checks/docs.ts fails when one differs.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { inspect } from "node:util";
import { shown } from "../packages/cli/src/amounts.ts";
import { fillGenerated, parseMarkdown, table } from "./markdown.ts";
import { cut, parseRef } from "./snippets.ts";
import { adapterNames, filesIn, ROOT, readManifest } from "./workspace.ts";

const LANGUAGES = new Set(["ts", "typescript", "js", "javascript", "mts", "tsx", "jsx"]);
const SUPPORT = "docs/data/support";
export const ERRORS = "packages/core/src/errors.ts";
const OPTIONS = "packages/core/src/options.ts";

export function isCode(language: string): boolean {
  return LANGUAGES.has(language.toLowerCase());
}

/** Every Markdown file that the project shows to somebody. */
export function documents(root: string): string[] {
  const top = readdirSync(root).filter((name) => name.endsWith(".md"));
  const below = ["docs", "packages", "adapters", "conformance-tests", "benchmarks", "examples"].flatMap((folder) =>
    filesIn(root, folder, /\.md$/),
  );
  return [...top.sort(), ...below];
}

async function load(root: string, path: string): Promise<Readonly<Record<string, unknown>>> {
  return (await import(pathToFileURL(join(root, path)).href)) as Readonly<Record<string, unknown>>;
}

// ---- what the code says
/** Each error code, in order, with the type of its `details` as the source writes it. */
export async function errorCodes(root: string): Promise<readonly { readonly code: string; readonly details: string }[]> {
  const codes = (await load(root, ERRORS))["ERROR_CODES"] as readonly string[];
  const text = readFileSync(join(root, ERRORS), "utf8");
  const body = /export interface ErrorDetails \{\n([\s\S]*?)\n\}/.exec(text)?.[1] ?? "";
  const types = new Map(
    [...body.matchAll(/^ {2}(\w+): (.*);$/gm)].map(([, code, type]) => [code ?? "", (type ?? "").replaceAll("readonly ", "")]),
  );
  return codes.map((code) => ({ code, details: types.get(code) ?? "" }));
}

/** Each default by its name, its value as a literal. */
export async function defaults(root: string): Promise<readonly (readonly [name: string, value: string])[]> {
  const values = (await load(root, OPTIONS))["DEFAULTS"] as Readonly<Record<string, unknown>>;
  return Object.entries(values).map(([name, value]) => [name, literal(value)]);
}

function literal(value: unknown): string {
  return typeof value === "string"
    ? JSON.stringify(value)
    : inspect(value, { numericSeparator: true, breakLength: Number.POSITIVE_INFINITY });
}

type Data = { readonly [name: string]: unknown };
interface Record_ {
  readonly adapter: string;
  readonly schemes: readonly string[];
  readonly capabilities: Data;
}

/** The capability record of every adapter, as its `capabilities.ts` declares it. */
export async function records(root: string): Promise<readonly Record_[]> {
  const found: Record_[] = [];
  for (const folder of adapterNames(root)) {
    const path = `adapters/${folder}/src/capabilities.ts`;
    const schemes = Object.entries(readManifest(root, `adapters/${folder}`).brokerkit?.schemes ?? {});
    if (!existsSync(join(root, path))) continue;
    const declared = (await load(root, path))["capabilities"] as Readonly<Record<string, Data>>;
    for (const [adapter, capabilities] of Object.entries(declared)) {
      found.push({ adapter, schemes: schemes.filter(([, name]) => name === adapter).map(([scheme]) => scheme), capabilities });
    }
  }
  // Embedded backends first, then by name.
  const rank = (one: Record_): number => ["memory", "sqlite"].indexOf(one.adapter) + 1 || 9;
  return found.sort((a, b) => rank(a) - rank(b) || (a.adapter < b.adapter ? -1 : 1));
}

function leaves(record: Data, path = ""): [string, unknown][] {
  return Object.entries(record).flatMap(([name, value]) => {
    const here = path === "" ? name : `${path}.${name}`;
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? leaves(value as Data, here)
      : [[here, value] as [string, unknown]];
  });
}

// ---- tables
async function capabilityTable(root: string): Promise<string> {
  const all = await records(root);
  const columns = all.map(({ capabilities }) => new Map(leaves(capabilities)));
  const paths = [...(columns[0]?.keys() ?? [])];
  return table(
    ["", ...all.map(({ adapter }) => `\`${adapter}\``)],
    paths.map((path) => [`\`${path}\``, ...columns.map((column) => shown(path, column.get(path)))]),
  );
}

async function errorTable(root: string): Promise<string> {
  const all = await errorCodes(root);
  return table(
    ["code", "`details`"],
    all.map(({ code, details }) => [`[\`${code}\`](#${code.toLowerCase()})`, details === "undefined" ? "–" : `\`${details}\``]),
  );
}

async function schemeTable(root: string): Promise<string> {
  const all = await records(root);
  const packages = (await load(root, "packages/core/src/adapters.generated.ts"))["ADAPTERS"] as Readonly<
    Record<string, { package: string }>
  >;
  return table(
    ["adapter", "URL schemes", "package"],
    all.map(({ adapter, schemes }) => [
      `\`${adapter}\``,
      schemes.map((scheme) => `\`${scheme}:\``).join(" "),
      `\`${packages[adapter]?.package ?? ""}\``,
    ]),
  );
}

/** docs/decisions/ in order, each by its own title. */
async function decisionList(root: string): Promise<string> {
  const lines = filesIn(root, "docs/decisions", /^\d{4}-.*\.md$/).map((path) => {
    const title = parseMarkdown(readFileSync(join(root, path), "utf8")).headings[0]?.text ?? path;
    return `- [${title}](${path.slice("docs/".length)})`;
  });
  return lines.join("\n");
}

/** The first screen's table, from the recorded runs of the suite; its generator is the suite's own. */
async function supportTable(root: string): Promise<string> {
  const matrix = "conformance-tests/src/matrix.ts";
  if (!existsSync(join(root, SUPPORT))) return "No run of the conformance suite is recorded yet.";
  const { readReports, supportTable: made } = (await load(root, matrix)) as {
    readonly readReports: (folder: string) => readonly unknown[];
    readonly supportTable: (reports: readonly unknown[]) => string;
  };
  const [head = [], , ...rows] = made(readReports(join(root, SUPPORT)))
    .split("\n")
    .map((line) => line.slice(2, -2).split(" | "));
  return table(head, rows);
}

const TABLES: Readonly<Record<string, (root: string) => Promise<string>>> = {
  capabilities: capabilityTable,
  decisions: decisionList,
  "error-codes": errorTable,
  schemes: schemeTable,
  "support-summary": supportTable,
};

/** A block of text under `<!-- output: brokerkit … -->` is what the command of this checkout prints to those arguments. */
const COMMAND = /^output: brokerkit (\S.*)$/;

function output(root: string, args: string): string {
  const env = { ...process.env, NO_COLOR: "1", COLUMNS: "100" };
  return execFileSync(process.execPath, [join(root, "packages/cli/src/main.ts"), ...args.split(" ")], {
    env,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  }).trimEnd();
}

/** What belongs into a block with this marker; undefined where the block is the document's own. */
function made(root: string, marker: string | undefined): string | undefined {
  const ref = parseRef(marker);
  if (ref !== undefined) return cut(root, ref);
  const args = COMMAND.exec(marker ?? "")?.[1];
  return args === undefined ? undefined : output(root, args);
}

export interface Rendered {
  readonly path: string;
  readonly text: string;
  /** What could not be filled in, each with its file. */
  readonly problems: readonly string[];
}

/** A document with its snippets and generated parts as they should be. */
export async function render(root: string, path: string): Promise<Rendered> {
  const problems: string[] = [];
  const original = readFileSync(join(root, path), "utf8");
  const { lines, blocks } = parseMarkdown(original);
  const out = [...lines];
  for (const block of blocks.toReversed()) {
    try {
      const text = made(root, block.marker);
      if (text !== undefined) out.splice(block.from, block.to - block.from, ...text.split("\n"));
    } catch (error) {
      problems.push(`${path}:${block.line}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  const filled = new Map<string, string>();
  for (const [name, fill] of Object.entries(TABLES)) {
    if (original.includes(`<!-- generated: ${name} -->`)) filled.set(name, await fill(root));
  }
  return { path, text: fillGenerated(out.join("\n"), (name) => filled.get(name)), problems };
}

if (import.meta.main) {
  for (const path of documents(ROOT)) {
    const { text, problems } = await render(ROOT, path);
    for (const problem of problems) console.error(problem);
    if (problems.length > 0) process.exitCode = 1;
    if (readFileSync(join(ROOT, path), "utf8") === text) continue;
    writeFileSync(join(ROOT, path), text);
    console.log(`written ${path}`);
  }
}
