import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import {
  type BrokerRecipe,
  BrokerUnavailableError,
  NotOursError,
  type RunningBroker,
  type StartOptions,
  startBroker,
} from "../src/brokers/index.ts";
import { lastWords } from "../src/brokers/ready.ts";
import { startProcess, until } from "../src/faults/index.ts";
import { ask, redis } from "./brokers-recipe.ts";

const recipeProcess = redis.process ?? expect.fail("the recipe has no process");
const fixture = JSON.stringify(new URL("./brokers-recipe.ts", import.meta.url).href);
const brokers = JSON.stringify(new URL("../src/brokers/index.ts", import.meta.url).href);

afterEach(() => vi.unstubAllEnvs());

async function start(recipe: BrokerRecipe, options?: StartOptions): Promise<RunningBroker> {
  const broker = await startBroker(recipe, options);
  onTestFinished(() => broker.close());
  return broker;
}

/** Whether somebody answers within a second. */
const answers = (at: { readonly host: string; readonly port: number }): Promise<boolean> =>
  ask(at, "PING", AbortSignal.timeout(1_000)).then(
    () => true,
    () => false,
  );

describe("a private broker", () => {
  it("serves on a port of its own and tells its version", async () => {
    const broker = await start(redis);
    expect(broker).toMatchObject({ name: "redis", source: "process", host: "127.0.0.1" });
    expect(broker.url).toBe(`redis://127.0.0.1:${broker.port}`);
    expect(broker.port).not.toBe(redis.port);
    expect(broker.version).toMatch(/^\d+\.\d+\.\d+$/);
    expect(await broker.log()).toMatch(/Ready to accept connections/);
  });

  it("is killed, and restarts on the same port with the same data", async () => {
    const broker = await start(redis, { destructive: true });
    expect(await ask(broker, "SET order 7")).toBe("+OK");
    await broker.kill();
    await expect(ask(broker, "PING")).rejects.toThrow(/ECONNREFUSED/);
    await broker.restart();
    expect(await ask(broker, "GET order")).toBe("7");
    await broker.restart();
    expect(await ask(broker, "GET order")).toBe("7");
  });

  it("is repaired before it starts on the data of the one before, and the reason is told where that fails", async () => {
    let data = "";
    const recipe = {
      ...redis,
      process: {
        ...recipeProcess,
        repair: (place) => {
          ({ data } = place);
          return [["mkdir", join(place.data, "repaired")]];
        },
      },
    } satisfies BrokerRecipe;
    const broker = await start(recipe, { destructive: true });
    expect(data).toBe("");
    await broker.kill();
    await broker.restart();
    expect(existsSync(join(data, "repaired"))).toBe(true);
    await expect(broker.restart()).rejects.toThrow(/mkdir.*File exists/s);
  });

  it("stands still and goes on", async () => {
    const broker = await start(redis, { destructive: true });
    await broker.stop();
    expect(await answers(broker)).toBe(false);
    await broker.cont();
    expect(await answers(broker)).toBe(true);
    await broker.stop();
    await broker.kill();
  });

  it("says how it ended and what it printed last when nobody asked it to end, and only then", async () => {
    const warned = vi.spyOn(process, "emitWarning").mockReturnValue();
    const broker = await start(redis, { destructive: true });
    await broker.restart();
    await broker.kill();
    await broker.restart();
    await ask(broker, "SHUTDOWN").catch(() => "");
    await until(() => warned.mock.calls.length > 0, { timeoutMs: 10_000, what: "the warning" });
    await broker.close();
    const said = warned.mock.calls.map(([text]) => String(text));
    expect(said).toEqual([expect.stringMatching(/^redis at 127\.0\.0\.1:\d+ ended by itself \(code 0\)\. Its log says:\n(.|\n)*bye bye/)]);
    expect(said[0]?.split("\n").length).toBeLessThanOrEqual(21);
  });

  it("says a crash's reason and not only the stacks behind it", async () => {
    const folder = await mkdtemp(join(tmpdir(), "brokerkit-log-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const log = join(folder, "server.log");
    const stacks = Array.from({ length: 500 }, (_, n) => `goroutine ${n} [running]:`);
    await writeFile(log, ["[1] ready", "panic: runtime error: index out of range", ...stacks].join("\n"));
    expect((await lastWords(log)).split("\n").slice(0, 2)).toEqual(["panic: runtime error: index out of range", "goroutine 0 [running]:"]);
    await writeFile(log, ["[1] ready", "[2] panic: is a word here", ...stacks].join("\n"));
    expect((await lastWords(log)).split("\n").at(-1)).toBe("goroutine 499 [running]:");
  });

  it("leaves nothing behind when it is closed, also twice and when frozen", async () => {
    let data = "";
    const recipe = {
      ...redis,
      process: {
        ...recipeProcess,
        args: (place) => {
          data = place.data;
          return recipeProcess.args(place);
        },
      },
    } satisfies BrokerRecipe;
    const broker = await start(recipe);
    expect(existsSync(data)).toBe(true);
    await broker.stop();
    await Promise.all([broker.close(), broker.close()]);
    expect(existsSync(data)).toBe(false);
    await expect(ask(broker, "PING")).rejects.toThrow(/ECONNREFUSED/);
    await expect(broker.restart()).rejects.toThrow("redis is closed");
  });

  it("takes the options of its recipe", async () => {
    const broker = await start(redis, { options: { maxmemory: "3mb" } });
    expect(await ask(broker, "CONFIG GET maxmemory")).toContain("maxmemory");
    expect(await ask(broker, "INFO memory")).toContain("maxmemory:3145728");
  });

  it("is one of many, started at the same time", async () => {
    const started = await Promise.all(Array.from({ length: 4 }, () => start(redis)));
    expect(new Set(started.map(({ port }) => port)).size).toBe(4);
    for (const broker of started) expect(await ask(broker, `SET me ${broker.port}`)).toBe("+OK");
    for (const broker of started) expect(await ask(broker, "GET me")).toBe(String(broker.port));
  });

  it("takes another port when its own was snatched away", async () => {
    let thief: Server | undefined;
    const recipe: BrokerRecipe = {
      ...redis,
      process: {
        ...recipeProcess,
        files: (place) => {
          thief ??= createServer().listen(place.port, place.host);
          return recipeProcess.files?.(place) ?? {};
        },
      },
    };
    onTestFinished(() => void thief?.close());
    const broker = await start(recipe);
    expect(thief?.address()).not.toMatchObject({ port: broker.port });
    expect(await ask(broker, "PING")).toBe("+PONG");
  });

  it("says what it printed when it can't start", async () => {
    const recipe: BrokerRecipe = { ...redis, process: { ...recipeProcess, args: () => ["--no-such-option", "1"] } };
    const failure = await startBroker(recipe).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(BrokerUnavailableError);
    expect(String(failure)).toMatch(/as a local process: redis ended before it served: .*redis-server(.|\n)*no-such-option/);
  });

  it("says what it waited for when it never serves", async () => {
    const failure = await startBroker({ ...redis, readyMs: 300, ready: () => Promise.reject(new Error("not yet")) }).catch(
      (error: unknown) => error,
    );
    expect(String(failure)).toMatch(/waited 300 ms for redis to serve at 127\.0\.0\.1:\d+; at last it threw Error: not yet/);
  });

  it("does not outlive the process that started it, even one that is killed", async () => {
    const program = `
      const { startBroker } = await import(${brokers});
      const { redis } = await import(${fixture});
      let folder;
      const broker = await startBroker({ ...redis, process: { ...redis.process, args: (place) => redis.process.args({ ...place, data: (folder = place.data) }) } });
      await broker.stop();
      await broker.cont();
      console.log(JSON.stringify({ port: broker.port, folder }));
      setInterval(() => {}, 1000);`;
    const parent = await startProcess({ name: "parent", command: process.execPath, args: ["--input-type=module", "-e", program] });
    onTestFinished(async () => void (await parent.kill()));
    const { port, folder } = JSON.parse(await parent.line(/^\{/)) as { readonly port: number; readonly folder: string };
    expect(await answers({ host: "127.0.0.1", port })).toBe(true);
    // Only the parent: the broker stands in a group of its own.
    process.kill(parent.pid, "SIGKILL");
    await until(async () => !(await answers({ host: "127.0.0.1", port })), { timeoutMs: 5_000, what: "the broker to follow its parent" });
    await until(() => !existsSync(folder), { timeoutMs: 5_000, what: "its data to be removed" });
  });
});

describe("a broker from the environment", () => {
  it("is used as it is, and refuses faults", async () => {
    const real = await start(redis);
    vi.stubEnv(redis.variable, real.url);
    const broker = await start(redis);
    expect(broker).toMatchObject({ url: real.url, host: real.host, port: real.port, source: "environment", version: real.version });
    for (const fault of ["kill", "restart", "stop", "cont"] as const) await expect(broker[fault]()).rejects.toThrow(NotOursError);
    await broker.close();
    expect(await answers(real)).toBe(true);
  });

  it("is not taken for destructive tests and special options", async () => {
    const real = await start(redis);
    vi.stubEnv(redis.variable, real.url);
    expect((await start(redis, { destructive: true })).port).not.toBe(real.port);
    expect((await start(redis, { options: { maxmemory: "3mb" } })).port).not.toBe(real.port);
  });

  it("is not silently replaced when it does not serve", async () => {
    vi.stubEnv(redis.variable, "redis://user:secret@127.0.0.1:1");
    const failure = await startBroker({ ...redis, readyMs: 200 }).catch((error: unknown) => error);
    expect(String(failure)).toMatch(/redis to serve at 127\.0\.0\.1:1/);
    expect(String(failure)).not.toContain("secret");
    vi.stubEnv(redis.variable, "nonsense");
    await expect(startBroker(redis)).rejects.toThrow(`${redis.variable} does not hold a URL like redis://localhost:6379`);
  });
});

it("falls through to a local process, with a warning, where a container engine cannot give the image", async () => {
  const asked: string[] = [];
  const engine = createHttpServer((request, response) => {
    asked.push(request.url ?? "");
    response.writeHead(request.url === "/_ping" ? 200 : 404).end("{}");
  }).listen(0, "127.0.0.1");
  await once(engine, "listening");
  onTestFinished(() => void engine.close());
  const address = engine.address();
  vi.stubEnv("DOCKER_HOST", `tcp://127.0.0.1:${typeof address === "object" ? address?.port : ""}`);
  const warned = vi.spyOn(process, "emitWarning").mockReturnValue();
  const recipe = { ...redis, container: { image: "brokerkit-test/missing:1", port: 6379 } };
  expect((await start(recipe)).source).toBe("process");
  expect(asked[0]).toBe("/_ping");
  expect(String(warned.mock.calls[0]?.[0])).toMatch(
    /does not run in a container \(image brokerkit-test\/missing:1\), so a local process is used/,
  );
});

describe("a broker without a program", () => {
  const missing = (more: object): BrokerRecipe => ({
    ...redis,
    process: { ...recipeProcess, binaries: ["brokerkit-test-server"], debian: undefined, ...more },
  });

  it("names the program, or the line to run", async () => {
    await expect(startBroker(missing({}))).rejects.toThrow(/needs the program brokerkit-test-server, which is not on PATH: install it/);
    const folder = await mkdtemp(join(tmpdir(), "brokerkit-test-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    await writeFile(join(folder, "apt-get"), "#!/bin/sh\necho no network >&2\nexit 100\n");
    await chmod(join(folder, "apt-get"), 0o755);
    vi.stubEnv("PATH", folder);
    vi.stubEnv("XDG_CACHE_HOME", folder);
    const failure = await startBroker(missing({ debian: "test-server" })).catch((error: unknown) => error);
    expect(String(failure)).toMatch(/could not be fetched\. Run: sudo apt-get install test-server \(apt-get .* no network\)/);
  });

  it("unpacks a download once, also when asked twice at a time, and again after a failure", async () => {
    const cache = await mkdtemp(join(tmpdir(), "brokerkit-test-"));
    onTestFinished(() => rm(cache, { recursive: true }));
    vi.stubEnv("XDG_CACHE_HOME", cache);
    let fills = 0;
    const download = {
      name: "server-1.0",
      binary: "bin/brokerkit-test-server",
      fill: async (folder: string): Promise<void> => {
        if (fills++ === 0) throw new Error("the connection broke");
        await mkdir(join(folder, "bin"));
        await writeFile(join(folder, "bin", "brokerkit-test-server"), '#!/bin/sh\nexec redis-server "$@"\n');
        await chmod(join(folder, "bin", "brokerkit-test-server"), 0o755);
      },
    };
    await expect(startBroker(missing({ download }))).rejects.toThrow(/the connection broke/);
    const [one, other] = await Promise.all([start(missing({ download })), start(missing({ download }))]);
    expect(fills).toBe(2);
    expect(await ask(one, "PING")).toBe("+PONG");
    expect(await ask(other, "PING")).toBe("+PONG");
  });

  it("fetches what an installed program loads besides, once, and says where it is", async () => {
    const cache = await mkdtemp(join(tmpdir(), "brokerkit-test-"));
    onTestFinished(() => rm(cache, { recursive: true }));
    vi.stubEnv("XDG_CACHE_HOME", cache);
    let fills = 0;
    const recipe: BrokerRecipe = {
      ...redis,
      process: {
        ...recipeProcess,
        library: {
          name: "rules-1.0",
          fill: async (folder) => {
            fills += 1;
            await writeFile(join(folder, "rules.conf"), "requirepass secret\n");
          },
        },
        args: (place) => [...recipeProcess.args(place), "--include", join(place.library, "rules.conf")],
      },
    };
    const [one] = await Promise.all([start(recipe), start(recipe)]);
    expect(fills).toBe(1);
    expect(await ask(one, "PING")).toMatch(/^-NOAUTH/);
    expect(existsSync(join(cache, "brokerkit", "rules-1.0", "rules.conf"))).toBe(true);
  });
});

it("says why nothing worked where a recipe has no way at all", async () => {
  const { process: _, ...bare } = redis;
  await expect(startBroker(bare)).rejects.toThrow("redis could not be started as a local process: redis has no recipe for one");
});
