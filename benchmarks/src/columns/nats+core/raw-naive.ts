import type { Column } from "../../measure/column.ts";
import { connectNats } from "../nats/stream.ts";
import { SubjectSession } from "./subject.ts";

export const column: Column = {
  title: "nats, await each",
  kind: "naive",
  summary: "`publish` and `await flush` for each message; a callback",
  packages: () => ["nats"],
  latency: false,
  open: async (site, workload) => new SubjectSession(await connectNats(site), () => connectNats(site), workload, true),
};
