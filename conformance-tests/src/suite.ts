import { BrokerUnavailableError } from "./brokers/index.ts";
import { CASES } from "./cases/index.ts";
import type { AdapterHarness, Harness } from "./harness.ts";
import { makeReport, slowest, writeReport } from "./report.ts";
import { type CaseResult, Run } from "./run.ts";
import { Schedule } from "./schedule.ts";

/** What both runners hand to a test. */
export interface TestContext {
  skip(note?: string): unknown;
}

/** The functions of a test runner: Vitest's and node:test's fit. Times are ms. */
export interface Runner {
  readonly describe: (name: string, body: () => void) => unknown;
  readonly test: (name: string, options: { readonly timeout: number }, body: (context: TestContext) => Promise<void>) => unknown;
  readonly afterAll: (body: () => Promise<void>) => unknown;
}

/** Cases that run side by side. */
const BESIDE = 8;
/** Longer than the limits of two cases: one may have to wait for its place. */
const TIMEOUT_MS = 900_000;
/** No gap is allowed here: these are the promises that everything else stands on. */
const WITHOUT_GAPS = /^(publish|ack|nack|dead-letter|order)\//;

/**
 * Registers the suite for every adapter of a harness.
 *
 * Environment: `BROKERKIT_CASES` runs only the cases whose id holds that text; `BROKERKIT_SEED` repeats a run; `BROKERKIT_REPORTS` is the
 * folder of the JSON reports (default `reports`); `BROKERKIT_RECORD` is a folder that takes the report as well, to be committed;
 * `BROKERKIT_CHAOS=1` makes stops last 30 s and kills servers five times.
 */
export function conformance(runner: Runner, harness: Harness): void {
  for (const adapter of harness.adapters) {
    runner.describe(`conformance: ${adapter.name}`, () => registerAdapter(runner, harness, adapter));
  }
}

function registerAdapter(runner: Runner, whole: Harness, harness: AdapterHarness): void {
  const { env } = process;
  const wanted = env["BROKERKIT_CASES"];
  const cases = CASES.filter((one) => wanted === undefined || wanted === "" || one.id.includes(wanted));
  const run = new Run(whole, harness, { seed: env["BROKERKIT_SEED"] });
  const schedule = new Schedule(cases, harness.beside ?? BESIDE, (one) => run.run(one));

  runner.test("known gaps are gaps, where gaps are allowed", { timeout: TIMEOUT_MS }, async () => checkGaps(harness));
  for (const [index, one] of cases.entries()) {
    runner.test(one.id, { timeout: TIMEOUT_MS }, async (context) => {
      const result = await schedule.result(index);
      // Where there is no way to get the server, nothing is proved: skipped on a desk, a failure where it counts.
      if (result.error instanceof BrokerUnavailableError && env["CI"] !== "true") return void context.skip(result.error.message);
      if (result.outcome === "fail") throw describeFailure(result, run.seed);
    });
  }
  runner.afterAll(async () => {
    const served = !run.results.some((result) => result.error instanceof BrokerUnavailableError);
    const all = served && cases.length === CASES.length && run.results.length === cases.length;
    if (all) {
      const report = await makeReport(run);
      writeReport(report, env["BROKERKIT_REPORTS"] ?? "reports");
      // A personality is recorded under the adapter that it plays.
      if (env["BROKERKIT_RECORD"] !== undefined && !harness.name.includes("?")) writeReport(report, env["BROKERKIT_RECORD"]);
      console.log(
        `${harness.name}: ${Object.entries(report.counts)
          .map(([name, count]) => `${count} ${name}`)
          .join(", ")}; seed ${run.seed}\nslowest cases:\n${slowest(run.results)}`,
      );
    }
    await run.close();
  });
}

function checkGaps(harness: AdapterHarness): void {
  for (const gap of harness.gaps ?? []) {
    if (!CASES.some((one) => one.id === gap.case)) throw new Error(`The known gap "${gap.case}" names no case.`);
    if (WITHOUT_GAPS.test(gap.case))
      throw new Error(`The known gap "${gap.case}": no gap is allowed in publish, ack, nack, dead-letter and order.`);
    if (gap.reason.length < 10 || gap.issue === "") throw new Error(`The known gap "${gap.case}" needs a reason and an issue.`);
  }
}

function describeFailure(result: CaseResult, seed: string): Error {
  const states = CASES.find((one) => one.id === result.id)?.states ?? "";
  const why = result.error instanceof Error ? result.error.message : String(result.error);
  const logs = result.serverLogs ? `\nIts server wrote last:\n${result.serverLogs}` : "";
  const failure = new Error(`${result.id}: ${why}\n  the case states: ${states}\n  seed ${seed}, after ${result.ms} ms${logs}`, {
    cause: result.error,
  });
  if (result.error instanceof Error && result.error.stack !== undefined) failure.stack = `${failure.message}\n${result.error.stack}`;
  return failure;
}
