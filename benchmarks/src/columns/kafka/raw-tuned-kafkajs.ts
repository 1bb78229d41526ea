import type { Column } from "../../measure/column.ts";
import { openKafkajs } from "./kafkajs.ts";
import { LogSession } from "./log.ts";

export const column: Column = {
  title: "kafkajs, batches",
  kind: "tuned",
  summary: "`send` of 500 messages, idempotent, acks=all, several under way; `eachBatch`",
  packages: () => ["kafkajs"],
  latency: true,
  open: async (site, workload) => new LogSession(await openKafkajs(site, false), workload, {}),
};
