import { describe, expect, test } from "vitest";
import { cycles, importLaw } from "../checks/import-law.ts";
import { tree } from "./tree.ts";

const CORE = "packages/core/src";

/** The violations of a tree, without the advice that follows the semicolon. */
function violations(files: Readonly<Record<string, string>>): string[] {
  return importLaw(tree(files)).map((line) => line.split(";")[0] ?? "");
}

const adapter = (dependencies: Readonly<Record<string, string>> = {}): string =>
  JSON.stringify({ name: "@brokerkit/demo", version: "0.1.0", dependencies });

describe("inside core", () => {
  test("a tree that imports downwards has no violation", () => {
    const files = {
      [`${CORE}/driver/index.ts`]: `export const a = 1;`,
      [`${CORE}/primitives/clock.ts`]: `import { performance } from "node:perf_hooks"; import type { A } from "../driver/index.ts";`,
      [`${CORE}/errors.ts`]: `import { a } from "./driver/index.ts"; export const e = a;`,
      [`${CORE}/message.ts`]: `import { e } from "./errors.ts"; export const m = e;`,
      [`${CORE}/retry/policy.ts`]: `import { e } from "../errors.ts"; import { b } from "./backoff.ts"; export const p = [e, b];`,
      [`${CORE}/retry/backoff.ts`]: `export const b = 1;`,
      [`${CORE}/publish.ts`]: `import { p } from "./retry/policy.ts"; export const q = p;`,
      [`${CORE}/topic.ts`]: `import { q } from "./publish.ts"; import { r } from "./replay.ts"; export const t = [q, r];`,
      [`${CORE}/replay.ts`]: `export const r = 1;`,
      [`${CORE}/adapters.generated.ts`]: `export const ADAPTERS = {};`,
      [`${CORE}/connect.ts`]: `import { t } from "./topic.ts"; import { ADAPTERS } from "./adapters.generated.ts"; await import("brokerkit/memory");`,
      [`${CORE}/index.ts`]: `export { t } from "./topic.ts";`,
      [`${CORE}/testing/index.ts`]: `import { t } from "../index.ts"; import { memory } from "brokerkit/memory";`,
    };
    expect(violations(files)).toEqual([]);
  });

  test.each([
    ["driver/index.ts", "../errors.ts", "driver imports errors, which stands above it"],
    ["primitives/clock.ts", "../errors.ts", "primitives imports errors, which stands above it"],
    ["errors.ts", "./retry/policy.ts", "errors imports retry, which stands above it"],
    ["retry/policy.ts", "../flow/credit.ts", "retry imports its neighbour flow"],
    ["retry/policy.ts", "../publish.ts", "retry imports publish, which stands above it"],
    ["deliver.ts", "./topic.ts", "deliver imports topic, which stands above it"],
    ["broker.ts", "./connect.ts", "broker imports connect, which stands above it"],
    ["connect.ts", "./index.ts", "connect imports index, which stands above it"],
    ["index.ts", "./testing/index.ts", "index imports testing, which stands above it"],
    ["broker.ts", "./adapters.generated.ts", "only connect and capability/ read the generated table"],
    ["broker.ts", "../../cli/src/index.ts", `"../../cli/src/index.ts" leaves packages/core/src`],
    ["broker.ts", "zod", `core imports "zod"`],
    ["retry/policy.ts", "brokerkit/memory", `core imports "brokerkit/memory"`],
  ])("%s may not import %s", (path, specifier, say) => {
    for (const text of [
      `import { a } from "${specifier}";`,
      `import type { a } from "${specifier}";`,
      `type A = import("${specifier}").A;`,
    ]) {
      expect(violations({ [`${CORE}/${path}`]: `\n${text}\n` })).toEqual([`${CORE}/${path}:2: ${say}`]);
    }
  });

  test("a folder that is no room is refused", () => {
    expect(violations({ [`${CORE}/misc/a.ts`]: "" })).toEqual([`${CORE}/misc/: is no room of the design`]);
  });

  test("a further file at the top stands where its imports put it, and hides nothing", () => {
    const files = {
      [`${CORE}/retry/policy.ts`]: `import "../words.ts"; import "../verdict.ts"; import "../opener.ts";`,
      [`${CORE}/words.ts`]: `import "./errors.ts";`,
      [`${CORE}/errors.ts`]: `import "./driver/index.ts";`,
      [`${CORE}/driver/index.ts`]: "",
      [`${CORE}/verdict.ts`]: `import "./settlement/entry.ts";`,
      [`${CORE}/settlement/entry.ts`]: "",
      [`${CORE}/opener.ts`]: `import "./detour.ts";`,
      [`${CORE}/detour.ts`]: `import "./connect.ts";`,
      [`${CORE}/connect.ts`]: "",
      [`${CORE}/publish.ts`]: `import "./verdict.ts";`,
    };
    expect(violations(files)).toEqual([
      `${CORE}/retry/policy.ts:1: retry imports verdict, which stands above it`,
      `${CORE}/retry/policy.ts:1: retry imports opener, which stands above it`,
    ]);
  });

  test("the generated table imports nothing", () => {
    expect(violations({ [`${CORE}/adapters.generated.ts`]: `import type { A } from "./driver/index.ts";` })).toEqual([
      `${CORE}/adapters.generated.ts:1: the generated table is data and imports nothing`,
    ]);
  });
});

