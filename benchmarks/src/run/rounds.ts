import type { Site } from "../measure/column.ts";
import type { Delays } from "../measure/percentiles.ts";
import type { Workload } from "../measure/workload.ts";
import { perSecond, summaryOf } from "../report/statistics.ts";
import { ClientProcess } from "../worker/client.ts";
import type { Round, TaskName, Tasks } from "../worker/protocol.ts";
import type { Found } from "./discover.ts";
import { interleaved } from "./interleave.ts";
import { load } from "./machine.ts";
import type { Pinning } from "./pinning.ts";

/** A column failed: it lost a message, or could not be run. */
export class BenchError extends Error {
  override readonly name = "BenchError";
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

/** A column at work: its client process of the moment, and what it has measured. */
export class Runner {
  readonly found: Found;
  readonly rounds: Round[] = [];
  readonly idle: Delays[] = [];
  readonly half: Delays[] = [];
  readonly #setting: Setting;
  #client: ClientProcess | undefined;
  #count = 0;

  constructor(found: Found, setting: Setting) {
    this.found = found;
    this.#setting = setting;
  }

  /**
   * Starts a new client process and warms it up; what it measures meanwhile is thrown away. Now and then V8 optimises a process less well
   * than others, for good: with a new process for each round that shows in the spread instead of in a column.
   */
  async fresh(): Promise<void> {
    await this.close();
    const { site, workload, pinning, stallMs } = this.#setting;
    this.#client = new ClientProcess(pinning);
    await this.ask("opening", "open", { column: this.found.path, site, workload, stallMs, brokerCore: pinning.brokerCore });
    this.#count = (await this.ask("warming up", "warmUp", {})).count;
  }

  async round(): Promise<void> {
    this.rounds.push(await this.ask("running a round", "round", { count: this.#count }));
  }

  /** Rejects with `BenchError`. */
  ask<N extends TaskName>(doing: string, task: N, ask: Tasks[N]["ask"]): Promise<Tasks[N]["answer"]> {
    return blame(this.found, doing, () => {
      if (this.#client === undefined) throw new Error("its process was not started");
      return this.#client.ask(task, ask);
    });
  }

  async close(): Promise<void> {
    await this.#client?.close();
    this.#client = undefined;
  }
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
    for (const runner of order) {
      await runner.fresh();
      await runner.round();
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
    for (const runner of order) {
      const own = summaryOf(runner.rounds.map((round) => perSecond(round.live)))?.median ?? latency.perSecond;
      const at = (rate: number): Promise<Delays> => runner.ask("being timed", "latency", { perSecond: rate, ms: latency.ms });
      runner.idle.push(await at(latency.perSecond));
      runner.half.push(await at(Math.max(1, Math.round(own / 2))));
    }
    await setting.settle();
  }
}
