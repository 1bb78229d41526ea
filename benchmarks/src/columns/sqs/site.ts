import { type BrokerRecipe, startBroker } from "@brokerkit/conformance/brokers";
import { harness, queueHarness } from "@brokerkit/sqs/harness";
import type { SiteRecipe } from "../../measure/column.ts";

/** What signs requests: emulators take any key. */
export const REGION = "us-east-1";

/** In memory: what is compared is the client's side, and a disk would only hide it. */
function site(name: string, words: string, recipe: BrokerRecipe | undefined, fanout: boolean): SiteRecipe {
  return {
    name,
    durability: `memory: ${words}`,
    async start(folder) {
      if (recipe === undefined) throw new Error("the harness of this adapter says no way to start a server");
      const broker = await startBroker(recipe, { destructive: true, options: { data: "memory" } });
      const { host, port } = broker;
      const url = `sqs+http://bench:bench@${host}:${port}?region=${REGION}${fanout ? "" : "&fanout=false"}`;
      return {
        site: { adapter: "sqs", folder, delivery: "stored", ordered: false, host, port, url },
        versions: { [broker.name]: broker.version },
        shared: true,
        close: () => broker.close(),
      };
    },
  };
}

export const sites: readonly SiteRecipe[] = [
  site("fanout", "SNS → SQS, fauxqs", harness.broker, true),
  site("queue", "one SQS queue, ElasticMQ", queueHarness.broker, false),
];
