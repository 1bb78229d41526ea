import { describe, expect, test } from "vitest";
import { houseWords } from "../checks/house-words.ts";
import { lockfile, manifests } from "../checks/manifests.ts";
import { brokerNames } from "../checks/names.ts";
import { sizes } from "../checks/sizes.ts";
import { platformEntry } from "../lockfile.mjs";
import { tree } from "./tree.ts";

describe("broker names", () => {
  const at = (path: string, text: string): string[] => brokerNames(tree({ [path]: text }));

  test.each([
    "REDIS_URL",
    "// as RabbitMQ does",
    "toSqsQueue",
    "nats_url",
    "KafkaJS",
    "JetStream",
    "jet-stream",
    "pulsar",
    "rediss:",
    "SNS",
  ])("%s is seen", (text) => {
    expect(at("packages/core/src/a.ts", text)).toHaveLength(1);
    expect(at("conformance-tests/src/a.ts", text)).toHaveLength(1);
  });

  test.each(["redistribute", "rediscover", "transnational", "alternates", "combinations", "streamed", "responses"])(
    "%s is another word",
    (text) => {
      expect(at("packages/core/src/a.ts", text)).toEqual([]);
    },
  );

  test("adapters, tests and generated files may say them", () => {
    expect(at("adapters/demo/src/a.ts", "redis")).toEqual([]);
    expect(at("conformance-tests/test/a.test.ts", "redis")).toEqual([]);
    expect(at("packages/core/src/adapters.generated.ts", "redis")).toEqual([]);
    expect(at("packages/demo/src/records.generated.ts", "redis")).toEqual([]);
  });
});

describe("sizes", () => {
  const lines = (count: number): string => "export const a = 1;\n".repeat(count);

  test("a core file of 350 lines passes, of 351 is refused", () => {
    const small = { "packages/core/src/a.ts": lines(1), "packages/core/src/b.ts": lines(1) };
    expect(sizes(tree({ ...small, "packages/core/src/c.ts": lines(350) }))).toEqual([]);
    expect(sizes(tree({ ...small, "packages/core/src/c.ts": lines(351) }))).toHaveLength(1);
  });

  test("a median above 100 lines is refused", () => {
    const files = { "packages/core/src/a.ts": lines(90), "packages/core/src/b.ts": lines(112) };
    expect(sizes(tree(files))).toEqual(["packages/core/src: the median file has 101 lines, at most 100; split the longest by concern"]);
  });

  test("the SPI is counted without its comments", () => {
    const spi = (code: number) => ({
      "packages/core/src/driver/a.ts": lines(150) + "/** why */\n".repeat(190),
      "packages/core/src/driver/b.ts": lines(code - 150),
      "packages/core/src/a.ts": "",
      "packages/core/src/b.ts": "",
    });
    expect(sizes(tree(spi(300)))).toEqual([]);
    expect(sizes(tree(spi(301)))).toHaveLength(1);
  });

  test("any, and a test that is skipped or retried, are refused wherever they stand", () => {
    expect(sizes(tree({ "adapters/demo/src/a.ts": "export const a: any = 1;" }))).toHaveLength(1);
    expect(sizes(tree({ "adapters/demo/test/a.test.ts": `test.only("a", () => {});` }))).toHaveLength(1);
    expect(sizes(tree({ "adapters/demo/test/a.test.ts": `test("a", { retry: 1 }, () => {});` }))).toHaveLength(1);
  });
});

describe("house words", () => {
  const slash = "/"; // so that this file does not hold what it tests for
  test.each([
    `${slash}work${slash}main`,
    `cd ${slash}root${slash}x`,
    `..${slash}shared${slash}a.md`,
    `${slash}tmp${slash}bash_jobs`,
    `(${slash}work${slash}a)`,
  ])("%s is refused", (text) => expect(houseWords(tree({ "docs/a.md": `first\n${text}\n` }))).toHaveLength(1));

  test.each(["src/work/file.ts", "./root/x", "a working day", "../shared-state.ts", "https://example.com/work"])("%s is fine", (text) =>
    expect(houseWords(tree({ "docs/a.md": text }))).toEqual([]),
  );
});

