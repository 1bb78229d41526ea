import type { Column } from "../../measure/column.ts";
import { openQueue } from "./queue.ts";

export const column: Column = {
  title: "AWS SDK, await each",
  kind: "naive",
  summary: "one request, and one `await`, for each message sent and deleted; one loop that receives 10",
  packages: () => ["@aws-sdk/client-sqs", "@aws-sdk/client-sns"],
  latency: false,
  open: (site, workload) => openQueue(site, workload, { batch: 1, window: 1, receivers: 1 }),
};
