import type { Column } from "../../measure/column.ts";
import { LogSession } from "./log.ts";
import { openPlatformatic } from "./platformatic.ts";

export const column: Column = {
  title: "@platformatic/kafka, batches",
  kind: "tuned",
  summary:
    "`send` of 2,000 messages, idempotent, acks=all, two under way (one where there are keys); `MessagesStream` with commits every 100 ms",
  packages: () => ["@platformatic/kafka"],
  // Sends that overlap may be stored in another order, so an open loop with keys is not for it.
  latency: false,
  open: async (site, workload) =>
    new LogSession(await openPlatformatic(site), workload, { step: 2_000, window: workload.keys > 0 ? 1 : 2 }),
};
