import type { Column } from "../../measure/column.ts";
import { openStream, StreamSession } from "./stream.ts";

export const column: Column = {
  title: "nats, await each",
  kind: "naive",
  summary: "`await js.publish` for each message; `consumer.consume` and `await message.ackAck()` for each",
  packages: () => ["nats"],
  latency: false,
  open: async (site, workload) => new StreamSession({ ...(await openStream(site)), ack: (message) => message.ackAck() }, workload, 1),
};
