// The test run, `npm test`: two lanes side by side. One looks at the code and at the packages as users get them, the other runs the tests.
import { join } from "node:path";
import { parseArgs } from "node:util";
import { loadChecks, runChecks, runStatic, STATIC_STEPS } from "./lanes/checks.ts";
import { Report, thrown } from "./lanes/report.ts";
import { projects, runVitest } from "./lanes/vitest.ts";
import { PACKAGE_STEP, runPackageTruth } from "./package-truth.ts";
import { endAllOnSignal } from "./process.ts";
import { adapterNames, ROOT } from "./workspace.ts";

const USAGE = `npm test                         everything
npm test -- --only NAME          one part (may be repeated); what follows goes to vitest, such as -t "a name"
npm run conformance -- ADAPTER   one adapter's tests; with --record the run is kept in docs/data/support, from which docs/support.md is made
npm run chaos -- ADAPTER         the same with the long fault schedule (stops of 30 s); takes many minutes`;

interface Chosen {
  readonly steps: readonly string[];
  readonly checks: readonly string[];
  readonly truth: boolean;
  readonly tests: readonly string[];
  readonly rest: readonly string[];
}

async function choose(argv: readonly string[]): Promise<Chosen | string> {
  const options = { only: { type: "string", multiple: true }, conformance: { type: "boolean" } } as const;
  const { values, tokens } = parseArgs({ args: [...argv], options, strict: false, tokens: true, allowPositionals: true });
  const known = new Set(["only", "conformance"]);
  const all = [...projects(ROOT).keys()];
  const checks = (await loadChecks()).map(({ file }) => file);
  const steps = Object.keys(STATIC_STEPS);
  const everything: Chosen = { steps, checks, truth: true, tests: all, rest: [] };

  if (values.conformance === true) {
    // Read by the suite in the test processes.
    if (argv.includes("--record")) process.env["BROKERKIT_RECORD"] = join(ROOT, "docs/data/support");
    if (argv.includes("--chaos")) process.env["BROKERKIT_CHAOS"] = "1";
    const own = new Set(["--conformance", "--record", "--chaos", "--"]);
    const [adapter, ...rest] = argv.filter((argument) => !own.has(argument));
    const adapters = adapterNames(ROOT).filter((name) => all.includes(name));
    if (adapter === undefined || !adapters.includes(adapter))
      return `which adapter? npm run conformance -- ${adapters.join(" | ") || "(none has tests)"}`;
    return { steps: [], checks: [], truth: false, tests: [adapter], rest };
  }
  const only = (values.only ?? []).filter((name) => typeof name === "string").flatMap((name) => name.split(","));
  const taken = new Set<number>();
  for (const token of tokens) {
    if (token.kind !== "option" || !known.has(token.name)) continue;
    taken.add(token.index);
    if (token.value !== undefined && token.inlineValue === false) taken.add(token.index + 1);
  }
  const rest = argv.filter((argument, index) => !taken.has(index) && argument !== "--");
  if (only.length === 0) return rest.length === 0 ? everything : `${rest.join(" ")}: not understood\n${USAGE}`;

  const names = [...steps, "checks", ...checks, PACKAGE_STEP, "tests", ...all];
  const unknown = only.find((name) => !names.includes(name));
  if (unknown !== undefined) return `--only ${unknown}: there is no such part. Parts: ${names.join(", ")}`;
  return {
    steps: steps.filter((name) => only.includes(name)),
    checks: checks.filter((name) => only.includes(name) || only.includes("checks")),
    truth: only.includes(PACKAGE_STEP),
    tests: all.filter((name) => only.includes(name) || only.includes("tests")),
    rest,
  };
}

async function main(): Promise<number> {
  const chosen = await choose(process.argv.slice(2));
  if (typeof chosen === "string") {
    console.error(chosen);
    return 2;
  }
  endAllOnSignal();
  const report = new Report(process.env["CI"] === "true");
  const codeLane = async (): Promise<void> => {
    await runStatic(report, chosen.steps);
    if (chosen.checks.length > 0) await runChecks(report, chosen.checks);
    if (chosen.truth) await runPackageTruth(report);
  };
  const lanes = await Promise.allSettled([codeLane(), runVitest(report, chosen.tests, chosen.rest)]);
  for (const lane of lanes) {
    if (lane.status === "fulfilled") continue;
    report.add({ group: "run", name: "each lane runs to its end", state: "failed", ms: 0, messages: [thrown(lane.reason)] });
  }
  return report.end();
}

process.exitCode = await main();
