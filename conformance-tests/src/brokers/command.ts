import { parseArgs } from "node:util";
import { cacheFolder } from "./cache.ts";
import { down, up } from "./detached.ts";
import { type Discovery, discoverRecipes } from "./discover.ts";
import { type Left, LeftBrokers } from "./state.ts";

const usage = `Usage: npm run brokers -- <command> [name …] [--json]

  up [name …]      start brokers (all without a name) and leave them running; prints a line <NAME>_URL=<url> for each.
                   One that runs already is left as it is.
  down [name …]    stop what "up" started (all without a name) and remove its data
  status [name …]  what runs

  --json           one JSON array on standard output instead of lines

Exit codes: 0 done; 1 a broker could not be started or stopped; 2 wrong usage or an unknown name;
            3 "status": one of the named brokers does not run.
Brokers that are left running, and programs that were fetched, are in the cache folder ($XDG_CACHE_HOME or ~/.cache)/brokerkit.
`;

export interface CommandContext {
  /** Absolute path of the folder of adapters. */
  readonly adapters: string;
  readonly env: NodeJS.ProcessEnv;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

/** One broker in the answer; `--json` prints it as it is. */
type Row = Partial<Left> & {
  readonly name: string;
  readonly running: boolean;
  readonly stopped?: boolean;
  readonly error?: string | undefined;
};

/** The names asked for, or all; undefined after saying which of them nobody knows. */
function chosen(
  names: readonly string[],
  known: readonly string[],
  { failures }: Discovery,
  err: (text: string) => void,
): readonly string[] | undefined {
  const unknown = names.filter((name) => !known.includes(name));
  if (unknown.length === 0) return names.length === 0 ? known : [...new Set(names)];
  err(`Unknown: ${unknown.join(", ")}. Known: ${known.length === 0 ? "none" : known.join(", ")}.\n`);
  for (const [adapter, why] of failures) err(`adapters/${adapter}/harness.ts could not be read: ${why}\n`);
  return undefined;
}

/** One row per name, all at once: brokers take seconds to start. */
async function each(names: readonly string[], work: (name: string) => Promise<Row>): Promise<readonly Row[]> {
  const attempt = async (name: string): Promise<Row> => {
    try {
      return await work(name);
    } catch (error) {
      return { name, running: false, error: error instanceof Error ? error.message : String(error) };
    }
  };
  return Promise.all(names.map(attempt));
}

function line(command: string, row: Row): string {
  if (command === "up") return `${row.variable}=${row.url}`;
  if (command === "down") return `${row.name} ${row.stopped === true ? "stopped" : "did not run"}`;
  return row.running
    ? `${row.name} runs: ${row.variable}=${row.url}, version ${row.version}, process ${Number.parseInt(row.process ?? "", 10)}`
    : `${row.name} does not run`;
}

function print(command: string, rows: readonly Row[], json: boolean, { out, err }: CommandContext): void {
  if (json) out(`${JSON.stringify(rows, null, 2)}\n`);
  for (const row of rows) {
    if (row.error !== undefined) err(`${row.name}: ${row.error}\n`);
    else if (!json) out(`${line(command, row)}\n`);
  }
}

/** The command behind `npm run brokers`. Gives its exit code, which the usage text documents. */
export async function runCommand(args: readonly string[], context: CommandContext): Promise<number> {
  const { env, out, err } = context;
  let positionals: string[];
  let json: boolean;
  try {
    const parsed = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { json: { type: "boolean" }, help: { type: "boolean", short: "h" } },
    });
    if (parsed.values.help === true) {
      out(usage);
      return 0;
    }
    positionals = parsed.positionals;
    json = parsed.values.json === true;
  } catch (error) {
    err(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
    return 2;
  }
  const [command, ...asked] = positionals;
  if (command !== "up" && command !== "down" && command !== "status") {
    err(`${command === undefined ? "" : `Unknown command: ${command}\n\n`}${usage}`);
    return 2;
  }

  const left = new LeftBrokers(cacheFolder(env));
  const discovery = await discoverRecipes(context.adapters);
  const recipes = new Map(discovery.recipes.map((recipe) => [recipe.name, recipe]));
  const started = await left.names();
  const known = command === "up" ? [...recipes.keys()] : [...new Set([...recipes.keys(), ...started])].sort();
  const names = chosen(asked, known, discovery, err);
  if (names === undefined) return 2;

  const rows = await each(names, async (name) => {
    if (command === "down") return { name, running: false, stopped: await down(name, env) };
    if (command === "status") {
      const running = await left.running(name);
      return { name, running: running !== undefined, ...running };
    }
    const recipe = recipes.get(name);
    if (recipe === undefined) throw new Error("has no recipe");
    return { ...(await up(recipe, env)), running: true };
  });
  print(command, rows, json, context);
  if (command === "up" && asked.length === 0) {
    for (const [adapter, why] of discovery.failures) err(`adapters/${adapter}/harness.ts could not be read: ${why}\n`);
    if (discovery.failures.size > 0) return 1;
  }
  if (rows.some((row) => row.error !== undefined)) return 1;
  return command === "status" && asked.length > 0 && rows.some((row) => !row.running) ? 3 : 0;
}
