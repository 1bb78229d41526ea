// The command line: words in, text and an exit code out. What writes them is main.ts.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { BACKENDS, backendOf, nearest, UsageError } from "./backends.ts";
import { compare } from "./compare/compare.ts";
import { asJson } from "./compare/json.ts";
import { asText, type Look } from "./compare/text.ts";

export interface Answer {
  /** 0: done. 1: `--strict`, and something is lost in the move. 2: the command line makes no sense. */
  readonly code: 0 | 1 | 2;
  readonly out: string;
  readonly err: string;
}

const COMMANDS: Readonly<Record<string, (args: readonly string[], look: Look) => Answer>> = { compare: compareCommand };

const HELP = `brokerkit: brokerkit on the command line

  brokerkit compare <from> <to>   what changes in meaning when an application moves between two backends

Options:
  -h, --help      this text; brokerkit compare --help says more
  -v, --version   the version
`;

const COMPARE_HELP = `brokerkit compare <from> <to>: what changes in meaning when an application moves from one backend to another

A backend is a name, a URL scheme or a URL: ${BACKENDS.join(", ")}.
Nothing is connected to and no adapter need be installed: the answer comes from the capability records of this version of
brokerkit, which say what a backend does at most. Of a URL only the scheme is read.

Options:
  --json      one JSON object; its fields are in the README of @brokerkit/cli
  --strict    exit with 1 when something is worse: a guarantee, a verb or a limit is less than before
  -h, --help  this text

Environment:
  NO_COLOR    no colours on a terminal either
  COLUMNS     columns to write, where the output is no terminal; default 100

Exit code: 0 done; 1 --strict, and something is worse; 2 the command line is wrong.
`;

/** Answers one command line, `args` without the program's name. Never throws for what a user has typed. */
export function answer(args: readonly string[], look: Look): Answer {
  const [first, ...rest] = args;
  try {
    if (first === undefined) throw new UsageError("which command?");
    if (first === "-h" || first === "--help") return { code: 0, out: HELP, err: "" };
    if (first === "-v" || first === "--version") return { code: 0, out: `${version()}\n`, err: "" };
    const command = Object.hasOwn(COMMANDS, first) ? COMMANDS[first] : undefined;
    if (command !== undefined) return command(rest, look);
    const near = nearest(first, Object.keys(COMMANDS));
    throw new UsageError(
      `there is no such command.${near === undefined ? "" : ` Did you mean ${near}?`} Known: ${Object.keys(COMMANDS).join(", ")}.`,
    );
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const help = first !== undefined && Object.hasOwn(COMMANDS, first) ? `brokerkit ${first} --help` : "brokerkit --help";
    return { code: 2, out: "", err: `brokerkit: ${error.message}\nbrokerkit: ${help} says what there is\n` };
  }
}

function compareCommand(args: readonly string[], look: Look): Answer {
  const { values, positionals } = parsed(args);
  if (values.help) return { code: 0, out: COMPARE_HELP, err: "" };
  const [before, after, ...more] = positionals;
  if (before === undefined || after === undefined || more.length > 0)
    throw new UsageError("compare takes two backends: compare <from> <to>");
  const [from, to] = [backendOf(before), backendOf(after)];
  const comparison = compare(from.capabilities, to.capabilities);
  const out = values.json
    ? `${JSON.stringify(asJson(from, to, comparison), undefined, 2)}\n`
    : asText(`${from.name} → ${to.name}`, comparison, look);
  const lost = comparison.changes.some(({ verdict }) => verdict === "worse");
  return { code: values.strict && lost ? 1 : 0, out, err: "" };
}

const COMPARE_OPTIONS = {
  json: { type: "boolean", default: false },
  strict: { type: "boolean", default: false },
  help: { type: "boolean", short: "h", default: false },
} as const;

function parsed(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: COMPARE_OPTIONS, allowPositionals: true });
  } catch {
    // The parser's own words would quote what was typed, which may be a URL with a password.
    throw new UsageError(
      `compare has the options ${Object.keys(COMPARE_OPTIONS)
        .map((name) => `--${name}`)
        .join(", ")}, and no others`,
    );
  }
}

/** The package's own version; its manifest is beside src/ and beside dist/. */
function version(): string {
  return (JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { readonly version: string }).version;
}