describe("the entry of a platform's package", () => {
  test.each([
    ["@a/cli-linux-arm64-musl", { os: ["linux"], cpu: ["arm64"], libc: ["musl"] }],
    ["@a/binding-linux-arm-gnueabihf", { os: ["linux"], cpu: ["arm"], libc: ["glibc"] }],
    ["@a/exe.darwin-x64", { os: ["darwin"], cpu: ["x64"] }],
    ["@a/win32-ia32-msvc", { os: ["win32"], cpu: ["ia32"] }],
  ])("of %s is read from its name", (name, platform) => {
    expect(platformEntry(name, "1.0.0")).toEqual({ version: "1.0.0", optional: true, ...platform });
  });

  test("is left to npm where the name says no platform", () => expect(platformEntry("fsevents", "1.0.0")).toBeUndefined());
});

describe("manifests", () => {
  const top = { name: "top", version: "0.1.0", private: true, license: "Apache-2.0", type: "module" };
  const demo = {
    ...top,
    name: "@brokerkit/demo",
    private: undefined,
    description: "A demo",
    engines: { node: ">=22.13" },
    files: ["dist"],
    exports: { ".": { "@brokerkit/source": "./src/index.ts", types: "./dist/index.d.ts", default: "./dist/index.js" } },
  };
  const check = (changes: object): string[] =>
    manifests(tree({ "package.json": JSON.stringify(top), "adapters/demo/package.json": JSON.stringify({ ...demo, ...changes }) }));

  test("a complete one passes", () => expect(check({})).toEqual([]));

  test.each([
    ["a floating version", { dependencies: { client: "^1.0.0" } }],
    ["another version than the others", { version: "0.2.0" }],
    ["no license", { license: undefined }],
    ["a source file that would be published", { files: ["dist", "src"] }],
    ["conditions in another order", { exports: { ".": { default: "./dist/index.js", types: "./dist/index.d.ts" } } }],
    ["an install script", { scripts: { postinstall: "node x.js" } }],
    ["no engines", { engines: undefined }],
  ])("%s is refused", (_, changes) => expect(check(changes)).toHaveLength(1));

  test("a lockfile that does not know a dependency is refused", () => {
    const files = (locked: object) => ({
      "package.json": JSON.stringify(top),
      "adapters/demo/package.json": JSON.stringify({ ...demo, dependencies: { client: "1.0.0" } }),
      "package-lock.json": JSON.stringify({ packages: { "": {}, "adapters/demo": locked } }),
    });
    expect(lockfile(tree(files({ dependencies: { client: "1.0.0" } })))).toEqual([]);
    expect(lockfile(tree(files({ dependencies: { client: "1.0.1" } })))).toHaveLength(1);
    expect(lockfile(tree(files({})))).toHaveLength(1);
  });

  test("a lockfile that lacks another platform's package is refused", () => {
    const parser = { version: "2.0.0", optionalDependencies: { "@parser/binding-linux-x64-musl": "2.0.0" } };
    const files = (more: object) => ({
      "package.json": JSON.stringify(top),
      "package-lock.json": JSON.stringify({ packages: { "": {}, "node_modules/parser": parser, ...more } }),
    });
    expect(lockfile(tree(files({})))).toEqual([
      "package-lock.json: lacks node_modules/@parser/binding-linux-x64-musl, so npm ci refuses it; run npm run lock and commit the lockfile",
    ]);
    expect(lockfile(tree(files({ "node_modules/@parser/binding-linux-x64-musl": { version: "2.0.0" } })))).toEqual([]);
    expect(lockfile(tree(files({ "node_modules/parser/node_modules/@parser/binding-linux-x64-musl": { version: "2.0.0" } })))).toEqual([]);
  });
});
