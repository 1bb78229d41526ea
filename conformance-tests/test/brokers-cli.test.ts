import { existsSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { runCommand } from "../src/brokers/command.ts";
import { startProcess } from "../src/faults/index.ts";
import { ask, redis } from "./brokers-recipe.ts";

const command = JSON.stringify(new URL("../src/brokers/command.ts", import.meta.url).href);
const fixture = JSON.stringify(new URL("./brokers-recipe.ts", import.meta.url).href);

let folder: string;
let adapters: string;
let env: NodeJS.ProcessEnv;

interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function run(...args: string[]): Promise<Result> {
  let [out, err] = ["", ""];
  const code = await runCommand(args, {
    adapters,
    env,
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
  });
  return { code, out, err };
}

async function adapter(name: string, harness: string): Promise<void> {
  await mkdir(join(adapters, name), { recursive: true });
  await writeFile(join(adapters, name, "harness.ts"), `import { redis } from ${fixture};\nexport const harness = ${harness};\n`);
}

const portOf = (out: string): number => Number(/127\.0\.0\.1:(\d+)/.exec(out)?.[1]);
const at = (out: string): { readonly host: string; readonly port: number } => ({ host: "127.0.0.1", port: portOf(out) });

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "brokerkit-test-"));
  adapters = join(folder, "adapters");
  env = { ...process.env, XDG_CACHE_HOME: join(folder, "cache") };
  await adapter("redis", "{ name: 'redis', adapters: [], broker: redis }");
  await adapter("embedded", "{ name: 'embedded', adapters: [] }");
  await mkdir(join(adapters, "empty"));
});
afterEach(async () => {
  await run("down");
  await rm(folder, { recursive: true });
});

it("starts a broker that outlives it, finds it again, and stops it", async () => {
  const program = `
    const { runCommand } = await import(${command});
    process.exitCode = await runCommand(["up", "redis"], {
      adapters: ${JSON.stringify(adapters)}, env: process.env, out: (text) => process.stdout.write(text), err: (text) => process.stderr.write(text),
    });`;
  const child = await startProcess({ command: process.execPath, args: ["--input-type=module", "-e", program], env });
  expect((await child.exited).code).toBe(0);
  const printed = await child.line(new RegExp(`^${redis.variable}=`));
  expect(await ask(at(printed), "PING")).toBe("+PONG");

  expect(await run("up", "redis")).toEqual({ code: 0, out: `${printed}\n`, err: "" });
  const status = await run("status");
  expect(status).toMatchObject({ code: 0, err: "" });
  expect(status.out).toMatch(new RegExp(`^redis runs: ${printed}, version \\d+\\.\\d+\\.\\d+, process \\d+\\n$`));
  expect(await run("down", "redis")).toEqual({ code: 0, out: "redis stopped\n", err: "" });
  await expect(ask(at(printed), "PING")).rejects.toThrow(/ECONNREFUSED/);
  expect(existsSync(join(folder, "cache", "brokerkit", "brokers", "redis"))).toBe(false);
  expect(await run("down", "redis")).toEqual({ code: 0, out: "redis did not run\n", err: "" });
});

it("starts one broker when asked twice at a time, and another after that one died", async () => {
  const [one, other] = await Promise.all([run("up"), run("up")]);
  expect(one).toMatchObject({ code: 0, err: "" });
  expect(other).toEqual(one);
  const row = JSON.parse((await run("status", "--json")).out)[0];
  process.kill(-Number.parseInt(row.process, 10), "SIGKILL");
  const again = await run("up");
  expect(again.code).toBe(0);
  expect(await ask(at(again.out), "PING")).toBe("+PONG");
});

it("never stops a process that only has the number of the one it started", async () => {
  const started = await run("up", "redis");
  const path = join(folder, "cache", "brokerkit", "brokers", "redis.json");
  const left = JSON.parse(readFileSync(path, "utf8"));
  await writeFile(path, JSON.stringify({ ...left, process: `${Number.parseInt(left.process, 10)}@1` }));
  expect(await run("down")).toEqual({ code: 0, out: "redis did not run\n", err: "" });
  expect(await ask(at(started.out), "PING")).toBe("+PONG");
  process.kill(-Number.parseInt(left.process, 10), "SIGKILL");
});

it("speaks JSON", async () => {
  const started = await run("up", "--json");
  expect(JSON.parse(started.out)).toMatchObject([{ name: "redis", running: true, variable: redis.variable, host: "127.0.0.1" }]);
  expect(JSON.parse((await run("down", "--json")).out)).toEqual([{ name: "redis", running: false, stopped: true }]);
  expect(JSON.parse((await run("status", "--json")).out)).toEqual([{ name: "redis", running: false }]);
});

it("says by its exit code that a named broker does not run", async () => {
  expect(await run("status", "redis")).toEqual({ code: 3, out: "redis does not run\n", err: "" });
  expect((await run("status")).code).toBe(0);
});

it("lists the known names where one is unknown, and the adapters that it could not read", async () => {
  expect(await run("up", "embedded")).toEqual({ code: 2, out: "", err: "Unknown: embedded. Known: redis.\n" });
  await adapter("broken", "nonsense");
  const asked = await run("up", "broken");
  expect(asked.code).toBe(2);
  expect(asked.err).toMatch(/adapters\/broken\/harness\.ts could not be read: nonsense is not defined/);
  const all = await run("up");
  expect(all.code).toBe(1);
  expect(all.out).toContain(redis.variable);
});

it("says what went wrong where a broker does not start, and leaves nothing", async () => {
  await adapter(
    "bad",
    "{ name: 'bad', adapters: [], broker: { ...redis, name: 'bad', process: { ...redis.process, args: () => ['--nonsense'] } } }",
  );
  const result = await run("up", "bad");
  expect(result.code).toBe(1);
  expect(result.err).toMatch(/^bad: bad ended before it served\n(.|\n)*nonsense/);
  expect(existsSync(join(folder, "cache", "brokerkit", "brokers", "bad.json"))).toBe(false);
});

it.each([[], ["fly"], ["up", "--fast"]])("explains itself when misused: %j", async (...args) => {
  const result = await run(...args);
  expect(result.code).toBe(2);
  expect(result.err).toContain("Usage: npm run brokers -- <command>");
  expect((await run("--help")).out).toContain("Exit codes: 0 done");
});
