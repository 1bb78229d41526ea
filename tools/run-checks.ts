// Runs the checks of tools/checks/ alone, for the moment between edits: `node tools/setup.mjs node tools/run-checks.ts [name…]`.
import { loadChecks } from "./lanes/checks.ts";
import { ROOT } from "./workspace.ts";

let failed = 0;
for (const { file, check } of await loadChecks(process.argv.slice(2))) {
  const violations = await check.run(ROOT);
  console.log(`${violations.length === 0 ? "ok  " : "FAIL"} ${file}: ${check.name}`);
  for (const violation of violations) console.log(`       ${violation}`);
  if (violations.length > 0) failed++;
}
process.exitCode = failed === 0 ? 0 : 1;
