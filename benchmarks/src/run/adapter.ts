import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Native, RunningSite, SiteRecipe, Verified } from "../measure/column.ts";
import { fitted, type Workload } from "../measure/workload.ts";
import type { ColumnResult, CurveResult, NativeResult, Result, Run } from "../report/result.ts";
import { perSecond, summaryOf } from "../report/statistics.ts";
import { buildPackages, coldStarts } from "./cold.ts";
import { type Curve, columnsOf, curve, type Found, nativesOf, sitesOf, workload } from "./discover.ts";
import { machine } from "./machine.ts";
import type { BenchOptions } from "./options.ts";
import { installed, versionOf } from "./packages.ts";
import { type Pinning, pin, unpinned } from "./pinning.ts";
import { BenchError, blame, delays, Runner, type Setting, throughput } from "./rounds.ts";
import { slowRun } from "./slow.ts";

const STALL_MS = 5_000;
// Joining a group is part of it.
const QUICK_STALL_MS = 2_000;
const VERIFIED = 5_000;
const QUICK_VERIFIED = 200;

export interface BenchWiring {
  readonly log: (text: string) => void;
  /** Columns instead of the adapter's own; for tests. */
  readonly columns?: readonly Found[] | undefined;
}

/** Everything that stays the same while one adapter is measured. */
interface Session {
  readonly options: BenchOptions;
  readonly pinning: Pinning;
  readonly columns: readonly Found[];
  readonly natives: readonly Native[];
  readonly log: (text: string) => void;
}

/** Measures one adapter. Rejects with `BenchError` as soon as a column fails: the figures of a run that loses messages are worth nothing. */
export async function runAdapter(options: BenchOptions, wiring: BenchWiring): Promise<Result> {
  const { adapter } = options;
  const all = wiring.columns ?? (await columnsOf(adapter));
  const columns = options.columns.length === 0 ? all : all.filter(({ name }) => options.columns.includes(name));
  const sites = (await sitesOf(adapter)).filter(({ name }) => options.sites.length === 0 || options.sites.includes(name));
  if (columns.length === 0 || sites.length === 0) {
    throw new BenchError(`Nothing to measure. Columns: ${all.map(({ name }) => name).join(", ")}.`);
  }
  const pinning = options.pin ? pin() : unpinned();
  const session: Session = { options, pinning, columns, natives: await nativesOf(adapter), log: wiring.log };
  const built = options.extras && (await buildPackages(columns.flatMap(({ column }) => column.packages({ adapter })).filter(isOurs)));
  const runs: Run[] = [];
  const curves: CurveResult[] = [];
  const versions: Record<string, string> = {};
  for (const recipe of sites) {
    const folder = await mkdtemp(join(tmpdir(), "brokerkit-bench-"));
    const running = await recipe.start(folder);
    try {
      Object.assign(versions, running.versions);
      for (const name of options.onlyCurves ? [] : options.workloads)
        runs.push(await runWorkload(session, recipe, running, workload(name), built));
      for (const name of options.curves) curves.push(await runCurve(session, recipe, running, curve(name)));
    } finally {
      await running.close();
      await rm(folder, { recursive: true, force: true, maxRetries: 3 });
    }
  }
  for (const name of new Set(columns.flatMap(({ column }) => column.packages({ adapter }))))
    versions[name] = versionOf(name) ?? "not installed";
  return { format: 1, adapter, machine: machine(pinning.words), versions, runs, curves };
}

const isOurs = (name: string): boolean => name === "brokerkit" || name.startsWith("@brokerkit/");

function settingOf({ options, pinning, log }: Session, running: RunningSite, what: Workload): Setting {
  const settle = running.settle ?? (async () => {});
  return { site: running.site, workload: fitted(what), pinning, stallMs: options.quick ? QUICK_STALL_MS : STALL_MS, settle, log };
}

