// The processes of the tour, in the director's hands.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type RunningProcess, startProcess } from "@brokerkit/conformance/faults";
import type { Command, Job, Report } from "./line.ts";
import type { Counts, DeadLettered, Moment } from "./witness.ts";

const PROGRAM = fileURLToPath(new URL("./member.ts", import.meta.url));
const NOTHING: Counts = { confirmed: 0, received: 0, unsettled: 0, lost: 0, unknown: false };

/** One process of the tour, and what it has said so far. */
export class Member {
  readonly job: Job;
  readonly handled = new Set<string>();
  readonly buried: DeadLettered[] = [];
  counts: Counts = NOTHING;
  moment: Moment | undefined;
  ready = false;
  begun: { readonly created: boolean; readonly since: number } | undefined;
  /** A producer's last order is published. */
  finished = false;
  killed = false;
  readonly #process: RunningProcess;
  readonly #failed: (error: Error) => void;
  #reading: Promise<void>;

  private constructor(job: Job, process: RunningProcess, failed: (error: Error) => void) {
    this.job = job;
    this.#process = process;
    this.#failed = failed;
    this.#reading = this.#read();
  }

  /** `failed` is called when it ends by itself, or says that it can't go on. */
  static async start(job: Job, env: Readonly<Record<string, string | undefined>>, failed: (error: Error) => void): Promise<Member> {
    const args = [...process.execArgv, PROGRAM, JSON.stringify(job)];
    return new Member(job, await startProcess({ name: job.name, command: process.execPath, args, env }), failed);
  }

  get name(): string {
    return this.job.name;
  }

  say(command: Command): Promise<void> {
    return this.#process.send(JSON.stringify(command));
  }

  freeze(): Promise<void> {
    return this.#process.freeze();
  }

  thaw(): Promise<void> {
    return this.#process.thaw();
  }

  async kill(): Promise<void> {
    this.killed = true;
    await this.#process.kill();
    await this.#reading;
  }

  /** Finishes what is under way and ends. */
  async stop(): Promise<void> {
    if (this.killed || this.#process.exit !== undefined) return;
    await this.say({ say: "stop" });
    await this.#process.exited;
    await this.#reading;
  }

  /** The orders that it has received and not handled, as its history says at this moment. */
  holding(): readonly string[] {
    const held = new Set<string>();
    for (const line of readFileSync(join(this.job.history, `${this.name}.jsonl`), "utf8").split("\n")) {
      if (!line.endsWith("}")) continue;
      const { type, f, id } = JSON.parse(line) as { type: string; f: string; id: string };
      if (f === "receive" && type === "ok") held.add(id);
      else if (f === "done") held.delete(id);
    }
    return [...held];
  }

  async #read(): Promise<void> {
    try {
      for (let over = false; !over; ) {
        const line = await this.#process.line(/^\{"say":/, { timeoutMs: 2 ** 31 - 1 });
        over = this.#heard(JSON.parse(line) as Report);
      }
    } catch (error) {
      if (!this.killed) this.#failed(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** True: that was its last word. */
  #heard(report: Report): boolean {
    if (report.say === "ready") this.ready = true;
    else if (report.say === "begun") this.begun = report;
    else if (report.say === "published") this.finished = true;
    else if (report.say === "failed") this.#failed(new Error(`${this.name}: ${report.error}`));
    else if (report.say === "news") {
      this.counts = report.counts;
      this.moment = report.moment;
      for (const id of report.handled) this.handled.add(id);
      this.buried.push(...report.buried);
    }
    return report.say === "ended";
  }
}
