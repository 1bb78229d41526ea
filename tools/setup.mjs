// The one door of every npm script. It begins on any Node from 20 on with nothing installed: it installs what the lockfile names,
// puts the toolchain's Node in place, and runs the asked command under that Node. Plain JavaScript without dependencies, on purpose.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const MODULES = join(ROOT, "node_modules");
const LOCK = join(ROOT, ".cache", "setup.lock");
const SOURCE = "--conditions=@brokerkit/source";
const RUN = [SOURCE, "--disable-warning=ExperimentalWarning"];
const COLORS = process.stdout.isTTY ? "--colors=force" : "--colors=off";

const bin = (/** @type {string} */ name) => join(MODULES, ".bin", name);

/** Each command: the files that Node runs one after the other, with their arguments. `rest` is what the user added. */
const COMMANDS = /** @type {Record<string, (rest: string[]) => string[][]>} */ ({
  start: (rest) => [[...RUN, "examples/tour/main.ts", ...rest]],
  test: (rest) => [[...RUN, "tools/test.ts", ...rest]],
  typecheck: () => [
    [join(MODULES, "typescript", "bin", "tsc"), "--noEmit"],
    [join(MODULES, "typescript", "bin", "tsc"), "--noEmit", "-p", "tsconfig.build.json"],
  ],
  lint: (rest) => [[join(MODULES, "@biomejs", "biome", "bin", "biome"), "ci", COLORS, ...rest]],
  format: (rest) => [[join(MODULES, "@biomejs", "biome", "bin", "biome"), "check", "--write", COLORS, ...rest]],
  build: (rest) => [[...RUN, "tools/build.ts", ...rest]],
  generate: (rest) => [
    [...RUN, "tools/generate-adapters.ts", ...rest],
    [...RUN, "conformance-tests/src/matrix.ts"],
    [...RUN, "tools/docs.ts"],
  ],
  pack: (rest) => [[...RUN, "tools/pack.ts", ...rest]],
  conformance: (rest) => [[...RUN, "tools/test.ts", "--conformance", ...rest]],
  chaos: (rest) => [[...RUN, "tools/test.ts", "--conformance", "--chaos", ...rest]],
  brokers: (rest) => [[...RUN, "conformance-tests/src/brokers/cli.ts", ...rest]],
  bench: (rest) => [[...RUN, "--expose-gc", "benchmarks/src/main.ts", ...rest]],
  node: (rest) => [[...RUN, ...rest]],
});

/** The package that carries the toolchain's Node for this machine; the `node` package alone would fetch it by an install script. */
function platformNode() {
  const platform = process.platform === "win32" ? "win" : process.platform;
  const executable = process.platform === "win32" ? "node.exe" : "node";
  return join(MODULES, `node-${platform}-${process.arch}`, "bin", executable);
}

function toolchain() {
  const linked = join(MODULES, "node", "bin", process.platform === "win32" ? "node.exe" : "node");
  if (existsSync(linked)) return linked;
  if (existsSync(platformNode())) return platformNode();
  if (Number(process.versions.node.split(".")[0]) >= 24) return process.execPath;
  return undefined;
}

/** What differs between the lockfile and what is installed, in words; undefined when nothing does. */
function stale() {
  const installed = join(MODULES, ".package-lock.json");
  if (!existsSync(installed)) return "node_modules is missing";
  const want = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8")).packages;
  const have = JSON.parse(readFileSync(installed, "utf8")).packages;
  for (const [path, entry] of Object.entries(want)) {
    if (!path.includes("node_modules/")) continue;
    const found = have[path];
    if (found === undefined && (entry.optional || entry.peer || entry.devOptional)) continue;
    // npm notes a package as installed when it only wrote the lockfile.
    const missing = found !== undefined && !existsSync(join(ROOT, path));
    if (
      missing ||
      found?.version !== entry.version ||
      found?.integrity !== entry.integrity ||
      Boolean(found?.link) !== Boolean(entry.link)
    ) {
      return `${path.slice(path.lastIndexOf("node_modules/") + 13)} differs from package-lock.json`;
    }
  }
  return existsSync(platformNode()) || toolchain() !== undefined ? undefined : "the toolchain's Node is missing";
}

