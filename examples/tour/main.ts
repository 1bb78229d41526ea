// `npm start`: the tour. What it plays is in scenes.ts, the application that it plays with in app.ts.
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { exitCodeOf, type Judgement, judge, keepClaims, showVerdict, showWhereToLook } from "./judge.ts";
import { HELP, readOptions, type TourOptions, UsageError } from "./options.ts";
import { claimsOf, type Reader } from "./plan.ts";
import { deadLetter, fault, opening, remember, replay, rest } from "./scenes.ts";
import { Screen } from "./screen.ts";
import { type Shown, Stage, TourError } from "./stage.ts";

interface Outcome extends Judgement {
  readonly shown: readonly Shown[];
}

/** Plays the tour and judges it. */
async function play(
  options: TourOptions,
  url: string,
  folder: string,
  history: string,
  screen: Screen,
  signal: AbortSignal,
): Promise<Outcome> {
  const setting = { url, orders: options.orders, fault: options.fault, history, fix: join(folder, "fixed"), screen, signal };
  await using stage = await Stage.open(setting);
  await opening(stage);
  const moment = await remember(stage);
  await fault(stage);
  const replayed = await replay(stage, moment);
  await rest(stage);
  await deadLetter(stage);
  await stage.dismiss();
  await stage.finish();
  const readers = stage.workers.map(({ name, begun }): Reader => ({ name, since: begun?.since ?? 0 }));
  keepClaims(history, claimsOf(stage.plan, readers, replayed));
  return { ...judge(history), shown: stage.shown };
}

function show(screen: Screen, outcome: Outcome): void {
  screen.line();
  showVerdict(screen, outcome, outcome.shown);
}

async function run(options: TourOptions, screen: Screen): Promise<number> {
  const began = performance.now();
  const end = new AbortController();
  const interrupt = (): void => end.abort(new TourError("interrupted"));
  process.once("SIGINT", interrupt).once("SIGTERM", interrupt);

  const folder = mkdtempSync(join(tmpdir(), "brokerkit-tour-"));
  let keep = false;
  try {
    const history = options.history === undefined ? join(folder, "history") : resolve(options.history);
    mkdirSync(history, { recursive: true });
    if (readdirSync(history).length > 0) throw new UsageError(`${history} is not empty: a history takes a folder of its own`);
    const url = process.env["BROKER_URL"] ?? `sqlite:${join(folder, "tour.db")}`;
    const outcome = await play(options, url, folder, history, screen, end.signal);
    const { verdict } = outcome;
    keep = !verdict.valid && options.history === undefined;
    show(screen, outcome);
    if (!verdict.valid) showWhereToLook(screen, history, verdict);
    else if (options.history !== undefined) screen.line(`The history is in ${history}.`);
    screen.line(`${((performance.now() - began) / 1_000).toFixed(1)} s in all`);
    if (options.json) {
      const backend = url.slice(0, url.indexOf(":"));
      const kept = keep || options.history !== undefined ? history : undefined;
      process.stdout.write(`${JSON.stringify({ backend, exitCode: exitCodeOf(verdict), ...outcome, history: kept }, undefined, 2)}\n`);
    }
    return exitCodeOf(verdict);
  } finally {
    if (!keep) rmSync(folder, { recursive: true, force: true });
  }
}

function again(options: TourOptions, dir: string, screen: Screen): number {
  const judgement = judge(dir);
  const { verdict } = judgement;
  if (options.json)
    process.stdout.write(`${JSON.stringify({ exitCode: exitCodeOf(verdict), ...judgement, history: dir }, undefined, 2)}\n`);
  show(screen, { ...judgement, shown: [] });
  if (!verdict.valid) showWhereToLook(screen, dir, verdict);
  return exitCodeOf(verdict);
}

async function main(): Promise<number> {
  try {
    const options = readOptions(process.argv.slice(2));
    if (options.help) {
      process.stdout.write(`${HELP}\n`);
      return 0;
    }
    const screen = new Screen(options.json ? process.stderr : process.stdout);
    return options.judge === undefined ? await run(options, screen) : again(options, resolve(options.judge), screen);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    process.stderr.write(`tour: ${text}\n`);
    if (error instanceof UsageError) process.stderr.write("tour: npm start -- --help says what there is\n");
    return 2;
  }
}

process.exitCode = await main();
