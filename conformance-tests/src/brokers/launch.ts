import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { guardPath, releasePath } from "../faults/guard.ts";
import { type ReservedPort, reservePort } from "../faults/ports.ts";
import { cached } from "./cache.ts";
import { findProgram } from "./find.ts";
import {
  type BrokerOptions,
  type BrokerRecipe,
  BrokerUnavailableError,
  type Command,
  type Endpoint,
  type Place,
  type ProcessRecipe,
  type Program,
} from "./recipe.ts";
import { run } from "./run.ts";

/** Everything that a start as a local process needs; it stays the same over restarts. */
export interface Launch {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** File that takes the output. */
  readonly logFile: string;
  readonly endpoint: Endpoint;
  /** Makes the data of a server that has ended ready for the next start. */
  repair(): Promise<void>;
  /** Frees the ports and removes the folder. */
  discard(): Promise<void>;
}

const host = "127.0.0.1";

export interface LaunchContext {
  readonly cache: string;
  readonly env: NodeJS.ProcessEnv;
  readonly options: BrokerOptions;
  /** Folder for data, configuration and log. Default: a new temporary one, removed when this process ends. */
  readonly folder?: string | undefined;
}

async function write(folder: string, files: Readonly<Record<string, string | Uint8Array>>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content, { mode: 0o600 });
  }
}

async function lay(
  broker: BrokerRecipe,
  recipe: ProcessRecipe,
  program: Program,
  library: string,
  context: LaunchContext,
  folder: string,
  ports: readonly number[],
): Promise<Omit<Launch, "discard">> {
  const [port, ...extraPorts] = ports;
  if (port === undefined) throw new Error("a broker needs a port");
  const { options } = context;
  const place: Place = {
    host,
    port,
    extraPorts,
    options,
    data: join(folder, "data"),
    conf: join(folder, "conf"),
    binary: program.binary,
    home: program.home,
    library,
  };
  await mkdir(place.data, { recursive: true });
  await mkdir(place.conf, { recursive: true });
  await write(place.conf, recipe.files?.(place) ?? {});
  const env = { ...context.env, ...program.env, ...recipe.env?.(place) };
  const all = async (commands: readonly Command[] = []): Promise<void> => {
    for (const [command, ...args] of commands) await run(command, args, { cwd: folder, env });
  };
  await all(recipe.prepare?.(place));
  const at = { host, port, options };
  return {
    command: program.binary,
    args: recipe.args(place),
    env,
    cwd: folder,
    logFile: join(folder, "log"),
    endpoint: { url: broker.url({ ...at, extraPorts }), ...at },
    repair: () => all(recipe.repair?.(place)),
  };
}

/**
 * Finds the program, reserves ports and writes folders and files: everything but the start.
 * @throws BrokerUnavailableError when there is no program and none can be had
 */
export async function prepareLaunch(broker: BrokerRecipe, context: LaunchContext): Promise<Launch> {
  const recipe = broker.process;
  if (recipe === undefined) throw new BrokerUnavailableError(`${broker.name} has no recipe for one`);
  if (process.platform === "win32") throw new BrokerUnavailableError(`${broker.name} as a local process needs a POSIX system`);
  const program = await findProgram(broker, recipe, context.cache, context.env);
  const { library: wanted } = recipe;
  const library = wanted === undefined ? "" : await cached(context.cache, wanted.name, (folder) => wanted.fill(folder, program));
  const folder = context.folder ?? (await mkdtemp(join(tmpdir(), `brokerkit-${broker.name}-`)));
  const own = context.folder === undefined;
  const ports: ReservedPort[] = [];
  const discard = async (): Promise<void> => {
    for (const port of ports) await port.release();
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
    if (own) await releasePath(folder);
  };
  try {
    if (own) await guardPath(folder);
    else if (!existsSync(folder)) await mkdir(folder, { recursive: true });
    for (let n = 0; n <= (recipe.extraPorts ?? 0); n++) ports.push(await reservePort());
    const launch = await lay(
      broker,
      recipe,
      program,
      library,
      context,
      folder,
      ports.map(({ port }) => port),
    );
    return { ...launch, discard };
  } catch (error) {
    await discard();
    throw error;
  }
}
