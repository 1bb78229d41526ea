import { startBroker } from "@brokerkit/conformance/brokers";
import { harness } from "@brokerkit/pulsar/harness";
import type { SiteRecipe } from "../../measure/column.ts";

export const sites: readonly SiteRecipe[] = [
  {
    name: "standalone",
    durability: "fsync: one bookie, which syncs its journal before it confirms (journalSyncData)",
    async start(folder) {
      if (harness.broker === undefined) throw new Error("the harness of this adapter says no way to start a server");
      const broker = await startBroker(harness.broker, { destructive: true, options: { compiler: "full" } });
      const { host, port, url } = broker;
      return {
        site: { adapter: "pulsar", folder, delivery: "stored", host, port, url },
        versions: { Pulsar: broker.version },
        shared: true,
        close: () => broker.close(),
      };
    },
  },
];
