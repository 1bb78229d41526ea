import { cpus, loadavg, type as system, totalmem } from "node:os";

/** Where figures come from, without a date or a name. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly system: string;
  readonly node: string;
  readonly pinning: string;
}

export function machine(pinning: string): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${system()}, ${process.arch}`,
    node: process.version,
    pinning,
  };
}

/** Processes that want to run, averaged over the last minute. */
export function load(): number {
  return Math.round((loadavg()[0] ?? 0) * 100) / 100;
}
