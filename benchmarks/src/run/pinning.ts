import { execFileSync } from "node:child_process";

/** Who runs on which cores. */
export interface Pinning {
  /** For the report. */
  readonly words: string;
  /** The core that brokers have to themselves. */
  readonly brokerCore?: number | undefined;
  /** The command that starts a client on its core. */
  client(file: string, args: readonly string[]): readonly [file: string, args: string[]];
}

const UNPINNED: Pinning = { words: "no process is pinned", client: (file, args) => [file, [...args]] };

/** The cores of a list such as `0-2,5`. */
export function coresOf(list: string): number[] {
  const parts = list.split(",").map((part) => /^\s*(\d+)(?:-(\d+))?\s*$/.exec(part));
  return parts.flatMap((part) => {
    if (part === null) return [];
    const [from, to] = [Number(part[1]), Number(part[2] ?? part[1])];
    return Array.from({ length: to - from + 1 }, (_, n) => from + n);
  });
}

/**
 * Puts this process, and with it every broker that it starts from now on, on the first core; clients get the last. Without `taskset`, or
 * with one core, nobody is pinned.
 */
export function pin(): Pinning {
  try {
    const said = execFileSync("taskset", ["-cp", String(process.pid)], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    const cores = coresOf(said.slice(said.lastIndexOf(":") + 1));
    const [first, last] = [cores[0], cores.at(-1)];
    if (first === undefined || last === undefined || first === last) return UNPINNED;
    execFileSync("taskset", ["-a", "-cp", String(first), String(process.pid)], { stdio: "ignore" });
    return {
      words: "client and broker are pinned to a core each",
      brokerCore: first,
      client: (file, args) => ["taskset", ["-c", String(last), file, ...args]],
    };
  } catch {
    return UNPINNED;
  }
}

export const unpinned = (): Pinning => UNPINNED;
