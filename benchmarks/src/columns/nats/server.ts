import { startBroker } from "@brokerkit/conformance/brokers";
import { harness } from "@brokerkit/nats/harness";
import type { RunningSite, Site } from "../../measure/column.ts";

/** A private server with its files in a folder of its own. */
export async function startNats(site: Pick<Site, "adapter" | "folder" | "delivery">): Promise<RunningSite> {
  if (harness.broker === undefined) throw new Error("the harness of this adapter says no way to start a server");
  const broker = await startBroker(harness.broker, { destructive: true });
  const { host, port } = broker;
  return {
    site: { ...site, host, port, url: `${site.adapter}://${host}:${port}` },
    versions: { "nats-server": broker.version },
    shared: true,
    close: () => broker.close(),
  };
}
