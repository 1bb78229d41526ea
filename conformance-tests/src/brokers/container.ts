import { existsSync } from "node:fs";
import { request } from "node:http";
import { homedir } from "node:os";
import { join } from "node:path";
import { reservePort } from "../faults/ports.ts";
import { notOurs } from "./environment.ts";
import { askVersion, untilReady } from "./ready.ts";
import type { BrokerOptions, BrokerRecipe, RunningBroker } from "./recipe.ts";

type Address = { readonly socketPath: string } | { readonly host: string; readonly port: number };

function engineAddresses(env: NodeJS.ProcessEnv): readonly Address[] {
  const given = env["DOCKER_HOST"];
  if (given !== undefined && given !== "") {
    if (given.startsWith("unix://")) return [{ socketPath: given.slice("unix://".length) }];
    const match = /^(?:tcp|http):\/\/([^:/]+):(\d+)/.exec(given);
    return match?.[1] === undefined ? [] : [{ host: match[1], port: Number(match[2]) }];
  }
  const sockets = ["/var/run/docker.sock", join(homedir(), ".docker", "run", "docker.sock")];
  return sockets.filter((path) => existsSync(path)).map((socketPath) => ({ socketPath }));
}

function answers(address: Address): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = request({ ...address, path: "/_ping", timeout: 2_000 }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    asked.once("timeout", () => asked.destroy());
    asked.once("error", () => resolve(false));
    // A destroyed request may end without an error.
    asked.once("close", () => resolve(false));
    asked.end();
  });
}

/** Whether a Docker engine answers; asked before Testcontainers, which is slow to load, is touched. */
export async function hasDocker(env: NodeJS.ProcessEnv): Promise<boolean> {
  for (const address of engineAddresses(env)) if (await answers(address)) return true;
  return false;
}

/** Starts the recipe's image by Testcontainers. Rejects when it can't be pulled or does not serve in time; nothing is left behind then. */
export async function startContainer(recipe: BrokerRecipe, options: BrokerOptions): Promise<RunningBroker> {
  const { container } = recipe;
  if (container === undefined) throw new Error(`${recipe.name} has no recipe for a container`);
  const { GenericContainer, Wait } = await import("testcontainers");
  // A port known before the start: some brokers must be told the address that they advertise.
  const reserved = await reservePort();
  const at = { host: "127.0.0.1", port: reserved.port, options };
  let started: Awaited<ReturnType<InstanceType<typeof GenericContainer>["start"]>> | undefined;
  const end = async (): Promise<void> => {
    await started?.stop();
    await reserved.release();
  };
  try {
    const image = new GenericContainer(container.image)
      .withExposedPorts({ container: container.port, host: reserved.port })
      .withEnvironment({ ...container.environment?.(at) })
      // The recipe's own probe tells when it serves; looking for open ports from inside needs tools that images lack.
      .withWaitStrategy(Wait.forAll([]));
    const command = container.command?.(at);
    if (command !== undefined) image.withCommand([...command]);
    started = await image.start();
    const host = started.getHost();
    const address = { ...at, host: host === "localhost" ? "127.0.0.1" : host };
    const endpoint = { url: recipe.url({ ...address, extraPorts: [] }), ...address };
    await untilReady(recipe, endpoint);
    let closed: Promise<void> | undefined;
    const close = (): Promise<void> => {
      closed ??= end();
      return closed;
    };
    return {
      name: recipe.name,
      url: endpoint.url,
      host: endpoint.host,
      port: endpoint.port,
      version: await askVersion(recipe, endpoint),
      source: "container",
      log: async () => "",
      ...notOurs(recipe.name, "container"),
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await end();
    throw error;
  }
}
