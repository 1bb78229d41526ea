// One process of the tour, in the director's hands.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type RunningProcess, startProcess } from "@brokerkit/conformance/faults";
import type { Command, Job, Report } from "./line.ts";
import type { Counts, DeadLettered, Moment } from "./witness.ts";

const PROGRAM = fileURLToPath(new URL("./member.ts", import.meta.url));
const NOTHING: Counts = { confirmed: 0, received: 0, lost: 0, unknown: false };
/** Reports may stay away as long as they like: nothing is said where nothing happens. */
const NEVER = 2 ** 31 - 1;

export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** It ended by itself, or says that it can't go on. */
  readonly failed: (error: Error) => void;
  /** It has handled an order. */
  readonly handled: (id: string) => void;
}

export class Member {
  readonly job: Job;
  readonly handled = new Set<string>();
  readonly buried: DeadLettered[] = [];
  counts: Counts = NOTHING;
  /** Its newest delivery. */
  moment: Moment | undefined;
  ready = false;
  /** It says itself that it is connected and that its subscription runs. */
  healthy = false;
  begun: { readonly created: boolean; readonly since: number } | undefined;
  /** It has ended, and everything that it said was heard. */
  over = false;
  #killed = false;
  readonly #process: RunningProcess;
  readonly #surroundings: Surroundings;
  readonly #reading: Promise<void>;

  private constructor(job: Job, process: RunningProcess, surroundings: Surroundings) {
    this.job = job;
    this.#process = process;
    this.#surroundings = surroundings;
    this.#reading = this.#read();
  }

  static async start(job: Job, surroundings: Surroundings): Promise<Member> {
    const args = [...process.execArgv, PROGRAM, JSON.stringify(job)];
    const { env } = surroundings;
    return new Member(job, await startProcess({ name: job.name, command: process.execPath, args, env }), surroundings);
  }

  get name(): string {
    return this.job.name;
  }

  say(command: Command): Promise<void> {
    return this.#process.send(JSON.stringify(command));
  }

  /** SIGSTOP: it stands still when this resolves, and so does its history. */
  freeze(): Promise<void> {
    return this.#process.freeze();
  }

  thaw(): Promise<void> {
    return this.#process.thaw();
  }

  /** SIGKILL. What it had handled and could not say any more is read from its history. */
  async kill(): Promise<void> {
    if (this.#process.exit !== undefined) return;
    this.#killed = true;
    await this.#process.kill();
    await this.#reading;
    for (const id of this.read().done) this.#did(id);
  }

  /** Has it finish what is under way and end: `over` says when it has. */
  async stop(): Promise<void> {
    if (this.#process.exit === undefined) await this.say({ say: "stop" });
  }

  /** Differs from what it was before when anything has moved. */
  get mark(): string {
    const { confirmed, received, lost } = this.counts;
    return `${this.ready} ${this.begun !== undefined} ${confirmed} ${received} ${this.handled.size} ${lost} ${this.healthy} ${this.over}`;
  }

  /** What its history says at this moment: the orders in its handlers' hands, and those that are done. */
  read(): { readonly held: ReadonlySet<string>; readonly done: ReadonlySet<string> } {
    const held = new Set<string>();
    const done = new Set<string>();
    for (const { type, f, id } of eventsOf(this.job.history, this.name)) {
      if (f === "receive" && type === "ok") held.add(id);
      if (f !== "done") continue;
      held.delete(id);
      if (type === "ok") done.add(id);
    }
    return { held, done };
  }

  async #read(): Promise<void> {
    try {
      for (let over = false; !over; ) {
        const line = await this.#process.line(/^\{"say":/, { timeoutMs: NEVER });
        over = this.#heard(JSON.parse(line) as Report);
      }
    } catch (error) {
      if (!this.#killed) this.#surroundings.failed(error instanceof Error ? error : new Error(String(error)));
    } finally {
      await this.#process.exited;
      this.over = true;
    }
  }

  /** True: that was its last word. */
  #heard(report: Report): boolean {
    if (report.say === "ready") this.ready = true;
    else if (report.say === "begun") this.begun = report;
    else if (report.say === "failed") this.#surroundings.failed(new Error(`${this.name}: ${report.error}`));
    else if (report.say === "news") {
      this.healthy = report.healthy;
      this.counts = report.counts;
      this.moment = report.moment ?? this.moment;
      for (const id of report.handled) this.#did(id);
      this.buried.push(...report.buried);
    }
    return report.say === "ended";
  }

  #did(id: string): void {
    this.handled.add(id);
    this.#surroundings.handled(id);
  }
}

/** A process's history as it stands: the fields that the director looks at. */
export function* eventsOf(
  dir: string,
  name: string,
): Generator<{ readonly t: number; readonly type: string; readonly f: string; readonly id: string }, void, void> {
  const file = join(dir, `${name}.jsonl`);
  // It has only just been started.
  if (!existsSync(file)) return;
  for (const line of readFileSync(file, "utf8").split("\n")) {
    // A last line without its end was cut off in mid-write.
    if (line.endsWith("}")) yield JSON.parse(line);
  }
}
