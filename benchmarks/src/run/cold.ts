import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Site } from "../measure/column.ts";
import type { Workload } from "../measure/workload.ts";
import type { Found } from "./discover.ts";
import { interleaved } from "./interleave.ts";
import type { Pinning } from "./pinning.ts";

const ENTRY = fileURLToPath(new URL("../worker/cold.ts", import.meta.url));
const BUILD = fileURLToPath(new URL("../../../tools/build.ts", import.meta.url));
const STARTS = 7;
const START_MS = 30_000;

/** Builds the packages, so that a cold start loads what users load. Resolves to whether that worked. */
export async function buildPackages(names: readonly string[]): Promise<boolean> {
  try {
    await promisify(execFile)(process.execPath, [
      "--conditions=@brokerkit/source",
      "--disable-warning=ExperimentalWarning",
      BUILD,
      ...names,
    ]);
    return true;
  } catch {
    return false;
  }
}

/** Milliseconds from the first import to the first confirmed publish, per column; each start is a process of its own. */
export async function coldStarts(
  found: readonly Found[],
  site: Site,
  workload: Workload,
  pinning: Pinning,
): Promise<Map<string, number[]>> {
  const starts = new Map<string, number[]>(found.map(({ name }) => [name, []]));
  for (const [round, order] of interleaved(found, STARTS + 1).entries()) {
    for (const { name, path } of order) {
      const ask = JSON.stringify({ path, site, workload, topic: `cold-${process.pid}-${name}-${round}` });
      const [file, args] = pinning.client(process.execPath, ["--disable-warning=ExperimentalWarning", ENTRY, ask]);
      const { stdout } = await promisify(execFile)(file, args, { timeout: START_MS });
      // The first one reads files that the system has not read before.
      if (round > 0) starts.get(name)?.push((JSON.parse(stdout) as { readonly ms: number }).ms);
    }
  }
  return starts;
}
