import type { Site } from "../measure/column.ts";
import type { Delays } from "../measure/percentiles.ts";
import type { Workload } from "../measure/workload.ts";
import { perSecond, summaryOf } from "../report/statistics.ts";
import { ClientProcess } from "../worker/client.ts";
import type { Round } from "../worker/protocol.ts";
import type { Found } from "./discover.ts";
import { interleaved } from "./interleave.ts";
import { load } from "./machine.ts";
import type { Pinning } from "./pinning.ts";

/** A column failed: it lost a message, or could not be run. */
export class BenchError extends Error {
  override readonly name = "BenchError";
}

/** A column with its client process and what it has measured. */
export interface Runner {
  readonly found: Found;
  readonly client: ClientProcess;
  readonly count: number;
  readonly rounds: Round[];
  readonly idle: Delays[];
  readonly half: Delays[];
}

export interface Setting {
  readonly site: Site;
  readonly workload: Workload;
  readonly pinning: Pinning;
  readonly stallMs: number;
  readonly settle: () => Promise<void>;
  readonly log: (text: string) => void;
}

/** Runs `work`, and says whose failure it was. */
export async function blame<T>(found: Found, doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    throw new BenchError(`Column "${found.name}" failed while ${doing}: ${text}`, { cause: error });
  }
}

/** Opens each column in a process of its own and warms it up; what it measures meanwhile is thrown away. */
export async function open(found: readonly Found[], setting: Setting): Promise<Runner[]> {
  const { site, workload, pinning, stallMs, log } = setting;
  const runners: Runner[] = [];
  try {
    for (const one of found) {
      log(`warming up ${one.name}`);
      const client = new ClientProcess(pinning);
      const runner = { found: one, client, count: 0, rounds: [], idle: [], half: [] };
      runners.push(runner);
      await blame(one, "opening", () => client.ask("open", { column: one.path, site, workload, stallMs }));
      const { count } = await blame(one, "warming up", () => client.ask("warmUp", {}));
      runners[runners.length - 1] = { ...runner, count };
    }
    return runners;
  } catch (error) {
    await close(runners);
    throw error;
  }
}

export async function close(runners: readonly Runner[]): Promise<void> {
  await Promise.all(runners.map(({ client }) => client.close()));
}

/** Throughput, interleaved; gives the load before each round. */
export async function throughput(
  runners: readonly Runner[],
  rounds: number,
  setting: Setting,
  beside: () => Promise<void>,
): Promise<number[]> {
  const loads: number[] = [];
  for (const [n, order] of interleaved(runners, rounds).entries()) {
    loads.push(load());
    setting.log(`round ${n + 1} of ${rounds} (load ${loads.at(-1)})`);
    for (const { found, client, count, rounds: results } of order) {
      results.push(await blame(found, `running round ${n + 1}`, () => client.ask("round", { count })));
    }
    await beside();
    await setting.settle();
  }
  return loads;
}

/** Delays at the common rate and at half of each column's own, interleaved. */
export async function delays(runners: readonly Runner[], rounds: number, setting: Setting): Promise<void> {
  const { latency } = setting.workload;
  if (latency === null) return;
  const timed = runners.filter(({ found }) => found.column.latency);
  for (const [n, order] of interleaved(timed, rounds).entries()) {
    setting.log(`delays, round ${n + 1} of ${rounds} (load ${load()})`);
    for (const { found, client, rounds: results, idle, half } of order) {
      const own = summaryOf(results.map((round) => perSecond(round.live)))?.median ?? latency.perSecond;
      const at = (rate: number) => blame(found, "timing", () => client.ask("latency", { perSecond: rate, ms: latency.ms }));
      idle.push(await at(latency.perSecond));
      half.push(await at(Math.max(1, Math.round(own / 2))));
    }
    await setting.settle();
  }
}
