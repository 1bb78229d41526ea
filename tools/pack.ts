// Packs every published package into dist-packages/ as the registry gets it: `npm run pack`.
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { buildAll } from "./build.ts";
import { run, tail } from "./process.ts";
import { type Exports, type Manifest, published, ROOT, SOURCE, type Workspace } from "./workspace.ts";

/** The manifest without what only this workspace needs: the source condition, sub-paths that have nothing else, dev dependencies. */
export function publishedManifest(manifest: Manifest): Manifest {
  const { devDependencies: _, ...kept } = manifest;
  const exports: Record<string, Exports[string]> = {};
  for (const [subPath, conditions] of Object.entries(manifest.exports ?? {})) {
    if (typeof conditions === "string") {
      exports[subPath] = conditions;
      continue;
    }
    const { [SOURCE]: _source, ...built } = conditions;
    if (Object.keys(built).length > 0) exports[subPath] = built;
  }
  return { ...kept, exports };
}

async function packOne(workspace: Workspace, target: string): Promise<string> {
  const { manifest } = workspace;
  const folder = join(ROOT, workspace.folder);
  // brokerkit's own page on the registry is the project's README.
  const readme = [join(folder, "README.md"), join(ROOT, "README.md")].find((path) => existsSync(path));
  if (readme === undefined) throw new Error(`${manifest.name}: ${workspace.folder}/README.md is missing; it is the package's page`);
  const stage = mkdtempSync(join(tmpdir(), "brokerkit-stage-"));
  try {
    cpSync(join(folder, "dist"), join(stage, "dist"), { recursive: true });
    cpSync(readme, join(stage, "README.md"));
    cpSync(join(ROOT, "LICENSE"), join(stage, "LICENSE"));
    writeFileSync(join(stage, "package.json"), `${JSON.stringify(publishedManifest(manifest), undefined, 2)}\n`);
    const packed = await run("npm", ["pack", "--ignore-scripts", "--silent", `--pack-destination=${target}`], { cwd: stage });
    if (packed.code !== 0) throw new Error(`npm pack of ${manifest.name} failed:\n${tail(packed.output)}`);
    return join(target, packed.stdout.trim().split("\n").at(-1) ?? "");
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}

/** Packs what dist/ holds; package name → tarball. */
export async function packAll(target: string): Promise<Map<string, string>> {
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  const tarballs = new Map<string, string>();
  for (const workspace of published(ROOT)) tarballs.set(workspace.manifest.name, await packOne(workspace, target));
  return tarballs;
}

if (import.meta.main) {
  await buildAll();
  const target = resolve(ROOT, process.argv[2] ?? "dist-packages");
  for (const [name, tarball] of await packAll(target)) console.log(`${name}  ${relative(ROOT, tarball)}`);
}
