import type { Column } from "../../measure/column.ts";
import { QueueSession } from "./queue.ts";

export const column: Column = {
  title: "amqplib, await each",
  kind: "naive",
  summary: "a confirm awaited for each message; a prefetch of 1,000 and `channel.ack` for each",
  packages: () => ["amqplib"],
  latency: false,
  open: (site, workload) => QueueSession.open(site, workload, { window: 1, ackEvery: 1 }),
};
