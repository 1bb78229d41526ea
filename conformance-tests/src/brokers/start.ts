import { cacheFolder } from "./cache.ts";
import { hasDocker, startContainer } from "./container.ts";
import { useEnvironment } from "./environment.ts";
import { startPrivate } from "./private.ts";
import { type BrokerRecipe, BrokerUnavailableError, type RunningBroker, type StartOptions } from "./recipe.ts";

function words(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message;
}

/**
 * Gets a broker that serves: the one that the recipe's environment variable names, else one in a container where a Docker engine answers and
 * the image can be had, else a private local process. `destructive` goes straight to the private process, `options` skips the environment.
 * Safe to call many times at once, in one process and in several.
 * @throws Error when the environment's broker does not serve: falling through would hide it. BrokerUnavailableError when no way works
 */
export async function startBroker(recipe: BrokerRecipe, start: StartOptions = {}): Promise<RunningBroker> {
  const { destructive = false, options = {} } = start;
  const { env } = process;
  const given = env[recipe.variable];
  const asUsual = !destructive && Object.keys(options).length === 0;
  if (asUsual && given !== undefined && given !== "") return useEnvironment(recipe, given);

  const failed: string[] = [];
  if (!destructive && recipe.container !== undefined && (await hasDocker(env))) {
    try {
      return await startContainer(recipe, options);
    } catch (error) {
      failed.push(`container ${recipe.container.image}: ${words(error)}`);
    }
  }
  try {
    return await startPrivate(recipe, { cache: cacheFolder(env), env, options });
  } catch (error) {
    failed.push(`local process: ${words(error)}`);
    throw new BrokerUnavailableError([`${recipe.name} could not be started.`, ...failed].join("\n"), { cause: error });
  }
}
