import { existsSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import type { Check } from "../check.ts";
import { type Import, readSource, type Source } from "../source.ts";
import { adapterNames, filesIn, foldersIn, readManifest, SOURCE, workspaces } from "../workspace.ts";

const CORE = "packages/core/src";
const GENERATED = `${CORE}/adapters.generated.ts`;

interface Level {
  readonly files: readonly string[];
  readonly folders: readonly string[];
}

/** Core from the bottom up (CONTRIBUTING.md shows it): a unit imports lower levels only. Folders of one level never import each other. */
const LEVELS: readonly Level[] = [
  { files: [], folders: ["driver"] },
  { files: [], folders: ["primitives"] }, // may implement what the SPI declares, such as its clock
  { files: ["errors", "message", "options"], folders: [] },
  {
    files: [],
    folders: ["capability", "batching", "ordering", "codec", "retry", "dead-letter", "settlement", "flow", "telemetry", "lifecycle"],
  },
  { files: ["publish", "deliver"], folders: [] },
  { files: ["broker", "topic", "subscription", "replay", "group"], folders: [] },
  { files: ["connect", "routed"], folders: [] },
  { files: ["index"], folders: [] },
  { files: [], folders: ["testing"] },
];

interface Place {
  readonly level: number;
  /** The room, or the file itself when it stands at the top. */
  readonly unit: string;
  readonly isFile: boolean;
}

/**
 * Places of all units. A top-level file that the table does not name stands where its own imports put it: beside the highest file that
 * it imports, and above every room that it imports. So nothing below may import it, and the order holds through it.
 */
function placesOf(sources: ReadonlyMap<string, Source>): (path: string) => Place | undefined {
  const known = new Map<string, Place | undefined>();
  const place = (path: string): Place | undefined => {
    if (known.has(path)) return known.get(path);
    const [first = "", ...below] = path.slice(CORE.length + 1).split("/");
    const isFile = below.length === 0;
    const unit = isFile ? first.replace(/\.ts$/, "") : first;
    let level = LEVELS.findIndex((one) => (isFile ? one.files : one.folders).includes(unit));
    known.set(path, level === -1 ? undefined : { level, unit, isFile });
    if (level === -1 && isFile && sources.has(path)) {
      const reached = (sources.get(path)?.imports ?? [])
        .filter((one) => isRelative(one.specifier))
        .map((one) => place(resolveRelative(path, one.specifier))?.level ?? 0);
      level = Math.max(0, ...reached);
      while (LEVELS[level]?.files.length === 0) level++;
      known.set(path, { level: Math.min(level, LEVELS.length - 1), unit, isFile });
    }
    return known.get(path);
  };
  return place;
}

const at = (source: Source, found: Import): string => `${source.path}:${found.line}`;
const isRelative = (specifier: string): boolean => specifier.startsWith("./") || specifier.startsWith("../");
const isBuiltin = (specifier: string): boolean => specifier.startsWith("node:");
const resolveRelative = (from: string, specifier: string): string => posix.normalize(posix.join(posix.dirname(from), specifier));
const isIn = (specifier: string, name: string): boolean => specifier === name || specifier.startsWith(`${name}/`);

function coreLaw(source: Source, placeOf: (path: string) => Place | undefined): string[] {
  const found: string[] = [];
  if (source.path === GENERATED) {
    for (const one of source.imports) found.push(`${at(source, one)}: the generated table is data and imports nothing`);
    return found;
  }
  const own = placeOf(source.path);
  if (own === undefined) return []; // its folder is no room, which is reported once
  // Only what opens a broker may load the built-in backend, by its public name.
  const loadsMemory = own.unit === "connect" || own.unit === "testing";
  for (const one of source.imports) {
    if (isBuiltin(one.specifier)) continue;
    if (!isRelative(one.specifier)) {
      if (!(loadsMemory && isIn(one.specifier, "brokerkit/memory"))) {
        found.push(`${at(source, one)}: core imports "${one.specifier}"; core imports its own files and node:* only`);
      }
      continue;
    }
    const target = resolveRelative(source.path, one.specifier);
    if (target === GENERATED) {
      if (own.unit !== "connect" && own.unit !== "capability") {
        found.push(`${at(source, one)}: only connect and capability/ read the generated table; have one of them pass what you need`);
      }
      continue;
    }
    if (!target.startsWith(`${CORE}/`)) {
      found.push(`${at(source, one)}: "${one.specifier}" leaves packages/core/src`);
      continue;
    }
    const other = placeOf(target);
    if (other === undefined || (other.unit === own.unit && other.isFile === own.isFile)) continue;
    if (other.level < own.level || (other.level === own.level && own.isFile && other.isFile)) continue;
    found.push(
      other.level === own.level
        ? `${at(source, one)}: ${own.unit} imports its neighbour ${other.unit}; have what stands above both pass it in`
        : `${at(source, one)}: ${own.unit} imports ${other.unit}, which stands above it; move the shared part down or pass it in`,
    );
  }
  return found;
}

function adapterLaw(root: string, name: string, sources: readonly Source[]): string[] {
  const folder = `adapters/${name}`;
  const clients = Object.keys(readManifest(root, folder).dependencies ?? {});
  const found: string[] = [];
  for (const source of sources) {
    for (const one of source.imports) {
      if (isBuiltin(one.specifier) || one.specifier === "brokerkit/driver") continue;
      if (isRelative(one.specifier)) {
        if (!resolveRelative(source.path, one.specifier).startsWith(`${folder}/src/`)) {
          found.push(`${at(source, one)}: "${one.specifier}" leaves ${folder}/src; an adapter imports its own files`);
        }
      } else if (!clients.some((client) => isIn(one.specifier, client))) {
        found.push(
          `${at(source, one)}: an adapter imports "brokerkit/driver", its declared client and node:* only, not "${one.specifier}"`,
        );
      }
    }
  }
  return [...found, ...clientFree(folder, sources)];
}

/** capabilities.ts is read by tools and personalities that have no client installed, so nothing it reaches may import one. */
function clientFree(folder: string, sources: readonly Source[]): string[] {
  const byPath = new Map(sources.map((source) => [source.path, source]));
  const found: string[] = [];
  const seen = new Set<string>();
  const follow = (path: string, via: string): void => {
    const source = byPath.get(path);
    if (source === undefined || seen.has(path)) return;
    seen.add(path);
    for (const one of source.imports) {
      if (one.kind === "type") continue;
      if (isRelative(one.specifier)) follow(resolveRelative(path, one.specifier), `${via} → ${one.specifier}`);
      else if (!isBuiltin(one.specifier) && one.specifier !== "brokerkit/driver") {
        found.push(`${at(source, one)}: ${via} reaches "${one.specifier}"; the capability record must load without a client`);
      }
    }
  };
  follow(`${folder}/src/capabilities.ts`, "capabilities.ts");
  return found;
}

const SUITE_MAY = ["brokerkit", "brokerkit/driver", "brokerkit/testing"];

function suiteLaw(source: Source): string[] {
  const found: string[] = [];
  for (const one of source.imports) {
    if (isBuiltin(one.specifier) || SUITE_MAY.includes(one.specifier)) continue;
    if (isRelative(one.specifier)) {
      if (!resolveRelative(source.path, one.specifier).startsWith("conformance-tests/src/")) {
        found.push(`${at(source, one)}: "${one.specifier}" leaves conformance-tests/src`);
      }
    } else if (isIn(one.specifier, "testcontainers")) {
      if (!source.path.startsWith("conformance-tests/src/brokers/")) {
        found.push(`${at(source, one)}: only brokers/ starts containers`);
      } else if (one.kind === "value") {
        found.push(`${at(source, one)}: load it where it is needed, with await import("testcontainers"); most runs need no container`);
      }
    } else {
      found.push(
        `${at(source, one)}: the suite imports ${SUITE_MAY.join(", ")} and node:* only, not "${one.specifier}"; it knows no adapter`,
      );
    }
  }
  return found;
}

/** Where an import of a workspace package leads among the sources; undefined for everything installed. */
function workspaceTargets(root: string): Map<string, string> {
  const targets = new Map<string, string>();
  for (const { folder, manifest } of workspaces(root)) {
    for (const [subPath, conditions] of Object.entries(manifest.exports ?? {})) {
      const source = typeof conditions === "string" ? undefined : conditions[SOURCE];
      if (source !== undefined) targets.set(posix.join(manifest.name, subPath), posix.join(folder, source));
    }
  }
  return targets;
}

/** Every cycle once: the strongly connected parts of the import graph, each as a path that comes back to its start. */
export function cycles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const order = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const found: string[][] = [];
  const visit = (node: string): void => {
    order.set(node, order.size);
    low.set(node, order.get(node) ?? 0);
    stack.push(node);
    for (const next of graph.get(node) ?? []) {
      if (!graph.has(next)) continue;
      if (!order.has(next)) {
        visit(next);
        low.set(node, Math.min(low.get(node) ?? 0, low.get(next) ?? 0));
      } else if (stack.includes(next)) {
        low.set(node, Math.min(low.get(node) ?? 0, order.get(next) ?? 0));
      }
    }
    if (low.get(node) !== order.get(node)) return;
    const members = stack.splice(stack.indexOf(node));
    if (members.length > 1 || (graph.get(node) ?? []).includes(node)) found.push(wayBack(graph, new Set(members), node));
  };
  for (const node of graph.keys()) if (!order.has(node)) visit(node);
  return found;
}

