import type { Column } from "../../measure/column.ts";
import { QueueSession } from "./queue.ts";

export const column: Column = {
  title: "amqplib, ack of 100",
  kind: "tuned",
  summary: "the same, and one `channel.ack(message, true)` for each 100: a crash brings up to 100 handled messages again",
  packages: () => ["amqplib"],
  latency: false,
  open: (site, workload) => QueueSession.open(site, workload, { window: 2_000, ackEvery: 100 }),
};
