import { readdirSync } from "node:fs";
import { join } from "node:path";
import { end, start, tail } from "../process.ts";
import type { Told } from "../vitest-reporter.ts";
import { adapterNames, filesIn, foldersIn, ROOT, SOURCE } from "../workspace.ts";
import type { Report } from "./report.ts";
import { plainWords } from "./words.ts";

/** No single case takes nearly as long; a run that says nothing for this time hangs. */
const SILENCE_MS = 8 * 60_000;

/** Project name → folder: every folder that holds tests. A new adapter or package touches nothing here. */
export function projects(root: string): Map<string, string> {
  const folders = [
    ...foldersIn(root, "packages").map((name) => `packages/${name}`),
    ...adapterNames(root).map((name) => `adapters/${name}`),
    ...foldersIn(root, "examples").map((name) => `examples/${name}`),
    ...["conformance-tests", "benchmarks", "examples", "tools"].filter((name) => readdirSync(root).includes(name)),
  ];
  return new Map(
    folders
      .filter((folder) => filesIn(root, `${folder}/test`, /\.test\.ts$/).length > 0)
      .map((folder) => [folder.replace(/^(packages|adapters)\//, "").replace("/", ":"), folder]),
  );
}

/** Runs the named projects in one vitest process and adds each case to the report as it ends. `rest` goes to vitest as it is. */
export async function runVitest(report: Report, names: readonly string[], rest: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  const args = [
    `--conditions=${SOURCE}`,
    "--disable-warning=ExperimentalWarning",
    join(ROOT, "node_modules", "vitest", "vitest.mjs"),
    "run",
    "--reporter=./tools/vitest-reporter.ts",
    ...names.map((name) => `--project=${name}`),
    ...rest,
  ];
  const child = start(process.execPath, args, { stdio: ["ignore", "pipe", "pipe", "ipc"] });
  // What a name pattern leaves out was not meant to run; it is no skipped case.
  const filtered = rest.some((argument) => argument === "-t" || argument.startsWith("--testNamePattern"));
  let output = "";
  let failed = 0;
  let current = "nothing yet";
  let hung = false;
  const watchdog = setTimeout(() => {
    hung = true;
    end(child, "SIGKILL");
  }, SILENCE_MS);
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    output = (output + text).slice(-20_000);
  });
  // Beside its cases a process says there what nobody waits for, such as that a server ended by itself.
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    output = (output + text).slice(-20_000);
    report.line(plainWords(text.trimEnd()));
  });
  child.on("message", (told: Told) => {
    watchdog.refresh();
    if (told.kind === "case") {
      if (told.case.state === "failed") failed++;
      if (!(filtered && told.case.state === "skipped")) report.add(told.case);
    } else if (told.kind === "began") {
      current = told.name;
      report.doing(told.name);
    } else {
      report.done(told.group, told.name, told.ms);
    }
  });
  const code = await new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (exit) => resolve(exit ?? 1));
  });
  clearTimeout(watchdog);
  if (hung) {
    const messages = [`no case ended for ${SILENCE_MS / 60_000} minutes; the last that began: ${current}`, tail(output)];
    report.add({ group: "run", name: "the test process ends by itself", state: "failed", ms: SILENCE_MS, messages });
  } else if (code !== 0 && failed === 0) {
    const messages = [`vitest ended with exit code ${code} although no case failed`, tail(output)];
    report.add({ group: "run", name: "the test process ends well", state: "failed", ms: 0, messages });
  }
}
