import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { folder } from "./start.ts";

const program = join(import.meta.dirname, "..", "readme.ts");

function run(url: string | undefined): { readonly code: number | null; readonly lines: readonly string[]; readonly errors: string } {
  const { BROKER_URL: _, ...env } = process.env;
  const args = ["--conditions=@brokerkit/source", "--disable-warning=ExperimentalWarning", program];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: folder(),
    env: url === undefined ? env : { ...env, BROKER_URL: url },
    encoding: "utf8",
    timeout: 20_000,
  });
  return { code: status, lines: stdout.trim().split("\n"), errors: stderr };
}

test("the first program charges and replays in memory, and on a file by one changed URL", () => {
  for (const url of [undefined, "sqlite:orders.db"]) {
    const { code, lines, errors } = run(url);
    expect(errors).toBe("");
    expect(lines.toSorted()).toEqual(["again 7", "charged ada"]);
    expect(code).toBe(0);
  }
});

test("what it requires is refused where it is not there, by name", () => {
  const { code, errors } = run("memory:?like=redis%2Bpubsub");
  expect(errors).toMatch(/does not support "groups"/);
  expect(code).not.toBe(0);
});
