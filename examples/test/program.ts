// Runs a program of this folder as a user would: a process of its own, under this Node, from its sources.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";

/** Node's own place for compiled code: many short processes load the same sources. */
const CACHE = process.env["NODE_COMPILE_CACHE"] ?? join(tmpdir(), "node-compile-cache");

export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** @param file relative to examples/ */
export async function run(
  file: string,
  args: readonly string[] = [],
  env: Readonly<Record<string, string | undefined>> = {},
): Promise<Ended> {
  const program = fileURLToPath(new URL(`../${file}`, import.meta.url));
  const flags = ["--conditions=@brokerkit/source", "--disable-warning=ExperimentalWarning"];
  const child = spawn(process.execPath, [...flags, program, ...args], {
    env: { ...process.env, BROKER_URL: undefined, NODE_OPTIONS: undefined, NODE_COMPILE_CACHE: CACHE, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  // Where a test's time is over it still runs.
  onTestFinished(() => void child.kill());
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close") as Promise<[number | null]>]);
  return { code, out, err };
}
