import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { Writable } from "node:stream";
import { guardGroup, releaseGroup } from "./guard.ts";
import { Lines } from "./lines.ts";
import { TimeoutError, until } from "./until.ts";

export interface ProcessOptions {
  /** Name for messages. Default: the command. */
  readonly name?: string | undefined;
  /** Program: a path, or a name on PATH. */
  readonly command: string;
  readonly args?: readonly string[] | undefined;
  readonly cwd?: string | undefined;
  /** The whole environment. Default: this process's own. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  /** Path of a file that takes the output, appended. Default: the lines are kept in memory for `line` and `output`. */
  readonly log?: string | undefined;
}

/** How a process ended: its code, or the signal that ended it. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/**
 * A child of our own, with its process group. Signals go to that group, by number, never by name. It is killed when this process ends, even
 * by a SIGKILL. It speaks lines: `send` writes to its standard input, `line` waits for its standard output.
 */
export interface RunningProcess extends AsyncDisposable {
  readonly name: string;
  readonly pid: number;
  /** Resolves when it has ended; never rejects. */
  readonly exited: Promise<Exit>;
  /** Set once it has ended. */
  readonly exit: Exit | undefined;
  /** The newest lines of both outputs, for messages; "" where a log file takes them. */
  output(): string;
  /** Writes one line to its standard input. Rejects when it has ended. */
  send(line: string): Promise<void>;
  /**
   * The next line of standard output that fits, among those behind the line that the call before this one found.
   * @throws TimeoutError after `timeoutMs` (default 30,000), Error at once when the process ended without it; both with the output
   */
  line(fits: string | RegExp | ((line: string) => boolean), options?: { readonly timeoutMs?: number | undefined }): Promise<string>;
  /** SIGKILL, and waits for the end. Frozen processes die too. Does nothing to one that has ended. */
  kill(): Promise<Exit>;
  /** SIGTERM, and SIGKILL after `graceMs` (default 5,000); waits for the end. */
  terminate(graceMs?: number): Promise<Exit>;
  /** SIGSTOP; resolves when it stands still. */
  freeze(): Promise<void>;
  /** SIGCONT. */
  thaw(): Promise<void>;
}

// The child waits for its guard to be told of it, so that there is no moment in which it could outlive us.
const gate = 'read -r go || exit 125; exec "$@"';
const gateWithoutInput = `${gate} </dev/null`;

/** The state letter of /proc/<pid>/stat; undefined where there is no /proc or no such process. */
async function stateOf(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return text.slice(text.lastIndexOf(")") + 2)[0];
}

class Child implements RunningProcess {
  readonly name: string;
  readonly pid: number;
  readonly exited: Promise<Exit>;
  exit: Exit | undefined;
  readonly #stdin: Writable | null;
  readonly #out = new Lines();
  readonly #all = new Lines();

  constructor(name: string, pid: number, child: ChildProcess) {
    this.name = name;
    this.pid = pid;
    this.#stdin = child.stdin;
    // A write to a child that has just ended is reported by `send`.
    this.#stdin?.on("error", () => undefined);
    child.stdout?.on("data", (chunk: Buffer) => {
      this.#out.push(chunk);
      this.#all.push(chunk);
    });
    child.stderr?.on("data", (chunk: Buffer) => this.#all.push(chunk));
    this.exited = new Promise((resolve) => {
      const end = (code: number | null, signal: NodeJS.Signals | null): void => {
        if (this.exit !== undefined) return;
        this.exit = { code, signal };
        this.#out.end();
        this.#all.end();
        const done = (): void => resolve({ code, signal });
        releaseGroup(pid).then(done, done);
      };
      child.once("exit", (code, signal) => {
        // What it left behind in its group ends with it.
        this.#signal("SIGKILL");
        // The rest of the output comes before "close"; a grandchild outside the group that keeps it open must not hide the end.
        const timer = setTimeout(end, 200, code, signal);
        child.once("close", () => {
          clearTimeout(timer);
          end(code, signal);
        });
      });
    });
  }

  #signal(signal: NodeJS.Signals): void {
    try {
      process.kill(-this.pid, signal);
    } catch {
      // The group is gone already.
    }
  }

