import type { Column } from "../../measure/column.ts";
import { LogSession } from "./log.ts";
import { openPlatformatic } from "./platformatic.ts";

export const column: Column = {
  title: "@platformatic/kafka, batches",
  kind: "tuned",
  summary: "`send` of 2,000 messages, idempotent, acks=all, two under way; `MessagesStream` with commits every 100 ms",
  packages: () => ["@platformatic/kafka"],
  latency: true,
  open: async (site, workload) => new LogSession(await openPlatformatic(site), workload, { step: 2_000, window: 2 }),
};
