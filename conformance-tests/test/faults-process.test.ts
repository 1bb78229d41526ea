import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { type ProcessOptions, type RunningProcess, startProcess, TimeoutError, until } from "../src/faults/index.ts";

const faults = JSON.stringify(new URL("../src/faults/index.ts", import.meta.url).href);

async function start(options: ProcessOptions): Promise<RunningProcess> {
  const child = await startProcess(options);
  onTestFinished(async () => void (await child.kill()));
  return child;
}
const node = (program: string): Promise<RunningProcess> =>
  start({ name: "worker", command: process.execPath, args: ["--input-type=module", "-e", program] });
const echo = "process.stdin.on('data', (text) => process.stdout.write('heard ' + text)); console.log('ready');";

function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // A process that nobody has waited for still has a number.
    return !/^\d+ \(.*\) Z/.test(existsSync(`/proc/${pid}/stat`) ? readFileSync(`/proc/${pid}/stat`, "utf8") : "");
  } catch {
    return false;
  }
}

it("speaks lines with its child", async () => {
  const child = await node(echo);
  await child.line("ready");
  await child.send("one");
  expect(await child.line(/^heard/)).toBe("heard one");
  await child.send("two");
  expect(await child.line((line) => line.startsWith("heard"))).toBe("heard two");
});

it("finds lines that came before they were asked for, in order", async () => {
  const child = await start({ command: "/bin/sh", args: ["-c", "echo a1; echo b; echo a2; printf a3"] });
  expect(await child.exited).toEqual({ code: 0, signal: null });
  expect(await child.line(/^a/)).toBe("a1");
  expect(await child.line(/^a/)).toBe("a2");
  expect(await child.line(/^a/)).toBe("a3");
  await expect(child.line(/^a/)).rejects.toThrow("sh ended (code 0) without the line /^a/ from /bin/sh; its output:\na1\nb\na2\na3");
});

it("says what the child printed when a line does not come", async () => {
  const child = await node(`console.error('no broker'); ${echo}`);
  await child.line("ready");
  await expect(child.line("connected", { timeoutMs: 50 })).rejects.toThrow(TimeoutError);
  await expect(child.line("connected", { timeoutMs: 50 })).rejects.toThrow(
    /waited 50 ms for the line connected from worker; its output:\n(.*\n)?no broker/,
  );
});

it("kills", async () => {
  const child = await node(echo);
  await child.line("ready");
  expect(child.exit).toBeUndefined();
  expect(await child.kill()).toEqual({ code: null, signal: "SIGKILL" });
  expect(child.exit).toEqual({ code: null, signal: "SIGKILL" });
  expect(runs(child.pid)).toBe(false);
  expect(await child.kill()).toEqual({ code: null, signal: "SIGKILL" });
  await expect(child.send("one")).rejects.toThrow('worker has ended and cannot be told "one"');
});

it("kills the children of its child with it", async () => {
  const child = await start({ command: "/bin/sh", args: ["-c", "sleep 60 & echo $!; wait"] });
  const grandchild = Number(await child.line(/^\d+$/));
  expect(runs(grandchild)).toBe(true);
  await child.kill();
  await until(() => !runs(grandchild), { timeoutMs: 5_000, what: "the grandchild to end" });
});

it("terminates, and kills what does not listen", async () => {
  const polite = await node(`process.on('SIGTERM', () => process.exit(3)); ${echo}`);
  await polite.line("ready");
  expect(await polite.terminate()).toEqual({ code: 3, signal: null });
  const deaf = await node(`process.on('SIGTERM', () => {}); ${echo}`);
  await deaf.line("ready");
  expect(await deaf.terminate(100)).toEqual({ code: null, signal: "SIGKILL" });
  const frozen = await node(`process.on('SIGTERM', () => process.exit(4)); ${echo}`);
  await frozen.line("ready");
  await frozen.freeze();
  expect(await frozen.terminate()).toEqual({ code: 4, signal: null });
});

it("freezes and thaws, and kills what is frozen", async () => {
  const child = await node(echo);
  await child.line("ready");
  await child.freeze();
  await child.send("one");
  await expect(child.line(/^heard/, { timeoutMs: 100 })).rejects.toThrow(TimeoutError);
  await child.thaw();
  expect(await child.line(/^heard/)).toBe("heard one");
  await child.freeze();
  expect(await child.kill()).toEqual({ code: null, signal: "SIGKILL" });
});

it("writes a log file where one is given, and keeps working folder and environment", async () => {
  const folder = mkdtempSync(join(tmpdir(), "brokerkit-test-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const log = join(folder, "log");
  const child = await start({
    command: "/bin/sh",
    args: ["-c", 'pwd; echo "$GREETING"; echo oops >&2'],
    cwd: folder,
    env: { GREETING: "hello  you" },
    log,
  });
  await child.exited;
  expect(readFileSync(log, "utf8")).toBe(`${folder}\nhello  you\noops\n`);
});

it("ends with 127 where there is no such program", async () => {
  const child = await start({ command: "brokerkit-no-such-program" });
  expect((await child.exited).code).toBe(127);
  expect(child.output()).toMatch(/not found/);
});

it("is killed with everything it started when its parent is killed", async () => {
  const program = `
    const { startProcess } = await import(${faults});
    const child = await startProcess({ command: "/bin/sh", args: ["-c", "sleep 60 & echo $!; wait"] });
    const frozen = await startProcess({ command: "sleep", args: ["60"] });
    await frozen.freeze();
    console.log(JSON.stringify([child.pid, Number(await child.line(/^[0-9]+$/)), frozen.pid]));`;
  const parent = await node(program);
  const pids = JSON.parse(await parent.line(/^\[/)) as number[];
  expect(pids.map(runs)).toEqual([true, true, true]);
  process.kill(parent.pid, "SIGKILL");
  await until(() => !pids.some(runs), { timeoutMs: 5_000, what: "all of them to end" });
});
