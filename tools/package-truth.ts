// What users get: the packed packages, looked at by publint and attw and used by consumers in an empty folder outside the checkout.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { checkPackage, createPackageFromTarballData, type Problem } from "@arethetypeswrong/core";
import { build as esbuild } from "esbuild";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { buildAll, isImported } from "./build.ts";
import type { Report } from "./lanes/report.ts";
import { packAll } from "./pack.ts";
import { plainEnvironment, type RunOptions, run, tail } from "./process.ts";
import { parseSource } from "./source.ts";
import { CACHE, published, ROOT, readManifest } from "./workspace.ts";

/** The name that `--only` takes. */
export const PACKAGE_STEP = "package";

/** The lowest Node that "engines" of core and SQLite names. */
const LOWEST_NODE = "22.13.0";
const TSC = join(ROOT, "node_modules", "typescript", "bin", "tsc");
const PNPM = join(ROOT, "node_modules", "pnpm", "bin", "pnpm.mjs");

/** As a user's strict project has it; `skipLibCheck: false` makes the compiler read every declaration that we publish. */
const TSCONFIG = {
  target: "es2022",
  lib: ["es2024", "esnext.disposable"],
  module: "nodenext",
  moduleResolution: "nodenext",
  types: ["node"],
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  noPropertyAccessFromIndexSignature: true,
  skipLibCheck: false,
  outDir: "out",
};

type Failures = readonly string[];

/** A program that is run: no failure when it ends well and prints what is expected. */
async function expectRun(file: string, args: readonly string[], options: RunOptions, wanted?: RegExp): Promise<Failures> {
  const { code, output, stdout } = await run(file, args, { timeoutMs: 60_000, env: plainEnvironment(), ...options });
  if (code !== 0) return [`exit code ${code}\n${tail(output)}`];
  if (wanted !== undefined && !wanted.test(stdout)) return [`printed ${JSON.stringify(stdout.trim())}, not ${wanted}`];
  return [];
}