  output(): string {
    return this.#all.tail(40);
  }

  async send(line: string): Promise<void> {
    const stdin = this.#stdin;
    if (this.exit !== undefined || stdin === null) throw new Error(`${this.name} has ended and cannot be told "${line}"`);
    await new Promise<void>((resolve, reject) => stdin.write(`${line}\n`, (error) => (error ? reject(error) : resolve())));
  }

  async line(
    fits: string | RegExp | ((line: string) => boolean),
    options: { readonly timeoutMs?: number | undefined } = {},
  ): Promise<string> {
    const { timeoutMs = 30_000 } = options;
    const test =
      typeof fits === "function"
        ? fits
        : typeof fits === "string"
          ? (line: string): boolean => line === fits
          : (line: string): boolean => fits.test(line);
    const what = `the line ${typeof fits === "function" ? "asked for" : String(fits)} from ${this.name}`;
    const found = this.#out.take(test);
    if (found !== undefined) return found;
    return new Promise((resolve, reject) => {
      const finish = (deed: () => void): void => {
        clearTimeout(timer);
        forget();
        deed();
      };
      const look = (): boolean => {
        const line = this.#out.take(test);
        if (line !== undefined) finish(() => resolve(line));
        return line !== undefined;
      };
      const forget = this.#out.listen(look);
      const timer = setTimeout(
        () => finish(() => reject(new TimeoutError(`waited ${timeoutMs} ms for ${what}; its output:\n${this.output()}`))),
        timeoutMs,
      );
      void this.exited.then(({ code, signal }) => {
        if (!look())
          finish(() =>
            reject(new Error(`${this.name} ended (${signal ?? `code ${code}`}) without ${what}; its output:\n${this.output()}`)),
          );
      });
    });
  }

  async kill(): Promise<Exit> {
    if (this.exit === undefined) this.#signal("SIGKILL");
    return this.exited;
  }

  async terminate(graceMs = 5_000): Promise<Exit> {
    if (this.exit === undefined) {
      this.#signal("SIGTERM");
      // A frozen process would only take the SIGTERM once it goes on.
      this.#signal("SIGCONT");
    }
    const timer = setTimeout(() => void this.kill(), graceMs);
    try {
      return await this.exited;
    } finally {
      clearTimeout(timer);
    }
  }

  async freeze(): Promise<void> {
    this.#signal("SIGSTOP");
    if (process.platform !== "linux") return;
    await until(async () => this.exit !== undefined || (await stateOf(this.pid)) === "T", {
      timeoutMs: 5_000,
      what: `${this.name} to stand still`,
    });
  }

  async thaw(): Promise<void> {
    this.#signal("SIGCONT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

/**
 * Starts a process.
 * @throws when the program can't be started; a program that isn't there ends with code 126 or 127 instead
 */
export async function startProcess(options: ProcessOptions): Promise<RunningProcess> {
  const { command, args = [], cwd, env, log, name = command } = options;
  if (process.platform === "win32") throw new Error("processes with faults need a POSIX system");
  const output = log === undefined ? "pipe" : openSync(log, "a");
  try {
    const script = log === undefined ? gate : gateWithoutInput;
    const child = spawn("/bin/sh", ["-c", script, "sh", command, ...args], {
      cwd,
      env: env === undefined ? process.env : { ...env },
      detached: true,
      stdio: ["pipe", output, output],
    });
    if (child.pid === undefined) {
      await once(child, "spawn");
      throw new Error(`${name} did not start`);
    }
    const running = new Child(name, child.pid, child);
    await guardGroup(child.pid);
    await running.send("go");
    return running;
  } finally {
    if (typeof output === "number") closeSync(output);
  }
}
