import { startBroker } from "@brokerkit/conformance/brokers";
import { harness } from "@brokerkit/rabbitmq/harness";
import type { RunningSite, SiteRecipe } from "../../measure/column.ts";

/** A private server; `query` says what brokerkit makes its groups of, and `queueType` in it what the plain client does. */
async function start(folder: string, query: string): Promise<RunningSite> {
  if (harness.broker === undefined) throw new Error("the harness of this adapter says no way to start a server");
  const broker = await startBroker(harness.broker, { destructive: true });
  const { host, port } = broker;
  return {
    site: { adapter: "rabbitmq", folder, delivery: "stored", host, port, url: `amqp://${host}:${port}?${query}` },
    versions: { RabbitMQ: broker.version },
    shared: true,
    close: () => broker.close(),
  };
}

export const sites: readonly SiteRecipe[] = [
  {
    name: "quorum",
    durability: "fsync: a quorum queue of one server, no log beside it",
    start: (folder) => start(folder, "queueType=quorum&log=false"),
  },
  {
    name: "classic",
    durability: "page cache: a durable classic queue, persistent messages, no log beside it",
    start: (folder) => start(folder, "queueType=classic&log=false"),
  },
];
