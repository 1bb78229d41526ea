// Tells the test run (tools/lanes/vitest.ts) what happens, over the process channel, as it happens: nothing is lost when a worker dies.
import { relative } from "node:path";
import type { SerializedError } from "vitest";
import type { Reporter, TestCase, TestModule, TestSuite } from "vitest/node";
import type { Case } from "./lanes/report.ts";
import { ROOT } from "./workspace.ts";

export type Told =
  | { readonly kind: "case"; readonly case: Case }
  | { readonly kind: "began"; readonly name: string }
  | { readonly kind: "file"; readonly group: string; readonly name: string; readonly ms: number };

const LOG_LINES = 40;

interface Thrown {
  readonly name?: string | undefined;
  readonly message: string;
  readonly diff?: string | undefined;
  readonly stack?: string | undefined;
  readonly cause?: unknown;
  readonly stacks?: readonly { readonly file: string; readonly line: number; readonly column: number }[] | undefined;
}

/** What each error says, where it was thrown, how values differ and what lies behind it. */
export function words(errors: readonly (Thrown | SerializedError)[] | undefined): string[] {
  return (errors ?? []).map((error) => {
    const thrown = error as Thrown;
    const frame = thrown.stacks?.find(({ file }) => !file.includes("node_modules")) ?? thrown.stacks?.[0];
    // What nobody handled comes without parsed frames.
    const raw = thrown.stack?.split("\n").find((line) => /^\s+at .*[/\\]/.test(line) && !line.includes("node_modules"));
    const at =
      frame === undefined
        ? raw === undefined
          ? ""
          : `\n${raw.trim()}`
        : `\nat ${relative(ROOT, frame.file)}:${frame.line}:${frame.column}`;
    const diff = thrown.diff === undefined ? "" : `\n${thrown.diff}`;
    return `${thrown.name ?? "Error"}: ${thrown.message}${at}${behind(thrown)}${diff}`;
  });
}

/** The cause, unless the message has told it already. */
function behind({ message, cause }: Thrown): string {
  const { name = "Error", message: why } = Object(cause) as Partial<Thrown>;
  return why === undefined || why === "" || message.includes(why) ? "" : `\ncaused by ${name}: ${why}`;
}

function tell(told: Told): void {
  process.send?.(told);
}

export default class ChannelReporter implements Reporter {
  /** The last lines that a case printed, shown if it fails. */
  readonly #logs = new Map<string, string[]>();

  onUserConsoleLog(log: { readonly content: string; readonly taskId?: string | undefined }): void {
    if (log.taskId === undefined) return;
    const lines = this.#logs.get(log.taskId) ?? [];
    lines.push(...log.content.trimEnd().split("\n"));
    this.#logs.set(log.taskId, lines.slice(-LOG_LINES));
  }

  onTestCaseReady(test: TestCase): void {
    tell({ kind: "began", name: `${test.project.name} > ${test.fullName}` });
  }

  onTestCaseResult(test: TestCase): void {
    const result = test.result();
    const state = result.state === "pending" ? "failed" : result.state;
    const logs = this.#logs.get(test.id);
    this.#logs.delete(test.id);
    const messages = result.state === "skipped" ? [result.note ?? "no reason given"] : words(result.errors);
    if (state === "failed" && logs !== undefined) messages.push(`printed:\n${logs.join("\n")}`);
    const ms = test.diagnostic()?.duration ?? 0;
    tell({ kind: "case", case: { group: test.project.name, name: test.fullName, state, ms, messages } });
  }

  onTestSuiteResult(suite: TestSuite): void {
    this.#broken(suite.project.name, suite.fullName, suite.errors());
  }

  onTestModuleEnd(module: TestModule): void {
    this.#broken(module.project.name, module.relativeModuleId, module.errors());
    const tests = [...module.children.allTests()].length;
    const errors = module.errors();
    if (tests === 0 && errors.length === 0) {
      tell({ kind: "case", case: failure(module.project.name, module.relativeModuleId, ["the file has no test"]) });
    }
    if (module.state() === "failed") return;
    tell({
      kind: "file",
      group: module.project.name,
      name: `${module.relativeModuleId}: ${tests} cases`,
      ms: module.diagnostic().duration,
    });
  }

  onTestRunEnd(_modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    for (const message of words(unhandled)) tell({ kind: "case", case: failure("run", "nothing is left unhandled", [message]) });
  }

  /** A file that does not load, or a hook that fails, is a failure of its own: its cases may never have begun. */
  #broken(group: string, name: string, errors: readonly SerializedError[]): void {
    if (errors.length > 0) tell({ kind: "case", case: failure(group, `${name} (loading and hooks)`, words(errors)) });
  }
}

function failure(group: string, name: string, messages: readonly string[]): Case {
  return { group, name, state: "failed", ms: 0, messages };
}
