import { createRequire } from "node:module";
import { type RunningProcess, startProcess } from "../faults/index.ts";
import { until } from "../wait.ts";
import type { WorkerJob } from "./worker.ts";

export interface Counts {
  readonly confirmed: number;
  readonly publishing: number;
  readonly received: number;
  readonly acknowledged: number;
  readonly unsettled: number;
}

/** Starts one of the programs of this folder under this Node, with the same module conditions. */
export async function startProgram(
  name: "worker" | "slow-consumer",
  args: readonly string[],
  flags: readonly string[] = [],
): Promise<RunningProcess> {
  // By the package's own name: the source in this repository, the built file in an installed package.
  const file = createRequire(import.meta.url).resolve(`@brokerkit/conformance/programs/${name}`);
  const inherited = process.execArgv.filter((flag, n, all) => {
    // Written as one argument or as two.
    const belongsTo = flag.startsWith("-") ? flag : (all[n - 1] ?? "");
    return /^(-C|--conditions)/.test(belongsTo) || flag.startsWith("--disable-warning=");
  });
  return await startProcess({ name, command: process.execPath, args: [...inherited, ...flags, file, ...args] });
}

export interface Worker {
  readonly process: RunningProcess;
  readonly counts: Counts;
  /** Waits until its counts say so. */
  reaches(condition: (counts: Counts) => boolean, what: string, ms?: number): Promise<void>;
  stop(): Promise<void>;
}

/** Starts a worker and waits until it has connected and subscribed. */
export async function startWorker(job: WorkerJob): Promise<Worker> {
  const child = await startProgram("worker", [JSON.stringify(job)]);
  await child.line("ready", { timeoutMs: 20_000 });
  let counts: Counts = { confirmed: 0, publishing: 0, received: 0, acknowledged: 0, unsettled: 0 };
  let reading = true;
  void (async (): Promise<void> => {
    while (reading && child.exit === undefined) {
      try {
        const line = await child.line(/^counts /, { timeoutMs: 60_000 });
        counts = JSON.parse(line.slice(7)) as Counts;
      } catch {
        return;
      }
    }
  })();
  return {
    process: child,
    get counts(): Counts {
      return counts;
    },
    reaches: (condition, what, ms) =>
      until(
        () => condition(counts),
        () => `${what}; counts were ${JSON.stringify(counts)}\n${child.output()}`,
        ms,
      ),
    async stop() {
      await child.send("stop");
      await child.exited;
      reading = false;
    },
  };
}
