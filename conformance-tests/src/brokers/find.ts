import { spawn } from "node:child_process";
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { mkdir, readdir, rm } from "node:fs/promises";
import { delimiter, isAbsolute, join } from "node:path";
import { cached } from "./cache.ts";
import { type BrokerRecipe, BrokerUnavailableError, type ProcessRecipe } from "./recipe.ts";

/** A program, where its package is unpacked, and what its environment needs for that. */
export interface Program {
  readonly binary: string;
  readonly home: string;
  readonly env: Readonly<Record<string, string>>;
}

// Servers are often installed where an ordinary user's PATH does not look.
const systemFolders = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function findIn(folders: readonly string[], names: readonly string[]): string | undefined {
  for (const name of names) {
    if (isAbsolute(name) && isProgram(name)) return name;
    for (const folder of folders) if (isProgram(join(folder, name))) return join(folder, name);
  }
  return undefined;
}

function onPath(names: readonly string[], env: NodeJS.ProcessEnv): string | undefined {
  return findIn([...(env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== ""), ...systemFolders], names);
}

/** Runs a command and resolves with its standard output. Rejects with the end of its error output when its code is not 0. */
export function run(
  command: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv } = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
    const [out, err]: [Buffer[], Buffer[]] = [[], []];
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
    child.once("error", reject);
    child.once("close", (code, signal) => {
      if (code === 0) return resolve(Buffer.concat(out).toString());
      const said = Buffer.concat(err).toString().trim().split("\n").slice(-5).join("\n");
      reject(new Error(`${command} ${args.join(" ")} ended with ${signal ?? code}${said === "" ? "" : `: ${said}`}`));
    });
  });
}

const quiet = (env: NodeJS.ProcessEnv): NodeJS.ProcessEnv => ({
  ...env,
  LC_ALL: "C",
  DEBIAN_FRONTEND: "noninteractive",
  // Keeps the package from starting a server of its own on the standard port.
  RUNLEVEL: "1",
});

/** Installs a package as root. Package lists are fetched when the first attempt shows that they are missing or old. */
async function install(name: string, env: NodeJS.ProcessEnv): Promise<void> {
  const args = ["install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", name];
  try {
    await run("apt-get", args, { env: quiet(env) });
  } catch {
    await run("apt-get", ["update"], { env: quiet(env) });
    await run("apt-get", args, { env: quiet(env) });
  }
}

/** Unpacks a package, with what it needs and the system lacks, into a folder, without any rights. */
async function unpack(name: string, folder: string, env: NodeJS.ProcessEnv): Promise<void> {
  const work = join(folder, ".apt");
  // Lists of our own: those of the system can only be refreshed by root.
  const places = { "Dir::State": "state", "Dir::State::lists": "state/lists", "Dir::Cache": "cache" };
  const own = Object.entries(places).flatMap(([name, place]) => ["-o", `${name}=${join(work, place)}`]);
  own.push("-o", "Dir::State::status=/var/lib/dpkg/status");
  await mkdir(join(work, "state", "lists", "partial"), { recursive: true });
  await mkdir(join(work, "cache", "archives", "partial"), { recursive: true });
  const plan = (extra: readonly string[]): Promise<string> =>
    run("apt-get", [...extra, "-s", "install", "--no-install-recommends", name], { env: quiet(env) });
  let extra: readonly string[] = [];
  let planned: string;
  try {
    planned = await plan(extra);
  } catch {
    extra = own;
    await run("apt-get", [...extra, "update"], { env: quiet(env) });
    planned = await plan(extra);
  }
  const packages = [...planned.matchAll(/^Inst (\S+)/gm)].map((match) => match[1] ?? "");
  await run("apt-get", [...extra, "download", ...(packages.length === 0 ? [name] : packages)], { cwd: work, env: quiet(env) });
  for (const file of await readdir(work)) if (file.endsWith(".deb")) await run("dpkg-deb", ["-x", join(work, file), folder]);
  await rm(work, { recursive: true });
}

function unpacked(home: string, names: readonly string[]): Program | undefined {
  const binary = findIn(
    ["usr/bin", "usr/sbin", "bin", "sbin"].map((folder) => join(home, folder)),
    names,
  );
  if (binary === undefined) return undefined;
  const arch = process.arch === "arm64" ? "aarch64-linux-gnu" : "x86_64-linux-gnu";
  const libraries = [join(home, "usr", "lib", arch), join(home, "lib", arch), join(home, "usr", "lib")];
  return { binary, home, env: { LD_LIBRARY_PATH: libraries.join(delimiter) } };
}

async function fromPackage(name: string, recipe: ProcessRecipe, cache: string, env: NodeJS.ProcessEnv): Promise<Program> {
  if (process.getuid?.() === 0) {
    await install(name, env);
    const binary = onPath(recipe.binaries, env);
    if (binary !== undefined) return { binary, home: "/", env: {} };
    throw new Error(`the package ${name} does not bring ${recipe.binaries.join(" or ")}`);
  }
  const home = await cached(cache, `debian-${name}`, (folder) => unpack(name, folder, env));
  const program = unpacked(home, recipe.binaries);
  if (program === undefined) throw new Error(`the package ${name} does not bring ${recipe.binaries.join(" or ")}`);
  return program;
}

/**
 * Finds a broker's program: on PATH, else in the recipe's download, else in its Debian package, which is installed as root and unpacked into
 * the cache folder otherwise.
 * @throws BrokerUnavailableError that names the line to run
 */
export async function findProgram(broker: BrokerRecipe, recipe: ProcessRecipe, cache: string, env: NodeJS.ProcessEnv): Promise<Program> {
  const present = onPath(recipe.binaries, env);
  if (present !== undefined) return { binary: present, home: "/", env: {} };
  const { download, debian } = recipe;
  const wanted = `${broker.name} needs the program ${recipe.binaries.join(" or ")}, which is not on PATH`;
  if (download !== undefined) {
    const home = await cached(cache, download.name, (folder) => download.fill(folder));
    const binary = join(home, download.binary);
    if (isProgram(binary)) return { binary, home, env: {} };
    throw new BrokerUnavailableError(
      `${wanted}; the download ${home} does not hold ${download.binary}: remove that folder and start again`,
    );
  }
  const line = debian === undefined ? undefined : `sudo apt-get install ${debian}`;
  if (debian === undefined || !existsSync("/usr/bin/apt-get")) {
    throw new BrokerUnavailableError(`${wanted}: ${line === undefined ? "install it" : `install it, on Debian by: ${line}`}`);
  }
  try {
    return await fromPackage(debian, recipe, cache, env);
  } catch (error) {
    throw new BrokerUnavailableError(`${wanted}, and it could not be fetched. Run: ${line}`, { cause: error });
  }
}
