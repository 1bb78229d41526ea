import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

/** The checkout. */
export const ROOT: string = dirname(dirname(fileURLToPath(import.meta.url)));

/** The condition under which a package's exports lead to its TypeScript sources; never published. */
export const SOURCE = "@brokerkit/source";

/** Where downloads and stores live that a fresh clone should not fetch again. */
export const CACHE: string = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "brokerkit");

export type Exports = Readonly<Record<string, string | Readonly<Record<string, string>>>>;

/** The parts of a package.json that the tools read. */
export interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly private?: boolean;
  readonly license?: string;
  readonly type?: string;
  readonly description?: string;
  readonly engines?: Readonly<Record<string, string>>;
  readonly files?: readonly string[];
  readonly workspaces?: readonly string[];
  readonly exports?: Exports;
  /** Commands: name → built file. */
  readonly bin?: Readonly<Record<string, string>>;
  readonly scripts?: Readonly<Record<string, string>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>;
  /** An adapter's own data: URL scheme → adapter name. */
  readonly brokerkit?: { readonly schemes: Readonly<Record<string, string>> };
}

export interface Workspace {
  /** Path from the root, with forward slashes. */
  readonly folder: string;
  readonly manifest: Manifest;
}

export function readManifest(root: string, folder: string): Manifest {
  return JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8")) as Manifest;
}

/** Names of the folders directly inside `parent`, sorted. */
export function foldersIn(root: string, parent: string): string[] {
  const path = join(root, parent);
  if (!existsSync(path)) return [];
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && entry.name !== "node_modules")
    .map((entry) => entry.name)
    .sort();
}

export function adapterNames(root: string): string[] {
  return foldersIn(root, "adapters");
}

/** Every workspace package, found by listing folders. */
export function workspaces(root: string): Workspace[] {
  const folders = [
    ...foldersIn(root, "packages").map((name) => `packages/${name}`),
    ...adapterNames(root).map((name) => `adapters/${name}`),
    "conformance-tests",
    "benchmarks",
    "examples",
  ];
  return folders
    .filter((folder) => existsSync(join(root, folder, "package.json")))
    .map((folder) => ({ folder, manifest: readManifest(root, folder) }));
}

/** The packages that go to the registry, `brokerkit` first. */
export function published(root: string): Workspace[] {
  return workspaces(root).filter((workspace) => workspace.manifest.private !== true);
}

const SKIPPED = new Set(["node_modules", "dist", "dist-packages", ".git", ".cache", "coverage"]);

/** Files below `folder` as paths from the root with forward slashes, sorted. */
export function filesIn(root: string, folder: string, pattern: RegExp = /./): string[] {
  const found: string[] = [];
  const walk = (path: string): void => {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      if (entry.isDirectory()) {
        if (!SKIPPED.has(entry.name)) walk(join(path, entry.name));
      } else if (pattern.test(entry.name)) {
        found.push(relative(root, join(path, entry.name)).split(sep).join("/"));
      }
    }
  };
  if (existsSync(join(root, folder))) walk(join(root, folder));
  return found.sort();
}
