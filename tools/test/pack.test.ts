import { expect, test } from "vitest";
import { entriesOf } from "../build.ts";
import { publishedManifest } from "../pack.ts";
import { published, ROOT, SOURCE } from "../workspace.ts";

test("a published manifest has neither sources nor what only the workspace needs", () => {
  const manifest = publishedManifest({
    name: "@brokerkit/demo",
    version: "0.1.0",
    exports: {
      ".": { [SOURCE]: "./src/index.ts", types: "./dist/index.d.ts", default: "./dist/index.js" },
      "./harness": { [SOURCE]: "./harness.ts" },
      "./package.json": "./package.json",
    },
    dependencies: { client: "1.0.0" },
    devDependencies: { "@brokerkit/conformance": "0.1.0" },
  });
  expect(manifest).toEqual({
    name: "@brokerkit/demo",
    version: "0.1.0",
    exports: { ".": { types: "./dist/index.d.ts", default: "./dist/index.js" }, "./package.json": "./package.json" },
    dependencies: { client: "1.0.0" },
  });
});

test("what is built is what is exported or is a command", () => {
  const packages = published(ROOT);
  expect(packages.map(({ manifest }) => manifest.name)).toContain("brokerkit");
  for (const workspace of packages) {
    const { bin = {}, exports = {} } = workspace.manifest;
    const exported = Object.values(exports).flatMap((conditions) =>
      typeof conditions === "string" || conditions["default"] === undefined ? [] : [conditions["default"]],
    );
    const built = [...Object.values(bin), ...exported];
    expect(Object.keys(entriesOf(workspace)).map((entry) => `./dist/${entry}.js`)).toEqual(built);
  }
});
