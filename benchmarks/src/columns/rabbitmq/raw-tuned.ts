import type { Column } from "../../measure/column.ts";
import { QueueSession } from "./queue.ts";

export const column: Column = {
  title: "amqplib, 2,000 confirms in flight",
  kind: "tuned",
  summary: "`noDelay`, 2,000 confirms under way; a prefetch of 1,000 and `channel.ack` for each",
  packages: () => ["amqplib"],
  latency: true,
  open: (site, workload) => QueueSession.open(site, workload, { window: 2_000, ackEvery: 1 }),
};
