import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Check } from "../check.ts";
import { run, tail } from "../process.ts";
import { filesIn, ROOT } from "../workspace.ts";
import type { Report } from "./report.ts";

export interface LoadedCheck {
  /** The file's name without its ending, by which `--only` picks it. */
  readonly file: string;
  readonly check: Check;
}

/** Every file of tools/checks/, or those named. A new check is a new file. */
export async function loadChecks(only: readonly string[] = []): Promise<LoadedCheck[]> {
  const loaded: LoadedCheck[] = [];
  for (const path of filesIn(ROOT, "tools/checks", /\.ts$/)) {
    const file = path.slice(path.lastIndexOf("/") + 1, -3);
    if (only.length > 0 && !only.includes(file)) continue;
    const module = (await import(pathToFileURL(join(ROOT, path)).href)) as { readonly default?: Check };
    if (module.default === undefined) throw new Error(`${path}: default-export a Check (tools/check.ts)`);
    loaded.push({ file, check: module.default });
  }
  return loaded;
}

const bin = (...path: string[]): string => join(ROOT, "node_modules", ...path);

/** The steps of the first lane that look at the code without running it, by the names that `--only` takes. */
export const STATIC_STEPS: Readonly<Record<string, readonly { readonly name: string; readonly command: readonly string[] }[]>> = {
  types: [
    { name: "everything type-checks", command: [bin("typescript", "bin", "tsc"), "--noEmit"] },
    {
      name: "published sources declare their types",
      command: [bin("typescript", "bin", "tsc"), "--noEmit", "-p", "tsconfig.build.json"],
    },
  ],
  lint: [
    {
      name: "format and lint hold",
      command: [bin("@biomejs", "biome", "bin", "biome"), "ci", "--colors=off", "--reporter=concise", "--max-diagnostics=50"],
    },
  ],
};

export async function runStatic(report: Report, steps: readonly string[]): Promise<void> {
  for (const step of steps) {
    for (const { name, command } of STATIC_STEPS[step] ?? []) {
      await report.measure(step, name, async () => {
        const { code, output } = await run(process.execPath, command);
        if (code === 0) return [];
        return step === "lint" ? [tail(output, 60), "npm run format fixes what can be fixed safely"] : [tail(output, 60)];
      });
    }
  }
}

export async function runChecks(report: Report, only: readonly string[]): Promise<void> {
  for (const { file, check } of await loadChecks(only)) {
    await report.measure(file, check.name, async () => [...(await check.run(ROOT))]);
  }
}
