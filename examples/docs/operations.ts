import { createServer, type Server } from "node:http";
import type { Broker } from "brokerkit";

export function probes(broker: Broker<never>): Server {
  // #region probes
  const server = createServer((request, response) => {
    const health = broker.health(); // a snapshot, without I/O: cheap enough for every probe
    const good = request.url === "/livez" ? health.live : health.ready;
    response.writeHead(good ? 200 : 503, { "content-type": "application/json" }).end(JSON.stringify(health));
  });
  // #endregion
  return server;
}

export function lagEndpoint(broker: Broker<"groups" | "lag">): Server {
  // #region lag-endpoint
  const server = createServer(async (_request, response) => {
    try {
      const { messages } = await broker.topic("orders").group("billing").lag();
      if (messages === undefined) throw new Error("the backend cannot say");
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ lag: messages }));
    } catch {
      response.writeHead(503).end(); // no figure is better than a wrong one
    }
  });
  // #endregion
  return server;
}

export function onSigterm(broker: Broker<never>, server: Server): void {
  // #region sigterm
  process.once("SIGTERM", async () => {
    server.close();
    await broker.close({ deadlineMs: 25_000 }); // less than terminationGracePeriodSeconds, which is 30 by default
    process.exit(0);
  });
  // #endregion
}
