import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const MAIN = fileURLToPath(new URL("../src/main.ts", import.meta.url));

function start(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  return spawn(process.execPath, [MAIN, ...args], { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
}

async function run(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<{ code: unknown; out: string; err: string }> {
  const child = start(args, env);
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  return { code, out, err };
}

test("the process prints, ends with the code, and loads neither brokerkit nor an adapter", async () => {
  const program = `import { registerHooks } from "node:module";
registerHooks({ resolve(what, context, next) {
  if (what.includes("brokerkit")) console.error("loaded", what);
  return next(what, context);
} });`;
  const loud = `data:text/javascript,${encodeURIComponent(program)}`;
  const { code, out, err } = await run(["compare", "redis", "redis+pubsub", "--strict"], { NODE_OPTIONS: `--import=${loud}` });
  expect({ code, err }).toEqual({ code: 1, err: "" });
  expect(out).toMatch(/^redis → redis\+pubsub\n/);
});

test("piped output has no colours and as many columns as COLUMNS says", async () => {
  const { out } = await run(["compare", "redis", "redis+pubsub"], { COLUMNS: "60", FORCE_COLOR: "1" });
  expect(out).not.toContain("\x1b");
  expect(Math.max(...out.split("\n").map((line) => line.length))).toBeLessThanOrEqual(60);
});

test("a mistake goes to standard error", async () => {
  expect(await run(["compare", "redis"])).toMatchObject({ code: 2, out: "", err: expect.stringContaining("two backends") });
});

test("a reader that ends early is no failure", async () => {
  const child = start(["compare", "redis", "redis+pubsub"]);
  child.stdout.destroy();
  const [err, [code]] = await Promise.all([text(child.stderr), once(child, "close")]);
  expect({ err, code }).toEqual({ err: "", code: 0 });
});
