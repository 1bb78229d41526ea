import { type RunningProcess, startProcess } from "../faults/process.ts";
import { type Launch, type LaunchContext, prepareLaunch } from "./launch.ts";
import { askVersion, lastWords, tailOf, untilReady } from "./ready.ts";
import type { BrokerRecipe, RunningBroker } from "./recipe.ts";

/** It ended before it served: most often because another program took its port in the meantime. */
class EndedEarlyError extends Error {
  override readonly name = "EndedEarlyError";
}

async function begin(recipe: BrokerRecipe, launch: Launch): Promise<RunningProcess> {
  const { command, args, cwd, env, logFile: log, endpoint } = launch;
  const child = await startProcess({ name: recipe.name, command, args, cwd, env, log });
  const ended = new AbortController();
  const describe = async (): Promise<string> => `${recipe.name} ended before it served: ${command} ${args.join(" ")}\n${await tailOf(log)}`;
  void child.exited.then(async () => ended.abort(new EndedEarlyError(await describe())));
  try {
    await untilReady(recipe, endpoint, ended.signal);
    // Somebody else's server on our port would have answered as well; then ours has failed to listen and is ending.
    if (child.exit !== undefined) throw new EndedEarlyError(await describe());
    return child;
  } catch (error) {
    await child.kill();
    if (error instanceof EndedEarlyError) throw error;
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n${await tailOf(log)}`, { cause: error });
  }
}

class PrivateBroker implements RunningBroker {
  readonly name: string;
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly version: string;
  readonly source = "process" as const;
  readonly #recipe: BrokerRecipe;
  readonly #launch: Launch;
  #child: RunningProcess;
  /** The one that was asked to end, so that there is nothing to say when it does. */
  #ending: RunningProcess | undefined;
  /** Nothing more is to be said about an end. */
  #told: Promise<void>;
  #closed: Promise<void> | undefined;

  constructor(recipe: BrokerRecipe, launch: Launch, child: RunningProcess, version: string) {
    this.#recipe = recipe;
    this.#launch = launch;
    this.#child = child;
    this.name = recipe.name;
    this.version = version;
    ({ url: this.url, host: this.host, port: this.port } = launch.endpoint);
    this.#told = this.#watch(child);
  }

  /** Whoever uses it sees that it is gone and not why, so that is said on standard error. */
  async #watch(child: RunningProcess): Promise<void> {
    const { code, signal } = await child.exited;
    if (this.#ending === child) return;
    const log = await lastWords(this.#launch.logFile);
    process.emitWarning(`${this.name} at ${this.host}:${this.port} ended by itself (${signal ?? `code ${code}`}). Its log says:\n${log}`);
  }

  log(): Promise<string> {
    return tailOf(this.#launch.logFile);
  }

  async kill(): Promise<void> {
    this.#ending = this.#child;
    await this.#child.kill();
  }

  async restart(): Promise<void> {
    if (this.#closed !== undefined) throw new Error(`${this.name} is closed`);
    this.#ending = this.#child;
    await this.#child.terminate(10_000);
    await this.#launch.repair();
    this.#child = await begin(this.#recipe, this.#launch);
    this.#told = this.#watch(this.#child);
  }

  async stop(): Promise<void> {
    await this.#child.freeze();
  }

  async cont(): Promise<void> {
    await this.#child.thaw();
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await this.kill();
    // It may have ended before, and then its log is still being read.
    await this.#told;
    await this.#launch.discard();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Starts a broker of our own as a local process on random free ports, with data of its own. Closing it removes both. */
export async function startPrivate(recipe: BrokerRecipe, context: LaunchContext): Promise<RunningBroker> {
  for (let attempt = 1; ; attempt++) {
    const launch = await prepareLaunch(recipe, context);
    try {
      const child = await begin(recipe, launch);
      try {
        return new PrivateBroker(recipe, launch, child, await askVersion(recipe, launch.endpoint));
      } catch (error) {
        await child.kill();
        throw error;
      }
    } catch (error) {
      await launch.discard();
      // Another port, in case it was the port; a broker that can't start for another reason fails again and says so.
      if (!(error instanceof EndedEarlyError) || attempt === 3) throw error;
    }
  }
}
