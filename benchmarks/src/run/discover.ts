import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Column, Native, SiteRecipe } from "../measure/column.ts";
import type { Workload } from "../measure/workload.ts";
import type { Target } from "../report/targets.ts";
import { adapterFolders, harnessSite } from "./harness-site.ts";

const COLUMNS = fileURLToPath(new URL("../columns/", import.meta.url));
const SDK = fileURLToPath(new URL("../sdk/", import.meta.url));
const WORKLOADS = fileURLToPath(new URL("../../workloads/", import.meta.url));
/** Files in sdk/ that are columns. */
const SDK_COLUMN = /^(default|batch|ladder-.+)\.ts$/;

/** A column and where it comes from; its name is its file's. */
export interface Found {
  readonly name: string;
  readonly path: string;
  readonly column: Column;
}

/** A curve: one value of a workload is varied, the rest stays. */
export interface Curve {
  readonly name: keyof Workload & ("size" | "inFlight" | "topics" | "backlog" | "keys");
  readonly values: readonly number[];
  /** What is set beside it, for all of its points. */
  readonly with?: Partial<Workload>;
}

/** What can be measured: every adapter, with columns of its own or without. */
export function adapters(): string[] {
  return [...adapterFolders().keys()].sort();
}

/** Files of an adapter's folder here; none where it has no columns of its own. */
function ownFiles(adapter: string, pattern: RegExp): string[] {
  const folder = join(COLUMNS, adapter);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => pattern.test(name))
    .sort()
    .map((name) => join(folder, name));
}

async function load(path: string): Promise<Found> {
  const { column } = (await import(pathToFileURL(path).href)) as { readonly column: Column };
  return { name: basename(path, ".ts"), path, column };
}

/** The columns of an adapter: its own first, then brokerkit's. */
export async function columnsOf(adapter: string): Promise<Found[]> {
  const sdk = readdirSync(SDK).filter((name) => SDK_COLUMN.test(name));
  // default before batch: the order of the table.
  const order = (name: string): string => (name === "batch.ts" ? "default.ts+" : name);
  const sorted = sdk.sort((a, b) => (order(a) < order(b) ? -1 : 1));
  return Promise.all([...ownFiles(adapter, /^(raw|core)-.+\.ts$/), ...sorted.map((name) => join(SDK, name))].map(load));
}

export async function sitesOf(adapter: string): Promise<readonly SiteRecipe[]> {
  const [path] = ownFiles(adapter, /^site\.ts$/);
  if (path === undefined) return [await harnessSite(adapter)];
  return ((await import(pathToFileURL(path).href)) as { readonly sites: readonly SiteRecipe[] }).sites;
}

export async function nativesOf(adapter: string): Promise<readonly Native[]> {
  const files = ownFiles(adapter, /^native-.+\.ts$/);
  const modules = files.map((path) => import(pathToFileURL(path).href) as Promise<{ readonly native: Native }>);
  return (await Promise.all(modules)).map(({ native }) => native);
}

export function targetsOf(adapter: string): readonly Target[] {
  const path = join(COLUMNS, adapter, "targets.json");
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as readonly Target[]) : [];
}

/** A workload by the name of its file. Throws for one that does not exist. */
export function workload(name: string): Workload {
  const path = join(WORKLOADS, `${name}.json`);
  if (!existsSync(path)) throw new Error(`There is no workload "${name}". Known: ${names(WORKLOADS).join(", ")}.`);
  return { ...(JSON.parse(readFileSync(path, "utf8")) as Omit<Workload, "name">), name };
}

/** A curve by the name of its file. Throws for one that does not exist. */
export function curve(name: string): Curve {
  const path = join(WORKLOADS, "curves", `${name}.json`);
  if (!existsSync(path)) throw new Error(`There is no curve "${name}". Known: ${names(join(WORKLOADS, "curves")).join(", ")}.`);
  return { ...(JSON.parse(readFileSync(path, "utf8")) as Omit<Curve, "name">), name: name as Curve["name"] };
}

function names(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".json"))
    .map((name) => basename(name, ".json"));
}
