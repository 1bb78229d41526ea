import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Check } from "../check.ts";
import { filesIn } from "../workspace.ts";

/** What only makes sense on one machine or beside this checkout. Written so that the patterns do not match themselves. */
const FORBIDDEN: readonly { readonly pattern: RegExp; readonly say: string }[] = [
  {
    pattern: /(?<![\w.)}\]-])[/](?:work|root|home[/]\w+)[/](?!\*)/,
    say: "an absolute path of one machine; write it relative to the checkout",
  },
  { pattern: /[/]tmp[/]bash/, say: "a path of one machine's shell; use os.tmpdir()" },
  { pattern: /\.\.[/]shared(?![\w-])/, say: "a folder outside the checkout; say it here, or leave it out" },
  { pattern: /registry[.]npmjs[.]org/, say: "the registry's host; whoever installs has configured one" },
];

/** Files that git tracks or would track; without git, everything that is not generated. */
function trackedFiles(root: string): string[] {
  if (!existsSync(join(root, ".git"))) return filesIn(root, ".");
  const listed = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  return listed.split("\0").filter((path) => path !== "" && existsSync(join(root, path)));
}

/** Lines that speak of a machine or of anything outside this project. */
export function houseWords(root: string): string[] {
  const found: string[] = [];
  for (const path of trackedFiles(root)) {
    if (path === "package-lock.json" || path.endsWith(".gitignore")) continue;
    const bytes = readFileSync(join(root, path));
    if (bytes.includes(0)) continue; // no text
    for (const [index, line] of bytes.toString("utf8").split("\n").entries()) {
      for (const { pattern, say } of FORBIDDEN) if (pattern.test(line)) found.push(`${path}:${index + 1}: ${say}`);
    }
  }
  return found;
}

const check: Check = {
  name: "the project speaks of itself only",
  run: async (root) => houseWords(root),
};
export default check;