async function runWorkload(session: Session, recipe: SiteRecipe, running: RunningSite, what: Workload, built: boolean): Promise<Run> {
  const { options, natives, log } = session;
  log(`${options.adapter}, ${recipe.name}, workload ${what.name}`);
  const setting = settingOf(session, running, what);
  const runners = session.columns.map((found) => new Runner(found, setting));
  const tools = new Map<Native, number[]>(options.extras ? natives.map((native) => [native, []]) : []);
  const verified = new Map<Runner, Verified | null>();
  let load: number[];
  try {
    load = await throughput(runners, options.rounds, setting, () => runTools(tools, setting));
    await delays(runners, options.rounds, setting);
    // The floor keeps nothing of a message that a checker could look at.
    for (const runner of runners) if (runner.found.column.kind !== "floor") verified.set(runner, await verify(runner, options.quick));
  } finally {
    await Promise.all(runners.map((runner) => runner.close()));
  }
  const slow = options.extras && running.shared ? await slowRuns(session, runners, setting) : new Map();
  const cold = options.extras ? await startCold(session, setting, built) : new Map<string, number[]>();
  const columns = runners.map((runner): ColumnResult => {
    const { found, rounds, idle, half } = runner;
    const { title, kind, summary } = found.column;
    return {
      name: found.name,
      title,
      kind,
      summary,
      rounds,
      idle,
      half,
      verified: verified.get(runner) ?? null,
      slow: slow.get(found.name) ?? null,
      cold: cold.get(found.name) ?? [],
      installed: options.extras ? (installed(found.column.packages(setting.site)) ?? null) : null,
    };
  });
  const { name, durability } = recipe;
  const tooled = [...tools].map(([{ title, summary }, rates]): NativeResult => ({ title, summary, perSecond: rates }));
  return { site: { name, durability }, workload: what, load, columns, natives: tooled.filter((tool) => tool.perSecond.length > 0) };
}

/** One run of each load tool that is installed, on the clients' core. */
async function runTools(tools: ReadonlyMap<Native, number[]>, { site, workload: what, pinning }: Setting): Promise<void> {
  for (const [native, rates] of tools) {
    const command = native.command(site, what, what.count);
    if (command === undefined) continue;
    const [file, args] = pinning.client(command[0] as string, command.slice(1));
    const { stdout } = await promisify(execFile)(file, args, { maxBuffer: 16 * 2 ** 20 });
    const rate = native.read(stdout);
    if (Number.isFinite(rate)) rates.push(rate);
  }
}

async function verify(runner: Runner, quick: boolean): Promise<Verified | null> {
  const folder = await mkdtemp(join(tmpdir(), "brokerkit-bench-history-"));
  try {
    const count = quick ? QUICK_VERIFIED : VERIFIED;
    const verdict = await runner.ask("being verified", "verify", { folder, count });
    if (verdict !== null && verdict.reasons.length > 0) {
      throw new BenchError(`Column "${runner.found.name}" did not pass the history checker: ${verdict.reasons.join("; ")}`);
    }
    return verdict;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function slowRuns(
  { log, pinning }: Session,
  runners: readonly Runner[],
  setting: Setting,
): Promise<Map<string, ColumnResult["slow"]>> {
  const results = new Map<string, ColumnResult["slow"]>();
  for (const { found, rounds } of runners) {
    if (found.column.kind !== "sdk" && found.column.kind !== "tuned") continue;
    log(`slow consumer of ${found.name}`);
    const rate = summaryOf(rounds.map((round) => perSecond(round.live)))?.median ?? 1_000;
    results.set(found.name, await blame(found, "consuming slowly", () => slowRun(found, setting.site, workload("slow"), rate, pinning)));
    await setting.settle();
  }
  return results;
}

async function startCold({ columns, pinning, log }: Session, setting: Setting, built: boolean): Promise<Map<string, number[]>> {
  const starting = columns.filter(({ column }) => column.latency && (built || !column.packages(setting.site).some(isOurs)));
  if (starting.length === 0) return new Map();
  log("cold starts");
  return coldStarts(starting, setting.site, setting.workload, pinning);
}

/** One value of the workload after the other; brokerkit's default column and the tuned clients. */
async function runCurve(
  session: Session,
  recipe: SiteRecipe,
  running: RunningSite,
  { name, values, with: more }: Curve,
): Promise<CurveResult> {
  const { options, log } = session;
  const found = session.columns.filter((one) => one.name === "default" || one.column.kind === "tuned");
  const points: CurveResult["points"][number][] = [];
  for (const value of values) {
    log(`curve ${name} at ${value}`);
    const setting = settingOf(session, running, { ...workload("base"), ...more, warmUpMs: 500, [name]: value });
    const runners = found.map((one) => new Runner(one, setting));
    try {
      await throughput(runners, Math.min(3, options.rounds), setting, async () => {});
    } finally {
      await Promise.all(runners.map((runner) => runner.close()));
    }
    const columns = runners.map((runner) => ({ name: runner.found.name, title: runner.found.column.title, rounds: runner.rounds }));
    points.push({ value, columns });
  }
  return { name, site: recipe.name, points };
}
