import { mkdirSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { claim } from "./claim.ts";
import { guardPath, releasePath } from "./guard.ts";

// Below the ranges from which systems take the ports of outgoing connections: a port stays ours while its broker is down.
const lowest = 20_000;
const highest = 32_000;

const folder = join(tmpdir(), `brokerkit-ports-${process.getuid?.() ?? 0}`);

/** A port that no other process of ours takes until it is released, also while nothing listens on it. */
export interface ReservedPort {
  readonly port: number;
  release(): Promise<void>;
}

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ port, host: "127.0.0.1", exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/** A random free port of the loopback address. Another program may still take it before it is listened on; then the start fails. */
export async function reservePort(): Promise<ReservedPort> {
  mkdirSync(folder, { recursive: true });
  for (let tries = 0; tries < 200; tries++) {
    const port = lowest + Math.floor(Math.random() * (highest - lowest));
    const path = join(folder, String(port));
    if (!claim(path)) continue;
    const release = async (): Promise<void> => {
      rmSync(path, { force: true });
      await releasePath(path);
    };
    await guardPath(path);
    if (await canListen(port)) return { port, release };
    await release();
  }
  throw new Error(`no free port between ${lowest} and ${highest}`);
}
