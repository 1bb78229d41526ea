import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { run } from "./run.ts";

const quiet = (env: NodeJS.ProcessEnv): NodeJS.ProcessEnv => ({
  ...env,
  LC_ALL: "C",
  DEBIAN_FRONTEND: "noninteractive",
  // Keeps the package from starting a server of its own on the standard port.
  RUNLEVEL: "1",
});

/** Installs a package as root. Package lists are fetched when the first attempt shows that they are missing or old. */
export async function install(name: string, env: NodeJS.ProcessEnv): Promise<void> {
  const args = ["install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", name];
  try {
    await run("apt-get", args, { env: quiet(env) });
  } catch {
    await run("apt-get", ["update"], { env: quiet(env) });
    await run("apt-get", args, { env: quiet(env) });
  }
}

/** Unpacks a package, with what it needs and the system lacks, into a folder, without any rights. */
export async function unpack(name: string, folder: string, env: NodeJS.ProcessEnv): Promise<void> {
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
