// Builds dist/ of every published package: bundled JavaScript and one declaration file per entry. `npm run build [-- name…]`.
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { rolldown } from "rolldown";
import { dts } from "rolldown-plugin-dts";
import { published, ROOT, SOURCE, type Workspace } from "./workspace.ts";

/** The lowest Node that the packages run on decides which syntax is kept. */
const TARGET = "node22.13";

/** An import by name, as opposed to a path; chunks of the same build are told by their file names. */
const isBare = (id: string): boolean => !/^(\.|\/|[A-Za-z]:)/.test(id) && !/\.(js|d\.ts)$/.test(id);

/** What syntax newer than the target is turned into, such as `using`: bundled, so that no user needs it. */
const isSyntaxHelper = (id: string): boolean => id.startsWith("@oxc-project/runtime/");

/** `./dist/main.js` → `main` */
const entryName = (built: string): string => built.slice("./dist/".length, -".js".length);

/** Entry name → source file, read from the package's own exports and commands, so that they can't differ. */
export function entriesOf(workspace: Workspace): Record<string, string> {
  const entries: Record<string, string> = {};
  // A command is built from the source of the same name.
  for (const built of Object.values(workspace.manifest.bin ?? {}))
    entries[entryName(built)] = join(ROOT, workspace.folder, "src", `${entryName(built)}.ts`);
  for (const conditions of Object.values(workspace.manifest.exports ?? {})) {
    if (typeof conditions === "string") continue;
    const source = conditions[SOURCE];
    const built = conditions["default"];
    if (source !== undefined && built !== undefined) entries[entryName(built)] = join(ROOT, workspace.folder, source);
  }
  return entries;
}

/** Whether programs import something of the package; a package that is only a command has no declarations. */
export function isImported({ manifest }: Workspace): boolean {
  return Object.values(manifest.exports ?? {}).some((conditions) => typeof conditions !== "string" && conditions["default"] !== undefined);
}

/** Builds one package; a missing source or a declaration that needs inference is an error that names the file. */
export async function build(workspace: Workspace): Promise<void> {
  const folder = join(ROOT, workspace.folder);
  const input = entriesOf(workspace);
  for (const source of Object.values(input)) {
    if (!existsSync(source)) throw new Error(`${workspace.manifest.name}: ${source} is named in "exports" or "bin" and does not exist`);
  }
  rmSync(join(folder, "dist"), { recursive: true, force: true });
  const bundle = await rolldown({
    cwd: folder,
    input,
    platform: "node",
    // Everything that is imported by name stays an import: clients, and brokerkit/driver from brokerkit/memory.
    external: (id) => isBare(id) && !isSyntaxHelper(id),
    transform: { target: TARGET },
    plugins: isImported(workspace) ? [dts({ oxc: true, tsconfig: false })] : [],
    onLog(level, log) {
      if (level === "warn") throw new Error(`${workspace.manifest.name}: ${log.message}`);
    },
  });
  try {
    const { output } = await bundle.write({
      dir: join(folder, "dist"),
      format: "esm",
      entryFileNames: "[name].js",
      chunkFileNames: "shared-[hash].js",
      minify: false,
    });
    for (const chunk of output)
      if (chunk.type === "chunk") checkImports(workspace, chunk.fileName, [...chunk.imports, ...chunk.dynamicImports]);
  } finally {
    await bundle.close();
  }
}

/** A built file may import what its users get with the package: itself, its dependencies and peers, Node. */
function checkImports({ manifest }: Workspace, file: string, imports: readonly string[]): void {
  const given = [manifest.name, ...Object.keys(manifest.dependencies ?? {}), ...Object.keys(manifest.peerDependencies ?? {})];
  for (const specifier of imports) {
    if (/^(node:|\.)/.test(specifier) || !isBare(specifier)) continue;
    if (given.some((name) => specifier === name || specifier.startsWith(`${name}/`))) continue;
    throw new Error(`${manifest.name}: dist/${file} imports "${specifier}", which its users do not have; declare it`);
  }
}

/** All published packages, or those named. */
export async function buildAll(only: readonly string[] = []): Promise<void> {
  for (const workspace of published(ROOT)) {
    if (only.length === 0 || only.includes(workspace.manifest.name)) await build(workspace);
  }
}

if (import.meta.main) {
  await buildAll(process.argv.slice(2));
}
