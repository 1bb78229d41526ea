import { open } from "node:fs/promises";
import { until } from "../faults/until.ts";
import type { BrokerRecipe, Endpoint } from "./recipe.ts";

const lookMs = 5_000;
const logBytes = 4_000;
/** A crash may print every thread's stack behind its reason. */
const crashBytes = 1_000_000;
const lastLines = 20;

/** The last lines of a log file, of at most so many bytes; "" if there is none. */
export async function tailOf(path: string, bytes: number = logBytes): Promise<string> {
  try {
    const file = await open(path);
    try {
      const { size } = await file.stat();
      const from = Math.max(0, size - bytes);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(bytes), 0, bytes, from);
      return buffer.subarray(0, bytesRead).toString().trimEnd();
    } finally {
      await file.close();
    }
  } catch {
    return "";
  }
}

/** The 20 lines of a log that tell why a process ended: from a crash's first line on, or else the last ones. */
export async function lastWords(path: string): Promise<string> {
  const lines = (await tailOf(path, crashBytes)).split("\n");
  const crash = lines.findIndex((line) => /^(panic|fatal error|FATAL|Exception in thread)\b/.test(line));
  return (crash === -1 ? lines.slice(-lastLines) : lines.slice(crash, crash + lastLines)).join("\n");
}

/** Waits until the broker serves, by its recipe's probe; each look is given 5 s. `signal` ends the wait with its reason. */
export async function untilReady(recipe: BrokerRecipe, endpoint: Endpoint, signal?: AbortSignal): Promise<void> {
  const look = async (): Promise<true> => {
    await recipe.ready(endpoint, AbortSignal.timeout(lookMs));
    return true;
  };
  const what = `${recipe.name} to serve at ${endpoint.host}:${endpoint.port}`;
  await until(look, { timeoutMs: recipe.readyMs ?? 30_000, everyMs: 25, what, signal });
}

export function askVersion(recipe: BrokerRecipe, endpoint: Endpoint): Promise<string> {
  return recipe.version(endpoint, AbortSignal.timeout(10_000));
}
