import { startBroker } from "@brokerkit/conformance/brokers";
import { harness } from "@brokerkit/kafka/harness";
import type { SiteRecipe } from "../../measure/column.ts";
import { PARTITIONS } from "./log.ts";

/** What the load tool of the server writes to. */
export const NATIVE_TOPIC = "native";

export const sites: readonly SiteRecipe[] = [
  {
    name: "one-node",
    durability: `page cache: acks=all on one node, ${PARTITIONS} partitions (the server leaves fsync to the system)`,
    async start(folder) {
      if (harness.broker === undefined) throw new Error("the harness of this adapter says no way to start a server");
      const broker = await startBroker(harness.broker, { destructive: true, options: { "num.partitions": String(PARTITIONS) } });
      const { host, port } = broker;
      const { Admin } = await import("@platformatic/kafka");
      const admin = new Admin({ clientId: "bench", bootstrapBrokers: [`${host}:${port}`] });
      await admin.createTopics({ topics: [NATIVE_TOPIC], partitions: PARTITIONS, replicas: 1 });
      await admin.close();
      return {
        site: { adapter: "kafka", folder, delivery: "stored", host, port, url: `kafka://${host}:${port}` },
        versions: { Kafka: broker.version },
        shared: true,
        close: () => broker.close(),
      };
    },
  },
];
