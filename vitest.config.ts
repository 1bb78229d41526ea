import { existsSync, readdirSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

const SOURCE = "@brokerkit/source";

/** What a whole run keeps at once, and as much again. */
const ROOM_BYTES = 4 * 2 ** 30;

/**
 * Where tests and their servers keep their files: in memory where a memory disk has room. Processes are killed here, never the machine,
 * so nothing is proved by a disk, and one that is slow for a while makes a server late by tens of seconds.
 */
function workFolder(): string {
  const memory = "/dev/shm";
  if (process.env["TMPDIR"] !== undefined || !existsSync(memory)) return tmpdir();
  const { bavail, bsize } = statfsSync(memory);
  return bavail * bsize >= ROOM_BYTES ? memory : tmpdir();
}

const TMPDIR = workFolder();

/** Every folder that holds a test/ is a project and is named as the folder: a new adapter or package touches nothing here. */
function folders(): string[] {
  const inside = (parent: string): string[] =>
    existsSync(parent)
      ? readdirSync(parent, { withFileTypes: true })
          .filter((entry) => entry.isDirectory())
          .map((entry) => `${parent}/${entry.name}`)
      : [];
  return [
    ...inside("packages"),
    ...inside("adapters"),
    ...inside("examples"),
    "examples",
    "conformance-tests",
    "benchmarks",
    "tools",
  ].filter((folder) => existsSync(`${folder}/test`));
}

function project(folder: string): TestProjectInlineConfiguration {
  return {
    resolve: { conditions: [SOURCE, "node", "import", "default"] },
    ssr: { resolve: { conditions: [SOURCE, "node", "import", "default"], externalConditions: [SOURCE, "node", "import"] } },
    test: {
      env: { TMPDIR },
      name: folder.replace(/^(packages|adapters)\//, "").replace("/", ":"),
      root: folder,
      include: ["test/**/*.test.ts"],
      environment: "node",
      pool: "forks",
      // kafkajs, a foreign client of the tests, asks for timers that are over: https://github.com/tulios/kafkajs/issues/1751
      execArgv: [`--conditions=${SOURCE}`, "--disable-warning=ExperimentalWarning", "--disable-warning=TimeoutNegativeWarning"],
      testTimeout: 60_000,
      hookTimeout: 300_000,
      retry: 0,
      restoreMocks: true,
      unstubEnvs: true,
    },
  };
}

/** The suites take minutes each, so they begin before what is short, and none is left to run alone at the end. */
class SuitesFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const rank = ({ moduleId }: TestSpecification): number => {
      if (!moduleId.includes("/adapters/")) return 0;
      return /conformance[^/]*$/.test(moduleId) ? 1 : 2;
    };
    return sorted.sort((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    projects: folders().map(project),
    sequence: { sequencer: SuitesFirst },
    // Two cores; much of the time is spent waiting for servers.
    maxWorkers: 3,
    allowOnly: false,
    passWithNoTests: false,
  },
});
