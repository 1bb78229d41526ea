import { startBroker } from "@brokerkit/conformance/brokers";
import { harness } from "@brokerkit/redis/harness";
import type { RunningSite, Site } from "../../measure/column.ts";

const POLL_MS = 20;

/** A private server with these settings; its append-only file is made small again between rounds, so that no rewrite falls into one. */
export async function startRedis(
  site: Pick<Site, "adapter" | "folder" | "delivery">,
  options: Readonly<Record<string, string>>,
): Promise<RunningSite> {
  if (harness.broker === undefined) throw new Error("the harness of this adapter says no way to start a server");
  const broker = await startBroker(harness.broker, { destructive: true, options });
  const { createClient } = await import("@redis/client");
  const { host, port } = broker;
  const client = createClient({ socket: { host, port } });
  client.on("error", () => {});
  await client.connect();
  await client.sendCommand(["CONFIG", "SET", "auto-aof-rewrite-percentage", "0"]);
  const stored = options["appendonly"] !== "no";
  const settle = async (): Promise<void> => {
    if (!stored) return;
    await client.sendCommand(["BGREWRITEAOF"]);
    while (/aof_rewrite_in_progress:1|aof_rewrite_scheduled:1/.test(String(await client.sendCommand(["INFO", "persistence"])))) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  };
  return {
    site: { ...site, host, port, url: `${site.adapter}://${host}:${port}` },
    versions: { Redis: broker.version },
    shared: true,
    settle,
    async close() {
      client.destroy();
      await broker.close();
    },
  };
}