/** A shortest way from `start` back to itself inside its connected part. */
function wayBack(graph: ReadonlyMap<string, readonly string[]>, members: ReadonlySet<string>, start: string): string[] {
  const queue: string[][] = [[start]];
  const seen = new Set<string>();
  for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
    for (const next of graph.get(path.at(-1) ?? start) ?? []) {
      if (next === start) return [...path, start];
      if (!members.has(next) || seen.has(next)) continue;
      seen.add(next);
      queue.push([...path, next]);
    }
  }
  return [start];
}

const FORBIDDEN_FOLDERS = /^(utils?|helpers?|common)$/i;

function forbiddenFolders(root: string): string[] {
  const found = new Set<string>();
  for (const top of ["packages", "adapters", "conformance-tests", "benchmarks", "examples", "tools", "docs"]) {
    for (const path of filesIn(root, top)) {
      const parts = dirname(path).split("/");
      const bad = parts.findIndex((part) => FORBIDDEN_FOLDERS.test(part));
      if (bad !== -1) found.add(parts.slice(0, bad + 1).join("/"));
    }
  }
  return [...found].map((folder) => `${folder}/: name the folder after the one concern its files share`);
}

/** All violations of the import law in the tree at `root`. */
export function importLaw(root: string): string[] {
  const found: string[] = [];
  const parsed = new Map<string, Source>();
  const CODE = /\.(ts|mts|cts|js|mjs)$/;
  for (const top of ["packages", "adapters", "conformance-tests", "benchmarks", "examples", "tools"]) {
    for (const path of filesIn(root, top, CODE)) parsed.set(path, readSource(root, path));
  }
  const under = (prefix: string): Source[] => [...parsed.values()].filter((source) => source.path.startsWith(prefix));

  const placeOf = placesOf(parsed);
  for (const source of under(`${CORE}/`)) found.push(...coreLaw(source, placeOf));
  for (const folder of foldersIn(root, CORE)) {
    if (!LEVELS.some((level) => level.folders.includes(folder))) {
      found.push(`${CORE}/${folder}/: is no room of the design; put its files into one, or give it a place in tools/checks/import-law.ts`);
    }
  }
  for (const name of adapterNames(root)) {
    if (existsSync(join(root, "adapters", name, "package.json"))) found.push(...adapterLaw(root, name, under(`adapters/${name}/src/`)));
  }
  for (const source of under("conformance-tests/src/")) found.push(...suiteLaw(source));

  for (const source of parsed.values()) {
    for (const line of source.exportStars) found.push(`${source.path}:${line}: export * hides what is public; name the exports`);
  }
  const targets = workspaceTargets(root);
  const graph = new Map(
    [...parsed.values()].map((source) => [
      source.path,
      source.imports
        .map((one) => (isRelative(one.specifier) ? resolveRelative(source.path, one.specifier) : targets.get(one.specifier)))
        .filter((target) => target !== undefined),
    ]),
  );
  for (const cycle of cycles(graph)) found.push(`import cycle: ${cycle.join(" → ")}; move what both need below them`);
  return [...found, ...forbiddenFolders(root)];
}

const check: Check = {
  name: "the import law holds",
  run: async (root) => importLaw(root),
};
export default check;
