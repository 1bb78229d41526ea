import type { Column } from "../../measure/column.ts";
import { LogSession } from "../kafka/log.ts";
import { openProtocol } from "./protocol.ts";

export const column: Column = {
  title: "the adapter's transport alone",
  kind: "tuned",
  summary: "batches of up to 1,000 messages by lane, several sends under way; a Shared consumer, acknowledged by calls of up to 1,000",
  packages: () => ["@brokerkit/pulsar"],
  latency: true,
  open: async (site, workload) => new LogSession(await openProtocol(site), workload, {}),
};