describe("an adapter", () => {
  test("imports the SPI, its own files, its client and node:*", () => {
    const files = {
      "adapters/demo/package.json": adapter({ client: "1.0.0", "@scope/client": "1.0.0" }),
      "adapters/demo/src/driver.ts": `import "node:net"; import "brokerkit/driver"; import "client"; import "@scope/client/sub"; import "./mapping.ts";`,
      "adapters/demo/src/mapping.ts": "",
      "adapters/demo/test/conformance.test.ts": `import "vitest"; import "brokerkit"; import "../harness.ts";`,
    };
    expect(violations(files)).toEqual([]);
  });

  test.each([
    "brokerkit",
    "brokerkit/testing",
    "brokerkit/memory",
    "other",
    "client-extras",
    "@brokerkit/conformance",
    "../../other/src/index.ts",
    "../harness.ts",
  ])("does not import %s", (specifier) => {
    const files = {
      "adapters/demo/package.json": adapter({ client: "1.0.0" }),
      "adapters/demo/src/driver.ts": `import type { A } from "${specifier}";`,
    };
    const found = violations(files);
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(`"${specifier}"`);
  });

  test("has a capability record that reaches no client, not even by a detour", () => {
    const files = {
      "adapters/demo/package.json": adapter({ client: "1.0.0" }),
      "adapters/demo/src/capabilities.ts": `import { limit } from "./mapping.ts"; import type { T } from "client";`,
      "adapters/demo/src/mapping.ts": `import { c } from "client"; export const limit = c;`,
    };
    expect(violations(files)).toEqual([`adapters/demo/src/mapping.ts:1: capabilities.ts → ./mapping.ts reaches "client"`]);
  });
});

describe("the suite", () => {
  test("imports core's public parts and loads testcontainers late", () => {
    const files = {
      "conformance-tests/src/index.ts": `import "brokerkit"; import "brokerkit/driver"; import "brokerkit/testing"; import "node:fs";`,
      "conformance-tests/src/brokers/docker.ts": `import type { A } from "testcontainers"; await import("testcontainers");`,
      "conformance-tests/test/demo.test.ts": `import "@brokerkit/demo/harness"; import "vitest";`,
    };
    expect(violations(files)).toEqual([]);
  });

  test.each([
    ["index.ts", `import "@brokerkit/demo";`],
    ["index.ts", `import "../../adapters/demo/src/index.ts";`],
    ["index.ts", `import "vitest";`],
    ["index.ts", `await import("testcontainers");`],
    ["brokers/docker.ts", `import { A } from "testcontainers";`],
  ])("%s may not hold %s", (path, text) => {
    const found = violations({ [`conformance-tests/src/${path}`]: text });
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(`conformance-tests/src/${path}:1`);
  });
});

describe("everywhere", () => {
  test("export * is refused", () => {
    expect(violations({ "adapters/demo/harness.ts": `export * from "./src/index.ts";`, "adapters/demo/src/index.ts": "" })).toEqual([
      "adapters/demo/harness.ts:1: export * hides what is public",
    ]);
  });

  test("a cycle is refused, type imports and workspace names included", () => {
    const files = {
      "packages/core/package.json": JSON.stringify({
        name: "brokerkit",
        version: "0.1.0",
        exports: { "./driver": { "@brokerkit/source": "./src/driver/index.ts" } },
      }),
      [`${CORE}/driver/index.ts`]: `import type { A } from "./wire.ts";`,
      [`${CORE}/driver/wire.ts`]: `import type { B } from "brokerkit/driver";`,
    };
    expect(violations(files)).toContain(`import cycle: ${CORE}/driver/index.ts → ${CORE}/driver/wire.ts → ${CORE}/driver/index.ts`);
  });

  test("a folder named utils, helpers or common is refused", () => {
    const files = { "benchmarks/src/utils/a.ts": "", "adapters/demo/test/Helpers/b.ts": "", "tools/common/c/d.ts": "" };
    expect(violations(files)).toEqual([
      "adapters/demo/test/Helpers/: name the folder after the one concern its files share",
      "benchmarks/src/utils/: name the folder after the one concern its files share",
      "tools/common/: name the folder after the one concern its files share",
    ]);
  });
});

describe("cycles", () => {
  const graph = (edges: Readonly<Record<string, string>>) => new Map(Object.entries(edges).map(([from, to]) => [from, [...to]]));

  test("are told as a way back to the start, each once", () => {
    const found = cycles(graph({ a: "b", b: "c", c: "a", d: "e", e: "d", f: "a" }));
    expect(found.map((cycle) => cycle.length)).toEqual([4, 3]);
    expect(found.every((cycle) => cycle[0] === cycle.at(-1))).toBe(true);
  });

  test("of one file are found too", () => expect(cycles(graph({ a: "a" }))).toEqual([["a", "a"]]));
  test("are not made of shared targets", () => expect(cycles(graph({ a: "bc", b: "d", c: "d", d: "" }))).toEqual([]));
});
