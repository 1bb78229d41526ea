import { askVersion, untilReady } from "./ready.ts";
import { type BrokerRecipe, type Endpoint, NotOursError, type RunningBroker } from "./recipe.ts";

const address = /^[a-z][a-z0-9+.-]*:\/\/(?:[^@/]*@)?(\[[^\]]+\]|[^:/?,]+)(?::(\d+))?/i;

/** Host and port of a URL, of the first server where it lists several. */
export function endpointOf(recipe: BrokerRecipe, url: string): Endpoint {
  const match = address.exec(url);
  if (match?.[1] === undefined) {
    const usual = recipe.url({ host: "localhost", port: recipe.port, extraPorts: [], options: {} });
    throw new Error(`${recipe.variable} does not hold a URL like ${usual}`);
  }
  const host = match[1].replace(/^\[|\]$/g, "");
  return { url, host, port: match[2] === undefined ? recipe.port : Number(match[2]), options: {} };
}

/** A broker that is not a process of ours: faults are refused. */
export function notOurs(name: string, source: "environment" | "container"): Pick<RunningBroker, "kill" | "restart" | "stop" | "cont"> {
  const refuse = async (): Promise<never> => {
    throw new NotOursError(`${name} comes from the ${source}; start it with { destructive: true } to kill, freeze or restart it`);
  };
  return { kill: refuse, restart: refuse, stop: refuse, cont: refuse };
}

/** The broker that a variable of the environment points to. It must serve within the recipe's time. */
export async function useEnvironment(recipe: BrokerRecipe, url: string): Promise<RunningBroker> {
  const endpoint = endpointOf(recipe, url);
  await untilReady(recipe, endpoint);
  const close = async (): Promise<void> => undefined;
  return {
    name: recipe.name,
    url,
    host: endpoint.host,
    port: endpoint.port,
    version: await askVersion(recipe, endpoint),
    source: "environment",
    log: async () => "",
    ...notOurs(recipe.name, "environment"),
    close,
    [Symbol.asyncDispose]: close,
  };
}
