import { describe, expect, test } from "vitest";
import { adapterShape } from "../checks/adapter-shape.ts";
import { tree } from "./tree.ts";

const manifest = (schemes: Readonly<Record<string, string>>): string =>
  JSON.stringify({ name: "@brokerkit/demo", version: "0.1.0", brokerkit: { schemes } });

const GOOD: Readonly<Record<string, string>> = {
  "adapters/demo/package.json": manifest({ demo: "demo", demos: "demo" }),
  "adapters/demo/README.md": "# demo\n",
  "adapters/demo/harness.ts": "",
  "adapters/demo/src/index.ts": `export { demo } from "./driver.ts"; export type { DemoOptions } from "./options.ts";`,
  "adapters/demo/src/options.ts": "",
  "adapters/demo/src/capabilities.ts": "",
  "adapters/demo/src/driver.ts": "",
  "adapters/demo/src/scripts/claim.ts": "",
  "adapters/demo/test/conformance.test.ts": "run();\n",
};

const check = (files: Readonly<Record<string, string | undefined>>): string[] => {
  const kept = Object.entries({ ...GOOD, ...files }).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return adapterShape(tree(Object.fromEntries(kept)));
};

const lines = (count: number): string => "export const a = 1;\n".repeat(count);

test("an adapter of the common shape passes", () => expect(check({})).toEqual([]));

test("a second driver in a folder of its own passes", () => {
  const files = {
    "adapters/demo/package.json": manifest({ demo: "demo", "demo+live": "demo+live" }),
    "adapters/demo/src/index.ts": "export const demo = 1; export const demoLive = 2;",
    "adapters/demo/src/live/driver.ts": lines(900),
    "adapters/demo/src/live/scripts/claim.lua": "",
    "adapters/demo/src/driver.ts": lines(800),
  };
  expect(check(files)).toEqual([]);
});

describe("is refused:", () => {
  test.each(["README.md", "harness.ts", "src/capabilities.ts", "test/conformance.test.ts"])("a missing %s", (path) => {
    expect(check({ [`adapters/demo/${path}`]: undefined })).toEqual([`adapters/demo/${path} is missing`]);
  });

  test("a missing index.ts", () => {
    expect(check({ "adapters/demo/src/index.ts": undefined })).toEqual(["adapters/demo/src/index.ts is missing"]);
  });

  test.each(["src/connection.ts", "src/live/pool.ts", "src/live/deep/driver.ts", "src/live/deep/scripts/claim.ts"])(
    "the name %s",
    (path) => {
      const found = check({ [`adapters/demo/${path}`]: "", "adapters/demo/src/live/driver.ts": "" });
      expect(found).toHaveLength(1);
      expect(found[0]).toMatch(`adapters/demo/${path}: every adapter has the same file names`);
    },
  );

  test("a folder that is neither a driver nor counted apart", () => {
    expect(check({ "adapters/demo/src/live/mapping.ts": "" })).toEqual([
      "adapters/demo/src/live/: a folder here is a further driver and has a driver.ts, or is scripts/ or protocol/",
    ]);
  });

  test("more than 900 lines of code, where comments do not count", () => {
    expect(check({ "adapters/demo/src/driver.ts": lines(899) + "// why\n".repeat(500) })).toEqual([]);
    const found = check({ "adapters/demo/src/driver.ts": lines(500), "adapters/demo/src/cursor.ts": lines(400) });
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch("adapters/demo/src: 901 lines of code");
  });

  test("more than 1,300 lines of what runs inside the backend, which counts apart", () => {
    expect(check({ "adapters/demo/src/driver.ts": lines(899), "adapters/demo/src/scripts/claim.ts": lines(1_300) })).toEqual([]);
    const found = check({ "adapters/demo/src/scripts/claim.ts": lines(1_301) });
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch("adapters/demo/src/scripts: 1301 lines of code");
  });

  test("more than 3,700 lines of wire protocol, which counts apart and has free file names", () => {
    const protocol = Object.fromEntries(
      Array.from({ length: 11 }, (_, n) => [`adapters/demo/src/protocol/${n < 5 ? "wire/" : ""}part${n}.ts`, lines(n < 10 ? 350 : 200)]),
    );
    expect(check({ "adapters/demo/src/driver.ts": lines(899), ...protocol })).toEqual([]);
    const found = check({ ...protocol, "adapters/demo/src/protocol/wire/more.ts": lines(1) });
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch("adapters/demo/src/protocol: 3701 lines of code");
  });

  test("a file of wire protocol with more than 350 lines", () => {
    expect(check({ "adapters/demo/src/protocol/wire/frames.ts": lines(351) })).toEqual([
      "adapters/demo/src/protocol/wire/frames.ts: 351 lines of code, at most 350 in one file of this folder",
    ]);
  });

  test("an export that is neither the factory nor a type", () => {
    const found = check({ "adapters/demo/src/index.ts": "export const demo = 1; export class Driver {}; export interface Options {}" });
    expect(found).toEqual(["adapters/demo/src/index.ts: exports Driver; an adapter exports its factory (demo) and types"]);
  });

  test("a driver without its factory", () => {
    expect(check({ "adapters/demo/package.json": manifest({ demo: "demo", "demo+live": "demo+live" }) })).toEqual([
      "adapters/demo/src/index.ts: exports no factory named as the adapter demo+live",
    ]);
  });

  test("a manifest without schemes", () => {
    expect(check({ "adapters/demo/package.json": JSON.stringify({ name: "@brokerkit/demo", version: "0.1.0" }) })).toHaveLength(1);
  });

  test("a conformance test of more than 20 lines", () => {
    expect(check({ "adapters/demo/test/conformance.test.ts": "run();\n".repeat(20) })).toEqual([]);
    expect(check({ "adapters/demo/test/conformance.test.ts": "run();\n".repeat(21) })).toHaveLength(1);
  });
});
