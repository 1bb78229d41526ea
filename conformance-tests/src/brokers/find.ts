import { accessSync, constants, existsSync, statSync } from "node:fs";
import { delimiter, isAbsolute, join } from "node:path";
import { cached } from "./cache.ts";
import { install, unpack } from "./debian.ts";
import { type BrokerRecipe, BrokerUnavailableError, type ProcessRecipe, type Program } from "./recipe.ts";

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
