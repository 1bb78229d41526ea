import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { Site } from "../../measure/column.ts";

const PROGRAM = "redis-benchmark";

export function benchmarkCommand(site: Site, count: number, command: readonly string[]): readonly string[] | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  if (!folders.some((folder) => existsSync(join(folder, PROGRAM)))) return undefined;
  return [PROGRAM, "-h", site.host, "-p", String(site.port), "-P", "64", "-n", String(count), "--csv", ...command];
}

/** The second column of the last line: requests a second. */
export function benchmarkRate(output: string): number {
  const fields = output.trim().split("\n").at(-1)?.split('","') ?? [];
  return Number.parseFloat(fields[1] ?? "");
}
