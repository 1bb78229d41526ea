import type { Column } from "../../measure/column.ts";
import { BATCH, openQueue } from "./queue.ts";

export const column: Column = {
  title: "AWS SDK, batches",
  kind: "tuned",
  summary: "batches of 10, 16 under way; 16 loops that receive 10 and delete them in one request beside the next receive",
  packages: () => ["@aws-sdk/client-sqs", "@aws-sdk/client-sns"],
  latency: true,
  open: (site, workload) => openQueue(site, workload, { batch: BATCH, window: 16, receivers: 16 }),
};
