import type { Check } from "../check.ts";
import { readSource, type Source } from "../source.ts";
import { filesIn } from "../workspace.ts";

const CORE = "packages/core/src";
const MEDIAN_LINES = 100;
const MAX_LINES = 350;
/** Lines of code of the SPI; its comments are contracts and do not count. */
const SPI_LINES = 300;

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

/** Files that are too long, the type `any`, and tests that are skipped, singled out or retried. */
export function sizes(root: string): string[] {
  const found: string[] = [];
  const sources: Source[] = [];
  for (const top of ["packages", "adapters", "conformance-tests", "benchmarks", "examples", "tools"]) {
    for (const path of filesIn(root, top, /\.(ts|mts|cts)$/)) sources.push(readSource(root, path));
  }
  const core = sources.filter((source) => source.path.startsWith(`${CORE}/`) && !source.path.endsWith(".generated.ts"));
  for (const source of core) {
    if (source.lines > MAX_LINES) found.push(`${source.path}: ${source.lines} lines, at most ${MAX_LINES}; split it by concern`);
  }
  const middle = median(core.map((source) => source.lines));
  if (middle > MEDIAN_LINES)
    found.push(`${CORE}: the median file has ${middle} lines, at most ${MEDIAN_LINES}; split the longest by concern`);
  const spi = core.filter((source) => source.path.startsWith(`${CORE}/driver/`)).reduce((sum, source) => sum + source.codeLines, 0);
  if (spi > SPI_LINES) found.push(`${CORE}/driver: ${spi} lines of code (comments and blank lines not counted), at most ${SPI_LINES}`);
  for (const source of sources) {
    for (const line of source.anys) found.push(`${source.path}:${line}: the type any; say what it is, or unknown and narrow it`);
    if (!/\.test\.ts$|(^|\/)test\//.test(source.path)) continue;
    for (const { line, what } of source.testFlags) {
      found.push(`${source.path}:${line}: ${what}; a test always runs, once: fix it, or remove it and say why`);
    }
  }
  return found;
}

const check: Check = {
  name: "files keep their sizes, nothing is any, no test is skipped or retried",
  run: async (root) => sizes(root),
};
export default check;
