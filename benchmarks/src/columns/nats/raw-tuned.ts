import type { Column } from "../../measure/column.ts";
import { openStream, StreamSession } from "./stream.ts";

const WINDOW = 1_000;

export const column: Column = {
  title: "nats, 1,000 in flight",
  kind: "tuned",
  summary: "`js.publish` with 1,000 under way; `consumer.consume` of 1,000 ahead and `message.ack()` for each",
  packages: () => ["nats"],
  latency: true,
  open: async (site, workload) => new StreamSession(await openStream(site), workload, WINDOW),
};
