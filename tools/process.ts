import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { delimiter, dirname } from "node:path";
import { ROOT } from "./workspace.ts";

export interface Ran {
  readonly code: number;
  /** Both streams as they came. */
  readonly output: string;
  readonly stdout: string;
}

export interface RunOptions {
  readonly cwd?: string;
  /** The whole environment; this process's own by default. */
  readonly env?: NodeJS.ProcessEnv;
  /** After so long the process and its children are ended, and that is what `code` and `output` say. */
  readonly timeoutMs?: number;
}

const running = new Set<ChildProcess>();

/** Ends a process that `start` began, with everything that it began itself. */
export function end(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    if (process.platform === "win32") child.kill(signal);
    else process.kill(-child.pid, signal);
  } catch {} // has just ended
}

/** Starts a process in a group of its own, so that ending it ends its children too. */
export function start(file: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  const child = spawn(file, args, { cwd: ROOT, ...options, detached: process.platform !== "win32" });
  running.add(child);
  child.once("close", () => running.delete(child));
  return child;
}

/** On Ctrl-C or SIGTERM nothing that was started stays behind. */
export function endAllOnSignal(): void {
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const) {
    process.on(signal, () => {
      for (const child of running) end(child, "SIGTERM");
      setTimeout(() => {
        for (const child of running) end(child, "SIGKILL");
        process.exit(code);
      }, 2_000);
    });
  }
}

/** The environment of a consumer: nothing of npm's own settings or of this checkout leaks into it. */
export function plainEnvironment(extra: Readonly<Record<string, string | undefined>> = {}): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_OPTIONS$|NODE_PATH$|INIT_CWD$)/i.test(name));
  const path = [dirname(process.execPath), process.env["PATH"] ?? ""].join(delimiter);
  return { ...Object.fromEntries(own), PATH: path, NO_COLOR: "1", ...extra };
}

/** Runs a program to its end; never rejects for its exit code. */
export function run(file: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = start(file, args, {
      cwd: options.cwd ?? ROOT,
      env: options.env ?? process.env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    let stdout = "";
    let late = false;
    const timeoutMs = options.timeoutMs ?? 600_000;
    const timer = setTimeout(() => {
      late = true;
      end(child, "SIGKILL");
    }, timeoutMs);
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      stdout += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    child.once("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.once("close", (code) => {
      clearTimeout(timer);
      resolve({ code: late ? 124 : (code ?? 1), output: late ? `${output}\nended after ${timeoutMs} ms` : output, stdout });
    });
  });
}

/** The end of a long output, where the reason stands. */
export function tail(output: string, lines = 40): string {
  return output.trim().split("\n").slice(-lines).join("\n");
}
