import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Check } from "../check.ts";
import { missing } from "../lockfile.mjs";
import { type Manifest, readManifest, SOURCE, workspaces } from "../workspace.ts";

const EXACT = /^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$/;

function dependencies(manifest: Manifest): [string, string][] {
  const { dependencies: own, devDependencies, optionalDependencies, peerDependencies } = manifest;
  return [own, devDependencies, optionalDependencies, peerDependencies].flatMap((block) => Object.entries(block ?? {}));
}

/** Versions that float, packages that left the common version, and manifests that would publish the wrong thing. */
export function manifests(root: string): string[] {
  const found: string[] = [];
  const top = readManifest(root, ".");
  const all = workspaces(root);
  const own = new Map(all.map(({ manifest }) => [manifest.name, manifest.version]));
  for (const { folder, manifest } of [{ folder: ".", manifest: top }, ...all]) {
    const path = folder === "." ? "package.json" : `${folder}/package.json`;
    if (manifest.version !== top.version) found.push(`${path}: version ${manifest.version}; all packages have one version, ${top.version}`);
    if (manifest.license !== "Apache-2.0") found.push(`${path}: "license": "Apache-2.0" is missing`);
    if (manifest.type !== "module") found.push(`${path}: "type": "module" is missing`);
    for (const [name, version] of dependencies(manifest)) {
      if (!EXACT.test(version)) found.push(`${path}: ${name} is "${version}"; write an exact version`);
      else if (own.has(name) && own.get(name) !== version)
        found.push(`${path}: ${name} is ${version}; in this workspace it is ${own.get(name)}`);
    }
    for (const script of ["preinstall", "install", "postinstall", "prepare"]) {
      if (manifest.scripts?.[script] !== undefined) found.push(`${path}: the script "${script}" would run on users' machines; remove it`);
    }
    if (folder === "." || manifest.private === true) continue;
    if (manifest.engines?.["node"] === undefined) found.push(`${path}: "engines": { "node": … } is missing`);
    if (manifest.description === undefined) found.push(`${path}: "description" is missing`);
    if (manifest.files?.join() !== "dist") found.push(`${path}: "files" is ["dist"]; nothing else is published`);
    for (const [subPath, conditions] of Object.entries(manifest.exports ?? {})) {
      if (typeof conditions === "string") continue;
      const keys = Object.keys(conditions).join();
      if (keys !== `${SOURCE},types,default` && !(subPath === "./harness" && keys === SOURCE)) {
        found.push(`${path}: exports["${subPath}"] has the conditions ${keys}; it has ${SOURCE}, types, default, in that order`);
      }
    }
  }
  const core = all.find(({ manifest }) => manifest.name === "brokerkit");
  for (const name of Object.keys(core?.manifest.dependencies ?? {})) {
    found.push(`packages/core/package.json: depends on ${name}; core has no run-time dependency`);
  }
  return found;
}

/** Packages that the lockfile holds at another version than the manifests ask for: someone edited one and not the other. */
export function lockfile(root: string): string[] {
  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
    readonly packages: Readonly<Record<string, Manifest>>;
  };
  const found: string[] = [];
  for (const { folder, manifest } of [{ folder: "", manifest: readManifest(root, ".") }, ...workspaces(root)]) {
    const locked = lock.packages[folder];
    if (locked === undefined) {
      found.push(`package-lock.json: does not know ${folder}; run npm run lock and commit the lockfile`);
      continue;
    }
    const wanted = dependencies(manifest).sort().join();
    if (wanted !== dependencies(locked).sort().join()) {
      found.push(
        `package-lock.json: differs from ${folder === "" ? "" : `${folder}/`}package.json; run npm run lock and commit the lockfile`,
      );
    }
  }
  for (const place of missing(lock.packages).keys()) {
    found.push(`package-lock.json: lacks ${place}, so npm ci refuses it; run npm run lock and commit the lockfile`);
  }
  return found;
}

const check: Check = {
  name: "manifests are exact, agree, and match the lockfile",
  run: async (root) => [...manifests(root), ...lockfile(root)],
};
export default check;