function writeJson(path: string, value: unknown): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(value, undefined, 2)}\n`);
}

/** Exact versions of tools and libraries that consumers use beside ours, as this workspace has them. */
function toolVersion(name: string): string {
  const version = readManifest(ROOT, ".").devDependencies?.[name];
  if (version === undefined) throw new Error(`package.json: a consumer needs ${name}, which is no dev dependency`);
  return version;
}

/** A consumer's folder with its manifest: ours from the tarballs, the rest from the registry. */
function consumer(folder: string, tarballs: ReadonlyMap<string, string>, ours: readonly string[], others: readonly string[]): void {
  const dependencies: Record<string, string> = {};
  for (const name of ours) dependencies[name] = `file:${tarballs.get(name) ?? "missing"}`;
  for (const name of others) dependencies[name] = toolVersion(name);
  writeJson(join(folder, "package.json"), { name: "consumer", version: "1.0.0", private: true, type: "module", dependencies });
}

function npmInstall(folder: string): Promise<Failures> {
  const args = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--no-package-lock", "--loglevel=error"];
  return expectRun("npm", args, { cwd: folder, timeoutMs: 300_000 });
}

/** A problem that only users of TypeScript's old resolution modes have; `require()` of ECMAScript modules works on every Node we support. */
const outOfScope = (problem: Problem): boolean =>
  ("resolutionKind" in problem && problem.resolutionKind === "node10") || problem.kind === "CJSResolvesToESM";

async function looks(report: Report, name: string, tarball: string): Promise<void> {
  const bytes = readFileSync(tarball);
  const pkg = createPackageFromTarballData(new Uint8Array(bytes));
  const root = `/node_modules/${name}/`;
  await report.measure(PACKAGE_STEP, `${name} holds dist, README, LICENSE and nothing else`, async () => {
    const files = pkg.listFiles().map((path) => path.slice(root.length));
    const extra = files.filter((path) => !/^(package\.json|README\.md|LICENSE|dist\/(programs\/)?[\w-]+\.(js|d\.ts))$/.test(path));
    const manifest = pkg.readFile(`${root}package.json`);
    return [
      ...extra.map((path) => `${path} is published`),
      ...["README.md", "LICENSE"].filter((path) => !files.includes(path)).map((path) => `${path} is missing`),
      ...(manifest.includes("@brokerkit/source") ? ["package.json still names the sources"] : []),
    ];
  });
  await report.measure(PACKAGE_STEP, `${name} passes publint`, async () => {
    const { messages, pkg: manifest } = await publint({ pack: { tarball: Uint8Array.from(bytes).buffer }, strict: true });
    return messages
      .filter(({ type }) => type !== "suggestion")
      .map((message) => formatMessage(message, manifest ?? {}, { color: false }) ?? message.code);
  });
  if (!published(ROOT).some((workspace) => workspace.manifest.name === name && isImported(workspace))) return;
  await report.measure(PACKAGE_STEP, `${name} passes attw as an ECMAScript module`, async () => {
    const result = await checkPackage(pkg);
    if (result.types === false) return ["has no types"];
    return result.problems.filter((problem) => !outOfScope(problem)).map((problem) => JSON.stringify(problem));
  });
  await report.measure(PACKAGE_STEP, `${name} names no client in its declarations`, async () => {
    const found: string[] = [];
    for (const path of pkg.listFiles().filter((file) => file.endsWith(".d.ts") && !file.endsWith("/native.d.ts"))) {
      for (const { specifier } of parseSource(path, pkg.readFile(path)).imports) {
        if (!/^(\.|node:|brokerkit($|\/)|@brokerkit\/)/.test(specifier)) found.push(`${path.slice(root.length)} imports "${specifier}"`);
      }
    }
    return found;
  });
}

/** Every sub-path that is published, by the name that users import. Programs are started as processes, never imported. */
function subPaths(): string[] {
  return published(ROOT).flatMap(({ manifest }) =>
    Object.entries(manifest.exports ?? {})
      .filter(
        ([subPath, conditions]) =>
          !subPath.startsWith("./programs/") && typeof conditions !== "string" && conditions["default"] !== undefined,
      )
      .map(([subPath]) => manifest.name + subPath.slice(1)),
  );
}

async function compiles(folder: string, files: readonly string[], extra: object = {}): Promise<Failures> {
  writeJson(join(folder, "tsconfig.json"), { compilerOptions: { ...TSCONFIG, ...extra }, files });
  return expectRun(process.execPath, [TSC, "-p", "tsconfig.json"], { cwd: folder, timeoutMs: 120_000 });
}

/** Compiled and run as users do, in one installation of all packages by npm. */
async function npmConsumers(report: Report, folder: string, tarballs: ReadonlyMap<string, string>): Promise<void> {
  consumer(folder, tarballs, [...tarballs.keys()], ["zod", "@types/node"]);
  if (!(await report.measure(PACKAGE_STEP, "npm installs all packages into an empty folder", () => npmInstall(folder)))) return;
  const paths = subPaths();
  writeFileSync(
    join(folder, "all.ts"),
    paths.map((path, index) => `import * as m${index} from "${path}";\nexport { m${index} };\n`).join(""),
  );
  writeFileSync(
    join(folder, "all.cts"),
    paths.map((path, index) => `import m${index} = require("${path}");\nexport { m${index} };\n`).join(""),
  );
  for (const name of ["esm.ts", "cjs.cts", "bundle.ts"]) cpSync(join(ROOT, "tools", "consumers", name), join(folder, name));

  const node = process.execPath;
  await report.measure(PACKAGE_STEP, "every sub-path compiles under nodenext with skipLibCheck off", () =>
    compiles(folder, ["all.ts", "all.cts"]),
  );
  await report.measure(PACKAGE_STEP, "every sub-path loads by import", () => expectRun(node, ["out/all.js"], { cwd: folder }));
  await report.measure(PACKAGE_STEP, "every sub-path loads by require", () => expectRun(node, ["out/all.cjs"], { cwd: folder }));
  const esm = /^string 1,2 1,2 CLOSED$/m;
  if (await report.measure(PACKAGE_STEP, "an ESM program compiles", () => compiles(folder, ["esm.ts"]))) {
    await report.measure(PACKAGE_STEP, "an ESM program runs on memory", () =>
      expectRun(node, ["out/esm.js", "memory:"], { cwd: folder }, esm),
    );
    await report.measure(PACKAGE_STEP, "an ESM program runs on SQLite", () =>
      expectRun(node, ["out/esm.js", "sqlite:esm.db"], { cwd: folder }, esm),
    );
  }
  if (await report.measure(PACKAGE_STEP, "a CommonJS program compiles", () => compiles(folder, ["cjs.cts"]))) {
    await report.measure(PACKAGE_STEP, "a CommonJS program runs", () =>
      expectRun(node, ["out/cjs.cjs"], { cwd: folder }, /^1 CLOSED 2 object$/m),
    );
    await lowestNode(report, "a CommonJS program runs", (lowest) =>
      expectRun(lowest, ["out/cjs.cjs"], { cwd: folder }, /^1 CLOSED 2 object$/m),
    );
  }
  await lowestNode(report, "an ESM program runs on SQLite", (lowest) =>
    expectRun(lowest, ["out/esm.js", "sqlite:lowest.db"], { cwd: folder }, esm),
  );
  await report.measure(PACKAGE_STEP, "an esbuild bundle runs where nothing is installed", () => bundle(folder));
  await report.measure(PACKAGE_STEP, "the programs of the first day compile from the packages", async () => {
    const programs = join(ROOT, "examples", "first-day", "programs.ts");
    if (!existsSync(programs))
      return ["examples/first-day/programs.ts is missing; it holds the programs that users write on their first day"];
    cpSync(programs, join(folder, "programs.ts"));
    // As the specification of the surface was checked: declarations too, without inference.
    return compiles(folder, ["programs.ts"], { declaration: true, isolatedDeclarations: true });
  });
}

async function bundle(folder: string): Promise<Failures> {
  const alone = mkdtempSync(join(tmpdir(), "brokerkit-bundle-"));
  try {
    const outfile = join(alone, "bundle.mjs");
    const built = await esbuild({
      absWorkingDir: folder,
      entryPoints: ["bundle.ts"],
      bundle: true,
      platform: "node",
      format: "esm",
      target: "node22",
      outfile,
      logLevel: "silent",
    });
    if (built.warnings.length > 0) return built.warnings.map(({ text }) => text);
    return await expectRun(process.execPath, [outfile], { cwd: alone }, /^1$/m);
  } finally {
    rmSync(alone, { recursive: true, force: true });
  }
}

/** pnpm without hoisting gives a package exactly what it declares: an undeclared import fails here. */
async function pnpmConsumer(report: Report, folder: string, tarballs: ReadonlyMap<string, string>): Promise<void> {
  consumer(folder, tarballs, ["brokerkit", "@brokerkit/sqlite"], ["zod"]);
  writeFileSync(
    join(folder, "pnpm-workspace.yaml"),
    `packages: []\nnodeLinker: isolated\nhoist: false\nautoInstallPeers: false\nstrictPeerDependencies: true\nstoreDir: ${JSON.stringify(join(CACHE, "pnpm-store"))}\n`,
  );
  const installed = await report.measure(PACKAGE_STEP, "pnpm installs without hoisting", () =>
    expectRun(process.execPath, [PNPM, "install", "--prefer-offline", "--ignore-scripts"], {
      cwd: folder,
      timeoutMs: 300_000,
      env: plainEnvironment({ CI: "true" }),
    }),
  );
  if (!installed) return;
  cpSync(join(ROOT, "tools", "consumers", "esm.ts"), join(folder, "esm.ts"));
  for (const url of ["memory:", "sqlite:pnpm.db"]) {
    await report.measure(PACKAGE_STEP, `a program runs under pnpm without hoisting on ${url.split(":")[0]}`, () =>
      expectRun(process.execPath, ["esm.ts", url], { cwd: folder }, /^string 1,2 1,2 CLOSED$/m),
    );
  }
}

/** The lowest supported Node, fetched once into the user's cache; npm checks what it fetches, and a half-made copy is never used. */
async function lowest(): Promise<string> {
  const platform = process.platform === "win32" ? "win" : process.platform;
  const name = `node-${platform}-${process.arch}`;
  const place = join(CACHE, `node-${LOWEST_NODE}`);
  const binary = join(place, "node_modules", name, "bin", process.platform === "win32" ? "node.exe" : "node");
  const works = async (): Promise<boolean> =>
    existsSync(binary) && (await run(binary, ["--version"], { env: plainEnvironment() })).stdout.trim() === `v${LOWEST_NODE}`;
  if (await works()) return binary;
  mkdirSync(CACHE, { recursive: true });
  const fresh = mkdtempSync(join(CACHE, "fetching-"));
  try {
    writeJson(join(fresh, "package.json"), { name: "lowest-node", version: "1.0.0", private: true, dependencies: { [name]: LOWEST_NODE } });
    const failures = await npmInstall(fresh);
    if (failures.length > 0) throw new Error(`Node ${LOWEST_NODE} could not be fetched as ${name}:\n${failures.join("\n")}`);
    rmSync(place, { recursive: true, force: true });
    try {
      renameSync(fresh, place);
    } catch (error) {
      if (!(await works())) throw error; // another run was first
    }
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
  if (!(await works())) throw new Error(`${binary} does not answer as Node ${LOWEST_NODE}`);
  return binary;
}

function lowestNode(report: Report, what: string, check: (binary: string) => Promise<Failures>): Promise<boolean> {
  return report.measure(PACKAGE_STEP, `${what} on Node ${LOWEST_NODE}`, async () => check(await lowest()));
}

/** A command runs where nothing but its package is there: no adapter, no client. */
async function commandConsumer(report: Report, folder: string, tarballs: ReadonlyMap<string, string>): Promise<void> {
  const name = "@brokerkit/cli";
  const args = ["compare", "redis+pubsub", "sqlite"];
  const wanted = /^redis\+pubsub → sqlite\n/;
  mkdirSync(folder, { recursive: true });
  await report.measure(PACKAGE_STEP, "npx runs brokerkit compare in an empty folder", () =>
    expectRun(
      "npx",
      ["--yes", "--prefer-offline", `--package=file:${tarballs.get(name) ?? "missing"}`, "brokerkit", ...args],
      { cwd: folder },
      wanted,
    ),
  );
  consumer(folder, tarballs, [name], []);
  const installed = await report.measure(PACKAGE_STEP, `npm installs ${name} and nothing beside it`, async () => {
    const failures = await npmInstall(folder);
    const found = failures.length > 0 ? [] : readdirSync(join(folder, "node_modules")).filter((one) => !one.startsWith("."));
    return [...failures, ...found.filter((one) => one !== "@brokerkit").map((one) => `it brought ${one} along`)];
  });
  if (!installed) return;
  await lowestNode(report, "brokerkit compare runs", (lowest) =>
    expectRun(lowest, [join("node_modules", name, "dist", "main.js"), ...args], { cwd: folder }, wanted),
  );
}

/** The first TypeScript block of the README that imports brokerkit. */
function readmeExample(): string | undefined {
  const readme = join(ROOT, "README.md");
  if (!existsSync(readme)) return undefined;
  const blocks = readFileSync(readme, "utf8").matchAll(/^```ts[^\n]*\n(.*?)^```$/gms);
  return [...blocks].map((block) => block[1]).find((text) => text?.includes(`from "brokerkit"`));
}

/** `npm i brokerkit` and the README's first program: nothing else may be needed than what the program itself imports. */
async function readmeConsumer(report: Report, folder: string, tarballs: ReadonlyMap<string, string>): Promise<void> {
  await lowestNode(report, "README's example runs", async (binary) => {
    const example = readmeExample();
    if (example === undefined) return ["README.md has no ```ts block that imports brokerkit; its first one is the example that users copy"];
    const imported = parseSource("example.ts", example).imports.map(({ specifier }) => specifier);
    const others = imported.filter((specifier) => !/^(node:|brokerkit($|\/))/.test(specifier));
    consumer(folder, tarballs, ["brokerkit"], others);
    writeFileSync(join(folder, "example.ts"), example);
    const failures = await npmInstall(folder);
    if (failures.length > 0) return failures;
    const installed = readdirSync(join(folder, "node_modules")).filter((name) => !name.startsWith("."));
    const extra = installed.filter((name) => name !== "brokerkit" && !others.includes(name));
    if (extra.length > 0) return [`npm i brokerkit brought ${extra.join(", ")} along`];
    return expectRun(binary, ["--experimental-strip-types", "--disable-warning=ExperimentalWarning", "example.ts"], {
      cwd: folder,
      env: plainEnvironment({ BROKER_URL: undefined }),
    });
  });
}

/** Builds, packs and uses the packages; every check is one case. */
export async function runPackageTruth(report: Report): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), "brokerkit-packages-"));
  try {
    let tarballs = new Map<string, string>();
    const compile = async (): Promise<Failures> => {
      await buildAll();
      return [];
    };
    if (!(await report.measure(PACKAGE_STEP, "all packages build", compile))) return;
    const pack = async (): Promise<Failures> => {
      tarballs = await packAll(join(work, "tarballs"));
      return [];
    };
    if (!(await report.measure(PACKAGE_STEP, "all packages pack", pack))) return;
    for (const [name, tarball] of tarballs) await looks(report, name, tarball);
    await npmConsumers(report, join(work, "npm"), tarballs);
    await pnpmConsumer(report, join(work, "pnpm"), tarballs);
    await readmeConsumer(report, join(work, "readme"), tarballs);
    await commandConsumer(report, join(work, "command"), tarballs);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
