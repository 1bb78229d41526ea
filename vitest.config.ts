import { existsSync, readdirSync } from "node:fs";
import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config";

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
    resolve: { conditions: [SOURCE, "node", "import", "module", "default"] },
    ssr: { resolve: { conditions: [SOURCE, "node", "import", "module", "default"], externalConditions: [SOURCE, "node", "import"] } },
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

export default defineConfig({
  test: {
    projects: folders().map(project),
    maxWorkers: 2,
    allowOnly: false,
    passWithNoTests: false,
  },
});
