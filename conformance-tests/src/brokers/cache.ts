import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { claim } from "../faults/claim.ts";
import { until } from "../faults/until.ts";

/** The folder for what is fetched once and shared between runs and checkouts. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  const base = env["XDG_CACHE_HOME"];
  return join(base === undefined || base === "" ? join(homedir(), ".cache") : base, "brokerkit");
}

/**
 * Runs `work` while no other process runs it under the same lock file. A lock left by a process that is gone is taken over.
 * @param waitMs how long to wait for another process to be done
 */
export async function withLock<T>(path: string, waitMs: number, work: () => Promise<T>): Promise<T> {
  const what = `the lock ${path}, which another process holds`;
  await until(() => claim(path), { timeoutMs: waitMs, everyMs: 50, what });
  try {
    return await work();
  } finally {
    await rm(path, { force: true });
  }
}

/**
 * A folder of the cache that is filled once, also when several processes ask at the same time. It appears under its name only when complete.
 * @param fill fills an empty folder; if it rejects, nothing is left behind and the next caller tries again
 * @returns the folder's path
 */
export async function cached(cache: string, name: string, fill: (folder: string) => Promise<void>): Promise<string> {
  const path = join(cache, name);
  if (existsSync(path)) return path;
  await mkdir(cache, { recursive: true });
  return withLock(`${path}.lock`, 15 * 60_000, async () => {
    if (existsSync(path)) return path;
    const draft = await mkdtemp(`${path}.part-`);
    try {
      await fill(draft);
      await rename(draft, path);
    } finally {
      await rm(draft, { recursive: true, force: true });
    }
    return path;
  });
}
