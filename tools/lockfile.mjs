// `npm run lock`: brings package-lock.json up to date with the manifests, complete for every platform.
// A registry may lack the binaries of platforms that nobody there uses. npm then leaves them out of the lockfile, and `npm ci` refuses
// that lockfile on every machine. What is left out is written here by name: version from the package that asks for it, platform from the
// name. Where a registry has the package, `npm ci` installs it; elsewhere its platform keeps it from being asked for.
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const LOCK = join(dirname(dirname(fileURLToPath(import.meta.url))), "package-lock.json");
const SYSTEMS = ["aix", "android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "openharmony", "sunos", "win32"];
const PROCESSORS = ["arm", "arm64", "ia32", "loong64", "mips64el", "ppc64", "riscv64", "s390x", "x64"];

/**
 * @typedef {{ version?: string, dev?: boolean, optional?: boolean, os?: string[], cpu?: string[], libc?: string[],
 *   optionalDependencies?: Record<string, string> }} Entry
 */

/** The entry of a platform's package, read from a name such as `@scope/binding-linux-arm64-musl`. */
export function platformEntry(/** @type {string} */ name, /** @type {string} */ version) {
  const words = name.split(/[-./]/);
  const os = words.find((word) => SYSTEMS.includes(word));
  const cpu = words.find((word) => PROCESSORS.includes(word));
  if (os === undefined || cpu === undefined || !/^\d+\.\d+\.\d+/.test(version)) return undefined;
  const libc =
    os !== "linux"
      ? undefined
      : words.some((word) => word.startsWith("musl"))
        ? "musl"
        : words.some((word) => word.startsWith("gnu"))
          ? "glibc"
          : undefined;
  return { version, cpu: [cpu], ...(libc === undefined ? {} : { libc: [libc] }), optional: true, os: [os] };
}

/** Where Node would look for `name` from a package, nearest first. */
function places(/** @type {string} */ from, /** @type {string} */ name) {
  const found = [];
  for (let at = from; ; at = at.slice(0, at.lastIndexOf("node_modules/")).replace(/\/$/, "")) {
    found.push(`${at === "" ? "" : `${at}/`}node_modules/${name}`);
    if (!at.includes("node_modules/")) return at === "" ? found : [...found, `node_modules/${name}`];
  }
}

/** What a lockfile asks for and does not hold: place → entry. */
export function missing(/** @type {Record<string, Entry>} */ packages) {
  /** @type {Map<string, Entry>} */
  const found = new Map();
  for (const [from, entry] of Object.entries(packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      const looked = places(from, name);
      const place = looked.at(-1);
      const added = platformEntry(name, version);
      if (place === undefined || added === undefined || looked.some((one) => packages[one] !== undefined)) continue;
      found.set(place, entry.dev === true ? { ...added, dev: true } : added);
    }
  }
  return found;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const flags = ["install", "--package-lock-only", "--ignore-scripts", "--loglevel=error", ...process.argv.slice(2)];
  const done = spawnSync("npm", flags, { cwd: dirname(LOCK), stdio: "inherit", shell: process.platform === "win32" });
  if (done.status !== 0) process.exit(done.status ?? 1);
  const lock = JSON.parse(readFileSync(LOCK, "utf8"));
  const added = missing(lock.packages);
  const entries = [...Object.entries(lock.packages), ...added].sort(([a], [b]) => a.localeCompare(b, "en"));
  lock.packages = Object.fromEntries(entries);
  writeFileSync(LOCK, `${JSON.stringify(lock, undefined, 2)}\n`);
  console.log(`lock: ${entries.length} packages, ${added.size} of them for platforms that this registry does not have`);
}
