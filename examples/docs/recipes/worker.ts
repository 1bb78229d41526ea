// #region program
import { createServer } from "node:http";
import { connect, type Handler, type Out } from "brokerkit";
import { type Order, orders } from "../contracts.ts";

export interface Work {
  charge(order: Out<typeof Order>, signal: AbortSignal): Promise<void>;
}

/** A worker process: handles orders until SIGTERM. Resolves when everything is closed. */
export async function work(url: string, { charge }: Work, port: number): Promise<void> {
  const handler: Handler<typeof orders> = async (message) => {
    // message.signal aborts at the time-out, when another member has taken over, and when the close deadline passes.
    await charge(message.payload, message.signal);
  };
  const broker = await connect(url, { requires: ["groups", "atLeastOnce"], logger: console });
  const subscription = await broker.topic(orders).subscribe({ group: "billing", concurrency: 16, timeoutMs: 30_000 }, handler);
  const probes = createServer((request, response) => {
    const health = broker.health();
    response.writeHead((request.url === "/livez" ? health.live : health.ready) ? 200 : 503).end(JSON.stringify(health));
  });
  probes.listen(port);

  const stop = new Promise<void>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve());
  });
  // Whichever comes first: the order to stop, or the subscription's own end, which rejects.
  try {
    await Promise.race([stop, subscription.closed]);
  } finally {
    await broker.close({ deadlineMs: 25_000 });
    probes.close();
  }
}
// #endregion
