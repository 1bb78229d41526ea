import { plainWords, shortened } from "./words.ts";

/** One thing that was tested. */
export interface Case {
  /** Lane or vitest project, by which `--only` picks it. */
  readonly group: string;
  readonly name: string;
  readonly state: "passed" | "failed" | "skipped";
  readonly ms: number;
  /** Why it failed, or was skipped: each a paragraph. */
  readonly messages: readonly string[];
}

const seconds = (ms: number): string => (ms < 10_000 ? `${(ms / 1000).toFixed(2)} s` : `${Math.round(ms / 1000)} s`);
const indent = (text: string): string => text.replace(/^(?=.)/gm, "      ");

/** A failure is told in so many lines as it happens. */
const LINES = 12;
/** Logs are often cut to their last 60 lines: as many as fit explain every failure there, and each has at least its reason. */
const [SUMMARY, LEAST] = [52, 2];

/** A thrown error with the frames of this checkout; those of tools say nothing here. */
export function thrown(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const lines = (error.stack ?? error.message).split("\n");
  return lines.filter((line) => !/^\s+at .*(node:internal|node_modules)/.test(line)).join("\n");
}

/** Collects the cases of all lanes and prints: a progress line on a terminal, plain lines elsewhere. */
export class Report {
  readonly #cases: Case[] = [];
  readonly #strict: boolean;
  readonly #terminal = process.stdout.isTTY === true;
  readonly #colour = this.#terminal && process.env["NO_COLOR"] === undefined;
  readonly #began = performance.now();
  #now = "";

  /** `strict`: a skipped case fails, as it must where everything can be had. */
  constructor(strict: boolean) {
    this.#strict = strict;
  }

  add(one: Case): void {
    const counted: Case =
      one.state === "skipped" && this.#strict
        ? { ...one, state: "failed", messages: [...one.messages, "was skipped; with CI=true every case runs or fails"] }
        : one;
    this.#cases.push(counted);
    if (counted.state === "failed") this.line(this.#failure(counted, LINES));
    this.#progress();
  }

  /** Runs one case and adds it: what `run` returns are the reasons why it failed, none if it passed. */
  async measure(group: string, name: string, run: () => Promise<readonly string[]>): Promise<boolean> {
    this.doing(name);
    const began = performance.now();
    let messages: readonly string[];
    try {
      messages = await run();
    } catch (error) {
      messages = [thrown(error)];
    }
    const ms = performance.now() - began;
    const state = messages.length === 0 ? "passed" : "failed";
    this.add({ group, name, state, ms, messages });
    if (state === "passed") this.done(group, name, ms);
    return state === "passed";
  }

  /** A line for a finished group of cases; on a terminal the progress line is enough. */
  done(group: string, what: string, ms: number): void {
    if (!this.#terminal) this.line(`ok   ${group} > ${what} (${seconds(ms)})`);
  }

  doing(what: string): void {
    this.#now = what;
    this.#progress();
  }

  line(text: string): void {
    if (this.#terminal) process.stdout.write("\r\u001b[K");
    console.log(text);
    this.#progress();
  }

  count(state: Case["state"]): number {
    return this.#cases.filter((one) => one.state === state).length;
  }

  /** Long failures in full, the slowest cases, every failure in short and, as the last line, the totals. Returns the exit code. */
  end(): number {
    if (this.#terminal) process.stdout.write("\r\u001b[K");
    if (this.#cases.every((one) => one.state === "skipped")) {
      this.#cases.push({ group: "run", name: "at least one case ran", state: "failed", ms: 0, messages: ["no case ran; see --only"] });
    }
    const failures = this.#cases.filter((one) => one.state === "failed");
    const short = Math.min(LINES, Math.max(LEAST, Math.floor(SUMMARY / failures.length) - 2));
    for (const one of failures) {
      const whole = this.#failure(one);
      if (whole !== this.#failure(one, short)) console.log(`\n${whole}`);
    }
    const slowest = [...this.#cases].sort((a, b) => b.ms - a.ms).slice(0, 10);
    console.log(`\nSlowest cases (${seconds(performance.now() - this.#began)} in all)`);
    for (const one of slowest) console.log(`  ${seconds(one.ms).padStart(8)}  ${one.group} > ${one.name}`);
    for (const one of this.#cases.filter(({ state }) => state === "skipped")) {
      console.log(`\n${this.#paint(33, "SKIP")} ${one.group} > ${one.name}`);
      for (const message of one.messages) console.log(indent(plainWords(message)));
    }
    for (const one of failures) console.log(`\n${this.#failure(one, short)}`);
    const skipped = this.count("skipped");
    console.log(`\n${this.count("passed")} passed, ${failures.length} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
    return failures.length > 0 ? 1 : 0;
  }

  /** Its name, and below that its reasons in at most so many lines. */
  #failure({ group, name, messages }: Case, lines: number = Number.POSITIVE_INFINITY): string {
    const reasons = shortened(plainWords(messages.join("\n")), lines);
    return `${this.#paint(31, "FAIL")} ${group} > ${name}${reasons === "" ? "" : `\n${indent(reasons)}`}`;
  }

  #paint(colour: number, text: string): string {
    return this.#colour ? `\u001b[${colour}m${text}\u001b[0m` : text;
  }

  #progress(): void {
    if (!this.#terminal) return;
    const failed = this.count("failed");
    const head = `${this.count("passed")} passed${failed > 0 ? `, ${failed} failed` : ""}, ${seconds(performance.now() - this.#began)}  `;
    const room = Math.max(10, (process.stdout.columns ?? 80) - head.length - 1);
    process.stdout.write(`\r\u001b[K${head}${this.#now.slice(0, room)}`);
  }
}
