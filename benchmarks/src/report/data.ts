import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Result } from "./result.ts";

export const DOCS: string = fileURLToPath(new URL("../../../docs/", import.meta.url));
const DATA = join(DOCS, "data", "benchmarks");

/** Where an adapter's raw figures are kept. */
export function dataFile(adapter: string): string {
  return join(DATA, `${adapter}.json`);
}

/** The figures that are kept, by adapter. */
export function keptResults(): Result[] {
  if (!existsSync(DATA)) return [];
  return readdirSync(DATA)
    .filter((name) => name.endsWith(".json"))
    .sort()
    .map((name) => JSON.parse(readFileSync(dataFile(basename(name, ".json")), "utf8")) as Result);
}
