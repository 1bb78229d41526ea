import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const run = promisify(execFile);
const core = fileURLToPath(new URL("..", import.meta.url));
const CONDITION = "@brokerkit/source";
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "brokerkit-loading-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** Runs a program in `at` on the real module loader; what it prints is JSON. */
async function program(at: string, source: string, ...flags: string[]): Promise<unknown> {
  const file = join(at, `program-${Math.random().toString(36).slice(2)}.mjs`);
  await writeFile(file, source);
  const { stdout } = await run(process.execPath, ["--disable-warning=ExperimentalWarning", ...flags, file], { cwd: at });
  return JSON.parse(stdout);
}

async function writePackage(name: string, source: string): Promise<void> {
  const home = join(folder, "node_modules", name);
  await mkdir(home, { recursive: true });
  await writeFile(join(home, "package.json"), JSON.stringify({ name, version: "1.0.0", type: "module", exports: "./index.js" }));
  await writeFile(join(home, "index.js"), source);
}

describe("an adapter that is found by its scheme", () => {
  // The sources, away from the workspace's node_modules: as in an application that has installed other things.
  beforeAll(async () => {
    await cp(join(core, "src"), join(folder, "src"), { recursive: true });
    await writePackage("@brokerkit/redis", 'import "client-that-is-not-there"; export const x = 1;');
    await writePackage("empty-one", "export const x = 1;");
    await writePackage(
      "@third/party",
      `export const other = Object.assign(() => {}, { schemes: ["other"], fromUrl() { throw new Error("the wrong one"); } });
       export const fits = Object.assign(() => {}, { schemes: ["fits"], fromUrl(url) { throw Object.assign(new Error("reached " + url.path), { driverCode: "FORBIDDEN" }); } });`,
    );
    await writeFile(
      join(folder, "src", "adapters.generated.ts"),
      `export const ADAPTERS = {
        sqlite: { package: "@brokerkit/sqlite", schemes: ["sqlite"], features: [] },
        redis: { package: "@brokerkit/redis", schemes: ["redis"], features: [] },
        empty: { package: "empty-one", schemes: ["empty"], features: [] },
        fits: { package: "@third/party", schemes: ["fits"], features: [] },
      };`,
    );
  });

  const REFUSALS = `
    import { connect } from "./src/connect.ts";
    const refusals = {};
    for (const url of ["sqlite:x.db", "redis://canary:canary@h", "empty:", "fits:here"]) {
      await connect(url).catch(({ code, message, details, cause }) => (refusals[url.split(":")[0]] = { code, message, details, cause: cause?.message }));
    }
    console.log(JSON.stringify(refusals));`;

  test("is missing, broken, no adapter, or loaded, and each is told apart", async () => {
    const refusals = (await program(folder, REFUSALS)) as Record<
      string,
      { code: string; message: string; details: unknown; cause: string }
    >;
    expect(refusals["sqlite"]).toMatchObject({
      code: "ADAPTER_MISSING",
      details: { scheme: "sqlite", install: "npm i @brokerkit/sqlite" },
    });
    expect(refusals["sqlite"]?.message).toContain("npm i @brokerkit/sqlite");
    expect(refusals["redis"]).toMatchObject({ code: "INTERNAL", cause: expect.stringContaining("client-that-is-not-there") });
    expect(refusals["redis"]?.message).toContain("client-that-is-not-there");
    expect(refusals["empty"]).toMatchObject({ code: "INTERNAL", message: expect.stringContaining("exports no adapter") });
    expect(refusals["fits"]).toMatchObject({ code: "FORBIDDEN", message: expect.stringContaining("reached here") });
    expect(JSON.stringify(refusals)).not.toContain("canary");
  });
});

describe("a bundle", () => {
  const APPLICATION = `
    import { connect } from "brokerkit";
    const main = async () => {
      const broker = await connect("memory:");
      const { id } = await broker.topic("t").publish({ n: 1 });
      await broker.close();
      const error = await connect("sqlite:x.db").catch((e) => e);
      console.log(JSON.stringify({ id: typeof id, code: error.code }));
    };
    main();`;

  test.each(["esm", "cjs"] as const)("as %s takes the built-in backend along, and says so where another is missing", async (format) => {
    const outfile = join(folder, `bundle.${format === "esm" ? "mjs" : "cjs"}`);
    const built = await build({
      stdin: { contents: APPLICATION, resolveDir: core },
      bundle: true,
      platform: "node",
      target: "node22",
      format,
      conditions: [CONDITION],
      outfile,
      logLevel: "silent",
    });
    expect(built.warnings).toEqual([]);
    const { stdout } = await run(process.execPath, ["--disable-warning=ExperimentalWarning", outfile], { cwd: folder });
    expect(JSON.parse(stdout)).toEqual({ id: "string", code: "ADAPTER_MISSING" });
  });
});