/** Puts node_modules/node/bin/node and node_modules/.bin/node in place, which npm leaves out as install scripts are off. */
function link() {
  const source = platformNode();
  if (!existsSync(source) || process.platform === "win32") return;
  for (const place of [join(MODULES, "node", "bin", "node"), join(MODULES, ".bin", "node")]) {
    if (existsSync(place)) continue;
    mkdirSync(dirname(place), { recursive: true });
    try {
      if (lstatSync(place)) rmSync(place); // a link that leads nowhere
    } catch {}
    try {
      symlinkSync(relative(dirname(place), source), place);
    } catch (error) {
      if (!existsSync(place)) throw error; // another start has just made it
    }
  }
}

function alive(/** @type {number} */ pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === "EPERM";
  }
}

/** One start at a time installs; the others wait for it. The lock of a start that died is taken over. */
async function locked(/** @type {() => boolean} */ work) {
  mkdirSync(dirname(LOCK), { recursive: true });
  for (let told = false; ; ) {
    try {
      writeFileSync(LOCK, String(process.pid), { flag: "wx" });
      break;
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== "EEXIST") throw error;
    }
    try {
      const holder = Number(readFileSync(LOCK, "utf8"));
      const age = Date.now() - statSync(LOCK).mtimeMs;
      if (age > 2_000 && !(holder > 0 && alive(holder))) rmSync(LOCK, { force: true });
    } catch {} // just released
    if (!told) console.error("setup: another start is installing; waiting for it");
    told = true;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  try {
    return work();
  } finally {
    rmSync(LOCK, { force: true });
  }
}

function install() {
  const reason = stale();
  if (reason === undefined) return true;
  console.error(`setup: ${reason}; installing what package-lock.json names (npm ci, about a minute)`);
  const npm = process.env["npm_execpath"];
  const flags = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"];
  const windows = process.platform === "win32";
  const [file, args] = npm?.endsWith("npm-cli.js") ? [process.execPath, [npm, ...flags]] : ["npm", flags];
  const began = Date.now();
  const done = spawnSync(file, args, { cwd: ROOT, encoding: "utf8", shell: windows && file === "npm", maxBuffer: 64 * 1024 * 1024 });
  if (done.error !== undefined || done.status !== 0) {
    console.error((done.stderr ?? "").trim().split("\n").slice(0, 20).join("\n"));
    console.error(`setup: npm ci failed (${done.error?.message ?? `exit code ${done.status}`}).`);
    console.error("setup: check that the npm registry can be reached (npm ping), then run the same command again.");
    return false;
  }
  console.error(`setup: installed in ${Math.round((Date.now() - began) / 1000)} s`);
  return true;
}

function run(/** @type {string} */ node, /** @type {string[]} */ args) {
  const path = [dirname(node), bin(""), process.env["PATH"] ?? ""].join(delimiter);
  const child = spawn(node, args, { cwd: ROOT, stdio: "inherit", env: { ...process.env, PATH: path } });
  const signals = /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"]);
  // The terminal sends Ctrl-C to the whole group; passing it on as well would be a second, harsher one.
  const pass = (/** @type {NodeJS.Signals} */ signal) => (signal === "SIGINT" && process.stdin.isTTY ? undefined : child.kill(signal));
  for (const signal of signals) process.on(signal, pass);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      for (const name of signals) process.off(name, pass);
      resolve(code ?? 128 + (constants.signals[signal ?? "SIGTERM"] ?? 15));
    });
  });
}

async function main() {
  const [command = "", ...tail] = process.argv.slice(2);
  const rest = tail[0] === "--" ? tail.slice(1) : tail;
  const steps = COMMANDS[command]?.(rest);
  if (steps === undefined) {
    console.error(`setup: no command "${command}". Commands: ${Object.keys(COMMANDS).join(", ")}`);
    return 2;
  }
  if (Number(process.versions.node.split(".")[0]) < 20) {
    console.error(`setup: Node ${process.versions.node} is too old to begin with; install Node 20 or newer.`);
    return 2;
  }
  if (stale() !== undefined && !(await locked(install))) return 1;
  link();
  const node = toolchain();
  if (node === undefined) {
    console.error(`setup: no Node 24 is packaged for ${process.platform}-${process.arch}. Install Node 24 or newer, put it on the PATH,`);
    console.error("setup: and run the same command again.");
    return 2;
  }
  for (const step of steps) {
    const code = await run(node, step);
    if (code !== 0) return code;
  }
  return 0;
}

process.exitCode = await main();
