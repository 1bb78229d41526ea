import type { Column } from "../../measure/column.ts";
import { connectNats } from "../nats/stream.ts";
import { SubjectSession } from "./subject.ts";

export const column: Column = {
  title: "nats",
  kind: "tuned",
  summary: "`publish`, and `flush` behind every 500, several under way; a callback",
  packages: () => ["nats"],
  latency: true,
  open: async (site, workload) => new SubjectSession(await connectNats(site), () => connectNats(site), workload, false),
};
