import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Check } from "../check.ts";
import { readSource } from "../source.ts";
import { adapterNames, filesIn, foldersIn, readManifest } from "../workspace.ts";

const FILES = new Set(
  "index options capabilities driver publisher subscription cursor admin mapping errors native client transport"
    .split(" ")
    .map((name) => `${name}.ts`),
);
const REQUIRED = ["package.json", "README.md", "harness.ts", "src/index.ts", "src/capabilities.ts", "test/conformance.test.ts"];
/** Lines of code of one driver; comments and blank lines do not count, so that explaining is free. */
const DRIVER = { lines: 900, advice: "what is not native belongs to core" };
/**
 * Folders whose lines are counted apart, with free file names. `scripts/`: what runs inside the backend (server-side scripts, the statements
 * of a database, the engine of an embedded backend). `protocol/`: state machines of the wire protocol where no client keeps the SPI's
 * contract; what a driver makes of them stays outside. Kafka needs five of them (producer, two memberships, fetcher, committer) in place of
 * some 6,000 lines of its client, so there each file has a bound besides: what has to be held in mind at once.
 */
const APART: ReadonlyMap<string, { readonly lines: number; readonly each: number; readonly advice: string }> = new Map([
  ["scripts", { lines: 1_300, each: Number.POSITIVE_INFINITY, advice: "what is not native belongs to core" }],
  ["protocol", { lines: 3_700, each: 350, advice: "what is not native belongs to core, or let the client do it" }],
]);
/** The whole of a protocol, where there is no client to stand on. */
const WHOLE_PROTOCOL: ReadonlyMap<string, number> = new Map([["adapters/pulsar/src/protocol", 4_750]]);
const SUITE_LINES = 20;

/** `redis+pubsub` allows the factory names redisPubsub and redisPubSub: compared without case and separators. */
const plain = (name: string): string => name.replace(/[^A-Za-z0-9]/g, "").toLowerCase();

function shape(root: string, name: string): string[] {
  const folder = `adapters/${name}`;
  const found: string[] = [];
  for (const path of REQUIRED) if (!existsSync(join(root, folder, path))) found.push(`${folder}/${path} is missing`);

  const files = filesIn(root, `${folder}/src`);
  const drivers = new Map<string, number>();
  for (const path of files) {
    const parts = path.slice(`${folder}/src/`.length).split("/");
    const last = parts.at(-1) ?? "";
    const apart = parts.slice(0, -1).findIndex((part) => APART.has(part));
    // The folder of a further driver may hold such folders of its own.
    const driver = apart === 1 || (apart === -1 && parts.length === 2) ? (parts[0] ?? "") : "";
    const shaped = apart === -1 ? parts.length <= 2 && FILES.has(last) : apart <= 1;
    if (!shaped) {
      found.push(
        `${path}: every adapter has the same file names (${[...FILES].join(", ")}, ${[...APART.keys()].join("/, ")}/, one folder per further driver)`,
      );
    }
    const owner = apart === -1 ? driver : parts.slice(0, apart + 1).join("/");
    if (!path.endsWith(".ts") || path.endsWith(".generated.ts")) continue;
    const { codeLines } = readSource(root, path);
    drivers.set(owner, (drivers.get(owner) ?? 0) + codeLines);
    const { each = Number.POSITIVE_INFINITY } = APART.get(parts[apart] ?? "") ?? {};
    if (codeLines > each) found.push(`${path}: ${codeLines} lines of code, at most ${each} in one file of this folder`);
  }
  for (const [driver, lines] of drivers) {
    const { lines: usual, advice } = APART.get(driver.slice(driver.lastIndexOf("/") + 1)) ?? DRIVER;
    const where = driver === "" ? `${folder}/src` : `${folder}/src/${driver}`;
    const most = WHOLE_PROTOCOL.get(where) ?? usual;
    if (lines > most) {
      found.push(`${where}: ${lines} lines of code (comments and blank lines not counted), at most ${most}; ${advice}`);
    }
  }
  for (const extra of foldersIn(root, `${folder}/src`)) {
    if (!APART.has(extra) && !existsSync(join(root, folder, "src", extra, "driver.ts"))) {
      found.push(
        `${folder}/src/${extra}/: a folder here is a further driver and has a driver.ts, or is ${[...APART.keys()].join("/ or ")}/`,
      );
    }
  }
  if (files.includes(`${folder}/src/index.ts`) && existsSync(join(root, folder, "package.json"))) found.push(...publicNames(root, name));

  const suite = join(root, folder, "test/conformance.test.ts");
  if (existsSync(suite)) {
    const lines = readFileSync(suite, "utf8").trimEnd().split("\n").length;
    if (lines > SUITE_LINES) {
      found.push(
        `${folder}/test/conformance.test.ts: ${lines} lines, at most ${SUITE_LINES}; it hands the harness to the suite and nothing else`,
      );
    }
  }
  return found;
}

/** index.ts gives one factory per driver, named as the adapter, and types. */
function publicNames(root: string, name: string): string[] {
  const path = `adapters/${name}/src/index.ts`;
  const adapters = new Set(Object.values(readManifest(root, `adapters/${name}`).brokerkit?.schemes ?? {}));
  if (adapters.size === 0)
    return [`adapters/${name}/package.json: "brokerkit": { "schemes": { … } } maps each URL scheme to an adapter's name`];
  const factories = new Set([...adapters].map(plain));
  const values = readSource(root, path).exportedValues;
  const found = values
    .filter((value) => !factories.has(plain(value)))
    .map((value) => `${path}: exports ${value}; an adapter exports its factory (${[...adapters].join(", ")}) and types`);
  for (const adapter of adapters) {
    if (!values.some((value) => plain(value) === plain(adapter))) found.push(`${path}: exports no factory named as the adapter ${adapter}`);
  }
  return found;
}

/** All adapters whose folders differ from the common shape. */
export function adapterShape(root: string): string[] {
  return adapterNames(root).flatMap((name) => shape(root, name));
}

const check: Check = {
  name: "every adapter has the same shape",
  run: async (root) => adapterShape(root),
};
export default check;
