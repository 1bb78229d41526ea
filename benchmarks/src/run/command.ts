import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { dataFile } from "../report/data.ts";
import { writeDocumentation } from "../report/document.ts";
import { print } from "../report/table.ts";
import { type BenchWiring, runAdapter } from "./adapter.ts";
import { adapters } from "./discover.ts";
import { type BenchOptions, readOptions, USAGE } from "./options.ts";

export interface CommandWiring extends BenchWiring {
  readonly out: (text: string) => void;
}

function write(file: string, value: unknown): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(value, undefined, 1)}\n`);
}

const words = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** The command line: resolves to the exit code, 1 for a run that failed, 2 for arguments that it does not know. */
export async function runCommand(argv: readonly string[], wiring: CommandWiring): Promise<number> {
  const { out, log } = wiring;
  let options: BenchOptions;
  try {
    options = readOptions(argv);
    if (![...adapters(), "docs"].includes(options.adapter)) throw new Error(`There are no columns for "${options.adapter}".`);
  } catch (error) {
    log(`${words(error)}\n\n${USAGE}\n\nAdapters: ${adapters().join(", ")}`);
    return 2;
  }
  if (options.adapter === "docs") {
    for (const file of writeDocumentation()) out(file);
    return 0;
  }
  try {
    const result = await runAdapter(options, wiring);
    out(print(result));
    if (options.json !== undefined) write(resolve(options.json), result);
    if (options.save) {
      write(dataFile(options.adapter), result);
      writeDocumentation();
    }
    return 0;
  } catch (error) {
    log(`FAILED. ${words(error)}`);
    return 1;
  }
}
