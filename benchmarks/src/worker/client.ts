import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Pinning } from "../run/pinning.ts";
import type { Answer, Question, TaskName, Tasks } from "./protocol.ts";

const ENTRY = fileURLToPath(new URL("./entry.ts", import.meta.url));
/** Far more than any task takes. */
const TASK_MS = 300_000;
const CLOSE_MS = 5_000;

/** A client process of its own: one column, so that no column runs on what another has warmed up or left behind. */
export class ClientProcess {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve: (answer: unknown) => void; reject: (error: Error) => void }>();
  readonly #exited: Promise<void>;
  #next = 0;
  #output = "";

  constructor(pinning: Pinning) {
    const [file, args] = pinning.client(process.execPath, [
      "--conditions=@brokerkit/source",
      "--disable-warning=ExperimentalWarning",
      ENTRY,
    ]);
    this.#child = spawn(file, args, { stdio: ["ignore", "pipe", "pipe", "ipc"] });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.#output = (this.#output + text).slice(-4_000);
      });
    }
    this.#child.on("message", (answer: Answer) => {
      const waiting = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      if (answer.ok) waiting?.resolve(answer.answer);
      else waiting?.reject(Object.assign(new Error(answer.message), { name: answer.name }));
    });
    this.#exited = new Promise((resolve) => {
      const gone = (why: string): void => {
        const error = new Error(`The client process ended ${why}. ${this.#output.trim()}`.trim());
        for (const { reject } of this.#waiting.values()) reject(error);
        this.#waiting.clear();
        resolve();
      };
      this.#child.once("error", (error) => gone(`before it began (${error.message})`));
      this.#child.once("exit", (code, signal) => gone(`by ${signal ?? `exit code ${code}`}`));
    });
  }

  /** Rejects with the task's error, or when the process ends. */
  ask<N extends TaskName>(task: N, ask: Tasks[N]["ask"]): Promise<Tasks[N]["answer"]> {
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      const timer = setTimeout(() => {
        this.#child.kill("SIGKILL");
        reject(new Error(`The client process did not finish "${task}" within ${TASK_MS / 1_000} s.`));
      }, TASK_MS);
      const end = <T>(settle: (value: T) => void) => {
        return (value: T): void => {
          clearTimeout(timer);
          settle(value);
        };
      };
      this.#waiting.set(id, { resolve: end(resolve as (answer: unknown) => void), reject: end(reject) });
      const question: Question = { id, task, ask };
      this.#child.send(question, (error) => {
        if (error === null) return;
        this.#waiting.get(id)?.reject(error);
        this.#waiting.delete(id);
      });
    });
  }

  async close(): Promise<void> {
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), CLOSE_MS);
    await this.ask("close", {}).catch(() => {});
    if (this.#child.connected) this.#child.disconnect();
    await this.#exited;
    clearTimeout(timer);
  }
}
