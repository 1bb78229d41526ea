import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ROOT } from "../workspace.ts";

const setup = (...args: string[]) => spawnSync(process.execPath, [join(ROOT, "tools", "setup.mjs"), ...args], { encoding: "utf8" });

test("an unknown command lists those that exist", () => {
  const { status, stderr } = setup("strat");
  expect(status).toBe(2);
  expect(stderr).toMatch(/no command "strat".*start, test/);
});

test("a command runs under the toolchain's Node with the sources as packages, and its exit code is passed on", () => {
  const script = `console.log(process.versions.node.split(".")[0], import.meta.resolve("brokerkit/driver").endsWith("/src/driver/index.ts")); process.exit(7)`;
  const { status, stdout } = setup("node", "--", "--input-type=module", "-e", script);
  expect(stdout.trim()).toBe("24 true");
  expect(status).toBe(7);
});

test("a command that a signal ends gives the shell's exit code for it", () => {
  expect(setup("node", "-e", "process.kill(process.pid, 'SIGTERM'); setTimeout(() => {}, 5000)").status).toBe(143);
});
