import { existsSync, readFileSync, statSync } from "node:fs";
import { join, posix } from "node:path";
import { parseSync } from "oxc-parser";
import type { Check } from "../check.ts";
import { defaults, documents, ERRORS, errorCodes, isCode, render } from "../docs.ts";
import { generatedNames, type Markdown, parseMarkdown } from "../markdown.ts";
import { parseRef, regionsOf } from "../snippets.ts";
import { readSource } from "../source.ts";
import { filesIn } from "../workspace.ts";

/** Where the programs are that documentation is cut from, and the tests that run them. */
const PROGRAMS = "examples/docs";
const REWRITE = "run node tools/setup.mjs node tools/docs.ts and commit the result";
/** Code of other libraries, which is not installed here: `<!-- foreign: name version -->`. It is parsed, not run. */
const FOREIGN = /^foreign: \S+ \d/;

type Documents = ReadonlyMap<string, Markdown>;

function codeBlocks(path: string, { blocks }: Markdown): string[] {
  const found: string[] = [];
  for (const { language, marker, line, text } of blocks) {
    const at = `${path}:${line}`;
    if (!isCode(language)) {
      if (parseRef(marker) !== undefined) found.push(`${at}: a snippet's block must begin with \`\`\`ts`);
      continue;
    }
    if (parseRef(marker) !== undefined) continue;
    if (!FOREIGN.test(marker ?? "")) {
      found.push(`${at}: this code is not tested; cut it from a program by <!-- snippet: ${PROGRAMS}/file.ts#region --> above the block`);
    } else {
      const broken = parseSync("foreign.ts", text).errors[0];
      if (broken !== undefined) found.push(`${at}: this code does not parse: ${broken.message}`);
    }
  }
  return found;
}

/** Links inside the checkout: the file is there, and so is the anchor in it. */
export function deadLinks(root: string, all: Documents): string[] {
  const found: string[] = [];
  for (const [path, { links }] of all) {
    for (const { target, line } of links) {
      if (/^[a-z][a-z0-9+.-]*:/i.test(target)) continue;
      const [file = "", anchor] = target.split("#");
      const to = file === "" ? path : posix.normalize(posix.join(posix.dirname(path), decodeURI(file)));
      if (to.startsWith("..")) found.push(`${path}:${line}: the link ${target} leads out of the checkout`);
      else if (!existsSync(join(root, to))) found.push(`${path}:${line}: the link ${target} leads nowhere`);
      else if (anchor !== undefined && anchor !== "" && statSync(join(root, to)).isFile()) {
        const known =
          all.get(to)?.anchors ?? (to.endsWith(".md") ? parseMarkdown(readFileSync(join(root, to), "utf8")).anchors : undefined);
        if (known !== undefined && !known.has(anchor)) found.push(`${path}:${line}: ${to} has no heading for #${anchor}`);
      }
    }
  }
  return found;
}

/** Parts of programs that no document shows, and programs that no test runs. */
function idlePrograms(root: string, all: Documents): string[] {
  const found: string[] = [];
  const shown = new Set<string>();
  for (const { blocks } of all.values()) {
    for (const { marker } of blocks) {
      const ref = parseRef(marker);
      for (const region of ref?.regions ?? []) shown.add(`${ref?.path}#${region}`);
    }
  }
  const programs = filesIn(root, PROGRAMS, /\.ts$/).filter((path) => !path.startsWith(`${PROGRAMS}/test/`));
  const tests = filesIn(root, `${PROGRAMS}/test`, /\.ts$/).map((path) => readFileSync(join(root, path), "utf8"));
  const tested = (word: string): boolean =>
    tests.some((text) => new RegExp(`(?<![\\w$])${word.replaceAll("$", "\\$")}(?![\\w$])`).test(text));
  for (const path of programs) {
    for (const region of regionsOf(readFileSync(join(root, path), "utf8")).keys()) {
      if (!shown.has(`${path}#${region}`)) found.push(`${path}: no document shows the region "${region}"`);
    }
    const { exportedValues } = readSource(root, path);
    const inside = path.slice(PROGRAMS.length + 1);
    if (exportedValues.length === 0 && !tests.some((text) => text.includes(inside))) found.push(`${path}: no test runs it`);
    for (const name of exportedValues) {
      const here = programs.some(
        (other) => other !== path && new RegExp(`(?<![\\w$])${name}(?![\\w$])`).test(readFileSync(join(root, other), "utf8")),
      );
      if (!here && !tested(name)) found.push(`${path}: no test runs ${name}`);
    }
  }
  return found;
}

const ERRORS_PAGE = "docs/errors.md";
const DEFAULTS_PAGE = "docs/defaults.md";

