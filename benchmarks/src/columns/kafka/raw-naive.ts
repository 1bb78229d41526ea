import type { Column } from "../../measure/column.ts";
import { openKafkajs } from "./kafkajs.ts";
import { LogSession } from "./log.ts";

export const column: Column = {
  title: "kafkajs, await each",
  kind: "naive",
  summary: "`await send` for each message, idempotent, acks=all; `eachMessage` with `await commitOffsets` for each",
  packages: () => ["kafkajs"],
  latency: false,
  open: async (site, workload) => new LogSession(await openKafkajs(site, true), workload, { step: 1, window: 1 }),
};
