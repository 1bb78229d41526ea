import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { identityOf, isAlive } from "../faults/identity.ts";
import { until } from "../faults/until.ts";
import { cacheFolder } from "./cache.ts";
import { type Launch, prepareLaunch } from "./launch.ts";
import { askVersion, tailOf, untilReady } from "./ready.ts";
import type { BrokerRecipe, Endpoint } from "./recipe.ts";
import { type Left, LeftBrokers } from "./state.ts";

const attempts = 3;
const graceMs = 5_000;

/** Starts the process in a session of its own, so that it stays when this one ends. Gives its identity. */
async function spawnDetached({ command, args, cwd, env, logFile }: Launch): Promise<string> {
  const log = openSync(logFile, "a");
  try {
    const child = spawn(command, args, { cwd, env: { ...env }, detached: true, stdio: ["ignore", log, log] });
    await once(child, "spawn");
    child.unref();
    const identity = child.pid === undefined ? undefined : identityOf(child.pid);
    if (identity === undefined) throw new Error(`${command} ended at once\n${await tailOf(logFile)}`);
    return identity;
  } finally {
    closeSync(log);
  }
}

/** Ends the very process of that identity, with its group. */
async function end(identity: string): Promise<void> {
  const group = -Number.parseInt(identity, 10);
  const signal = (name: NodeJS.Signals): void => {
    try {
      if (isAlive(identity)) process.kill(group, name);
    } catch {
      // It has just ended.
    }
  };
  const gone = (timeoutMs: number): Promise<boolean> => until(() => !isAlive(identity), { timeoutMs, what: `process ${identity} to end` });
  signal("SIGTERM");
  try {
    await gone(graceMs);
  } catch {
    signal("SIGKILL");
    await gone(graceMs);
  }
}

/** Waits until it serves; rejects at once when the process ends. */
async function untilReadyOrDead(recipe: BrokerRecipe, endpoint: Endpoint, identity: string): Promise<void> {
  const ended = new AbortController();
  const look = (): void => {
    if (!isAlive(identity)) ended.abort(new Error(`${recipe.name} ended before it served`));
  };
  const watch = setInterval(look, 50);
  try {
    await untilReady(recipe, endpoint, ended.signal);
    // What answered may be somebody else's server on the same port.
    look();
    ended.signal.throwIfAborted();
  } finally {
    clearInterval(watch);
  }
}

async function launch(recipe: BrokerRecipe, left: LeftBrokers, env: NodeJS.ProcessEnv): Promise<Left> {
  for (let attempt = 1; ; attempt++) {
    const prepared = await prepareLaunch(recipe, { cache: cacheFolder(env), env, options: {}, folder: left.folderOf(recipe.name) });
    let identity: string | undefined;
    try {
      identity = await spawnDetached(prepared);
      const { endpoint } = prepared;
      const { name, variable } = recipe;
      const { url, host, port } = endpoint;
      const entry = { name, variable, url, host, port, version: "", process: identity, folder: left.folderOf(name) };
      // Recorded before it serves: `down` must find it even if this process is stopped now.
      await left.record(entry);
      await untilReadyOrDead(recipe, endpoint, identity);
      const complete = { ...entry, version: await askVersion(recipe, endpoint) };
      await left.record(complete);
      return complete;
    } catch (error) {
      const said = await tailOf(prepared.logFile);
      const died = identity === undefined || !isAlive(identity);
      if (identity !== undefined) await end(identity);
      await prepared.discard();
      await left.forget(recipe.name);
      // A process that ended by itself may have found its port taken.
      if (!died || attempt === attempts)
        throw new Error(`${error instanceof Error ? error.message : String(error)}\n${said}`, { cause: error });
    }
  }
}

/** Starts a broker and leaves it running, or finds the one that was left running before. */
export async function up(recipe: BrokerRecipe, env: NodeJS.ProcessEnv): Promise<Left> {
  const left = new LeftBrokers(cacheFolder(env));
  return left.exclusively(recipe.name, async () => {
    const running = await left.running(recipe.name);
    if (running !== undefined) {
      try {
        await untilReadyOrDead(recipe, { ...running, options: {} }, running.process);
        return running;
      } catch (error) {
        if (isAlive(running.process)) throw error;
      }
    }
    await left.forget(recipe.name);
    return launch(recipe, left, env);
  });
}

/** Stops a broker that `up` left running, and removes its data. Never touches any other process. Gives whether one was running. */
export async function down(name: string, env: NodeJS.ProcessEnv): Promise<boolean> {
  const left = new LeftBrokers(cacheFolder(env));
  return left.exclusively(name, async () => {
    const running = await left.running(name);
    if (running !== undefined) await end(running.process);
    await left.forget(name);
    return running !== undefined;
  });
}