/** docs/errors.md has a section for every code, in order, that says what its `details` are, whether to retry, and what to do. */
export async function errorsPage(root: string, all: Documents): Promise<string[]> {
  const page = all.get(ERRORS_PAGE);
  if (page === undefined) return existsSync(join(root, ERRORS)) ? [`${ERRORS_PAGE} is missing`] : [];
  const codes = await errorCodes(root);
  const found: string[] = [];
  const sections = page.headings.filter(({ level, text }) => level === 2 && /^[A-Z_]+$/.test(text));
  const named = sections.map(({ text }) => text);
  if (named.join() !== codes.map(({ code }) => code).join()) {
    found.push(`${ERRORS_PAGE}: its sections are ${named.join(", ")}; ERROR_CODES are ${codes.map(({ code }) => code).join(", ")}`);
  }
  for (const { code, details } of codes) {
    const at = sections.find(({ text }) => text === code);
    if (at === undefined) continue;
    const next = page.headings.find(({ level, line }) => level <= 2 && line > at.line);
    const text = page.lines.slice(at.line, (next?.line ?? page.lines.length + 1) - 1).join("\n");
    const wanted = details === "undefined" ? "**Details:** none" : `**Details:** \`${details}\``;
    for (const part of [wanted, "**Retryable:** ", "**What to do:** "]) {
      if (!text.includes(part)) found.push(`${ERRORS_PAGE}:${at.line}: the section ${code} must say: ${part.trim()}`);
    }
  }
  return found;
}

/** docs/defaults.md has a row for every default, in order, with its value. */
export async function defaultsPage(root: string, all: Documents): Promise<string[]> {
  const page = all.get(DEFAULTS_PAGE);
  if (page === undefined) return existsSync(join(root, ERRORS)) ? [`${DEFAULTS_PAGE} is missing`] : [];
  const from = page.headings.find(({ anchor }) => anchor === "one-table");
  if (from === undefined) return [`${DEFAULTS_PAGE}: the heading "One table" is missing`];
  const to = page.headings.find(({ line }) => line > from.line)?.line ?? page.lines.length + 1;
  const rows = page.lines.slice(from.line, to - 1).flatMap((line) => {
    const [, name, value] = /^\|\s*`([^`]+)`\s*\|\s*`([^`]+)`\s*\|/.exec(line) ?? [];
    return name === undefined || value === undefined ? [] : [[name, value] as const];
  });
  const wanted = await defaults(root);
  const found: string[] = [];
  for (const [name, value] of wanted) {
    const said = rows.find(([row]) => row === name)?.[1];
    if (said === undefined) found.push(`${DEFAULTS_PAGE}: no row for \`${name}\`, which is \`${value}\``);
    else if (said !== value) found.push(`${DEFAULTS_PAGE}: \`${name}\` is \`${value}\`, the page says \`${said}\``);
  }
  for (const [name] of rows) if (!wanted.some(([known]) => known === name)) found.push(`${DEFAULTS_PAGE}: there is no default \`${name}\``);
  return found;
}

const EVENTS = "packages/core/src/telemetry/events.ts";
const EVENTS_PAGE = "docs/observability.md";

/** docs/observability.md has a row for every event that can be published, and for no other. */
export function eventsPage(root: string, all: Documents): string[] {
  const page = all.get(EVENTS_PAGE);
  if (!existsSync(join(root, EVENTS))) return [];
  if (page === undefined) return [`${EVENTS_PAGE} is missing`];
  const wanted = [...readFileSync(join(root, EVENTS), "utf8").matchAll(/readonly type: "([a-z-]+)"/g)].map(([, name]) => name ?? "");
  const from = page.headings.find(({ anchor }) => anchor === "events")?.line ?? 0;
  const to = page.headings.find(({ line, level }) => level <= 2 && line > from)?.line ?? page.lines.length + 1;
  const rows = page.lines.slice(from, to - 1).flatMap((line) => /^\|\s*`([a-z-]+)`\s*\|/.exec(line)?.[1] ?? []);
  return [
    ...wanted.filter((name) => !rows.includes(name)).map((name) => `${EVENTS_PAGE}: no row for the event \`${name}\``),
    ...rows.filter((name) => !wanted.includes(name)).map((name) => `${EVENTS_PAGE}: there is no event \`${name}\``),
  ];
}

/** Everything in which documentation and code differ. */
export async function docs(root: string): Promise<string[]> {
  const found: string[] = [];
  const all = new Map<string, Markdown>();
  for (const path of documents(root)) {
    const text = readFileSync(join(root, path), "utf8");
    const parsed = parseMarkdown(text);
    all.set(path, parsed);
    found.push(...codeBlocks(path, parsed));
    const rendered = await render(root, path);
    found.push(...rendered.problems);
    if (rendered.problems.length === 0 && rendered.text !== text)
      found.push(`${path}: ${firstDifference(text, rendered.text)}; ${REWRITE}`);
    for (const name of new Set(generatedNames(text))) {
      const closed = text
        .split(`<!-- generated: ${name} -->`)
        .slice(1)
        .every((rest) => rest.split("<!-- generated:")[0]?.includes("<!-- /generated -->"));
      if (!closed) found.push(`${path}: <!-- generated: ${name} --> has no <!-- /generated -->`);
    }
  }
  const pages = [...(await errorsPage(root, all)), ...(await defaultsPage(root, all)), ...eventsPage(root, all)];
  return [...found, ...deadLinks(root, all), ...idlePrograms(root, all), ...pages];
}

function firstDifference(is: string, should: string): string {
  const [a, b] = [is.split("\n"), should.split("\n")];
  const at = a.findIndex((line, index) => line !== b[index]);
  return `line ${at === -1 ? a.length : at + 1} differs from what it is made from`;
}

const check: Check = {
  name: "documentation agrees with the code, its programs are tested, its links lead somewhere",
  run: docs,
};
export default check;
