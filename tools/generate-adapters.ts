// Writes what packages know of adapters from the folders under adapters/: core's table and optional peers, the command line's records.
// `npm run generate`.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { adapterNames, ROOT, readManifest } from "./workspace.ts";

const TABLE = "packages/core/src/adapters.generated.ts";
const RECORDS = "packages/cli/src/records.generated.ts";
const CORE_MANIFEST = "packages/core/package.json";

interface Entry {
  readonly package: string;
  readonly schemes: readonly string[];
  readonly features: readonly string[];
  /** The effective record: what the backend does, and what core supplies. */
  readonly capabilities: object | undefined;
}

export interface Generated {
  readonly path: string;
  readonly text: string;
}

async function load(root: string, path: string): Promise<Readonly<Record<string, unknown>> | undefined> {
  const file = join(root, path);
  if (!existsSync(file)) return undefined;
  return (await import(pathToFileURL(file).href)) as Readonly<Record<string, unknown>>;
}

/** One entry per adapter name: a folder with two drivers, such as Streams and Pub/Sub of one server, gives two. */
async function entries(root: string): Promise<[string, Entry][]> {
  const core = await load(root, "packages/core/src/capability/features.ts");
  const featureNames = core?.["featureNames"] as ((capabilities: unknown) => readonly string[]) | undefined;
  const effective = (await load(root, "packages/core/src/capability/effective.ts"))?.["effectiveCapabilities"] as
    | ((native: unknown) => object)
    | undefined;
  const found: [string, Entry][] = [];
  for (const folder of adapterNames(root)) {
    const schemes = Object.entries(readManifest(root, `adapters/${folder}`).brokerkit?.schemes ?? {});
    const module = await load(root, `adapters/${folder}/src/capabilities.ts`);
    const records = (module?.["capabilities"] ?? {}) as Readonly<Record<string, unknown>>;
    for (const adapter of new Set(schemes.map(([, name]) => name))) {
      const record = records[adapter];
      if (module !== undefined && record === undefined) {
        throw new Error(
          `adapters/${folder}/src/capabilities.ts: export const capabilities has no record "${adapter}", which package.json names`,
        );
      }
      found.push([
        adapter,
        {
          package: folder === "memory" ? "brokerkit/memory" : readManifest(root, `adapters/${folder}`).name,
          schemes: schemes.filter(([, name]) => name === adapter).map(([scheme]) => scheme),
          features: record === undefined || featureNames === undefined ? [] : [...featureNames(record)],
          capabilities: record === undefined ? undefined : effective?.(record),
        },
      ]);
    }
  }
  return found.sort(([a], [b]) => (a < b ? -1 : 1));
}

function table(found: readonly [string, Entry][]): string {
  const rows = found.map(([name, { capabilities: _, ...entry }]) => `${JSON.stringify(name)}: ${JSON.stringify(entry)},`).join("\n");
  return `// Written by \`npm run generate\` from the folders under adapters/. Do not edit.

/** Adapter name → the package that has it, the URL schemes that lead to it, and what its backend can do. */
export const ADAPTERS: Readonly<
  Record<string, { readonly package: string; readonly schemes: readonly string[]; readonly features: readonly string[] }>
> = {
${rows}
};
`;
}

/** JSON, and `Infinity`, which a record says for "no limit" and JSON does not know. */
function literal(value: unknown): string {
  if (value === Number.POSITIVE_INFINITY) return "Number.POSITIVE_INFINITY";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  return `{ ${Object.entries(value)
    .map(([name, one]) => `${JSON.stringify(name)}: ${literal(one)}`)
    .join(", ")} }`;
}

function records(found: readonly [string, Entry][]): string {
  const rows = found.flatMap(([name, { package: home, schemes, capabilities }]) =>
    capabilities === undefined ? [] : [`${JSON.stringify(name)}: ${literal({ package: home, schemes, capabilities })},`],
  );
  return `// Written by \`npm run generate\` from the folders under adapters/. Do not edit.
import type { EffectiveCapabilities } from "brokerkit";

/** Adapter name → the package that has it, the URL schemes that lead to it, and its effective record: what it can do at most. */
export const RECORDS: Readonly<
  Record<string, { readonly package: string; readonly schemes: readonly string[]; readonly capabilities: EffectiveCapabilities }>
> = {
${rows.join("\n")}
};
`;
}

function formatted(root: string, path: string, text: string): string {
  const biome = join(root, "node_modules", "@biomejs", "biome", "bin", "biome");
  return execFileSync(process.execPath, [biome, "format", "--colors=off", `--stdin-file-path=${path}`], {
    cwd: root,
    input: text,
    encoding: "utf8",
  });
}

/** The files as they should be; nothing is written. */
export async function generate(root: string): Promise<Generated[]> {
  const found = await entries(root);
  const manifest = JSON.parse(readFileSync(join(root, CORE_MANIFEST), "utf8")) as Record<string, unknown>;
  const peers = adapterNames(root)
    .map((folder) => readManifest(root, `adapters/${folder}`))
    .filter((adapter) => adapter.private !== true);
  manifest["peerDependencies"] = Object.fromEntries(peers.map((adapter) => [adapter.name, adapter.version]));
  manifest["peerDependenciesMeta"] = Object.fromEntries(peers.map((adapter) => [adapter.name, { optional: true }]));
  return [
    { path: TABLE, text: formatted(root, TABLE, table(found)) },
    { path: RECORDS, text: formatted(root, RECORDS, records(found)) },
    { path: CORE_MANIFEST, text: formatted(root, CORE_MANIFEST, JSON.stringify(manifest, undefined, 2)) },
  ];
}

if (import.meta.main) {
  for (const { path, text } of await generate(ROOT)) {
    const file = join(ROOT, path);
    const same = existsSync(file) && readFileSync(file, "utf8") === text;
    if (!same) writeFileSync(file, text);
    console.log(`${same ? "unchanged" : "written  "} ${path}`);
  }
}
