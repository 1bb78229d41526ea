import { existsSync, lstatSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));

interface Manifest {
  readonly version: string;
  readonly files?: readonly string[];
  readonly dependencies?: Readonly<Record<string, string>>;
}

function find(name: string, from: string): string | undefined {
  for (let folder = from; ; folder = dirname(folder)) {
    const path = join(folder, "node_modules", name);
    if (existsSync(join(path, "package.json"))) return realpathSync(path);
    if (dirname(folder) === folder) return undefined;
  }
}

function manifestIn(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Manifest;
}

function sizeOf(path: string): number {
  const stat = lstatSync(path);
  if (!stat.isDirectory()) return stat.size;
  return readdirSync(path)
    .filter((name) => name !== "node_modules")
    .reduce((sum, name) => sum + sizeOf(join(path, name)), 0);
}

/** The version of an installed package; undefined where it is not. */
export function versionOf(name: string): string | undefined {
  const folder = find(name, HERE);
  return folder === undefined ? undefined : manifestIn(folder).version;
}

export interface Installed {
  readonly packages: number;
  readonly bytes: number;
}

/**
 * What `npm install` of these packages puts on the disk, dependencies included. A workspace package counts with what it publishes;
 * undefined where that is not built.
 */
export function installed(names: readonly string[]): Installed | undefined {
  const seen = new Map<string, number>();
  const add = (name: string, from: string): boolean => {
    const folder = find(name, from);
    if (folder === undefined) return false;
    if (seen.has(folder)) return true;
    const { files, dependencies = {} } = manifestIn(folder);
    const own = !folder.split(/[\\/]/).includes("node_modules");
    const parts = own ? ["package.json", ...(files ?? [])] : ["."];
    if (own && !(files ?? []).every((part) => existsSync(join(folder, part)))) return false;
    seen.set(
      folder,
      parts.reduce((sum, part) => sum + sizeOf(join(folder, part)), 0),
    );
    return Object.keys(dependencies).every((dependency) => add(dependency, folder));
  };
  if (!names.every((name) => add(name, HERE))) return undefined;
  return { packages: seen.size, bytes: [...seen.values()].reduce((sum, bytes) => sum + bytes, 0) };
}
