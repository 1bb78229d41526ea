import { connect, type Socket } from "node:net";
import type { BrokerRecipe, Endpoint } from "../src/brokers/index.ts";

/** Sends one inline command and gives the first reply line, or the bulk string behind it. */
export function ask(at: { readonly host: string; readonly port: number }, command: string, signal?: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket: Socket = connect({ host: at.host, port: at.port, signal });
    let text = "";
    socket.setEncoding("utf8");
    socket.once("connect", () => socket.write(`${command}\r\n`));
    socket.on("data", (chunk: string) => {
      text += chunk;
      const bulk = /^\$(\d+)\r\n/.exec(text);
      if (bulk === null ? !text.endsWith("\r\n") : text.length < bulk[0].length + Number(bulk[1])) return;
      socket.destroy();
      resolve(bulk === null ? text.trim() : text.slice(bulk[0].length).trim());
    });
    socket.once("error", reject);
    socket.once("close", () => reject(new Error(`connection ended after ${JSON.stringify(text)}`)));
  });
}

async function ready(at: Endpoint, signal: AbortSignal): Promise<void> {
  const reply = await ask(at, "PING", signal);
  if (reply !== "+PONG" && !reply.startsWith("-NOAUTH")) throw new Error(reply);
}

/** A broker as an adapter would describe it, kept apart from the adapters. */
export const redis: BrokerRecipe = {
  name: "redis",
  variable: "BROKERKIT_TEST_REDIS_URL",
  port: 6379,
  url: ({ host, port, options }) => `redis://${options["password"] === undefined ? "" : `:${options["password"]}@`}${host}:${port}`,
  ready,
  version: async (at, signal) => /redis_version:(\S+)/.exec(await ask(at, "INFO server", signal))?.[1] ?? "unknown",
  process: {
    binaries: ["redis-server"],
    debian: "redis-server",
    files: ({ options }) => ({
      "redis.conf": `appendonly yes\nappendfsync always\n${options["maxmemory"] === undefined ? "" : `maxmemory ${options["maxmemory"]}\n`}`,
    }),
    args: ({ host, port, conf, data }) => [`${conf}/redis.conf`, "--bind", host, "--port", String(port), "--dir", data, "--save", ""],
  },
};
