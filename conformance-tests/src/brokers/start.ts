import { cacheFolder } from "./cache.ts";
import { hasDocker, startContainer } from "./container.ts";
import { useEnvironment } from "./environment.ts";
import { startPrivate } from "./private.ts";
import { type BrokerOptions, type BrokerRecipe, BrokerUnavailableError, type RunningBroker, type StartOptions } from "./recipe.ts";

function words(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message;
}

/** Images that could not be had; asking for one again would only take time. */
const missingImages = new Set<string>();

/** A broker in a container, or undefined after saying why not. */
async function tryContainer(recipe: BrokerRecipe, options: BrokerOptions): Promise<RunningBroker | undefined> {
  const image = recipe.container?.image;
  if (image === undefined || missingImages.has(image) || !(await hasDocker(process.env))) return undefined;
  try {
    return await startContainer(recipe, options);
  } catch (error) {
    missingImages.add(image);
    process.emitWarning(`${recipe.name} does not run in a container (image ${image}), so a local process is used: ${words(error)}`);
    return undefined;
  }
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

  const contained = destructive ? undefined : await tryContainer(recipe, options);
  if (contained !== undefined) return contained;
  try {
    return await startPrivate(recipe, { cache: cacheFolder(env), env, options });
  } catch (error) {
    throw new BrokerUnavailableError(`${recipe.name} could not be started as a local process: ${words(error)}`, { cause: error });
  }
}
