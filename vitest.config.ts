import { existsSync, readdirSync } from "node:fs";
import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

const SOURCE = "@brokerkit/source";

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
      name: folder.replace(/^(packages|adapters)\//, "").replace("/", ":"),
      root: folder,
      include: ["test/**/*.test.ts"],
      environment: "node",
      pool: "forks",
      execArgv: [`--conditions=${SOURCE}`, "--disable-warning=ExperimentalWarning"],
      testTimeout: 30_000,
      hookTimeout: 120_000,
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
