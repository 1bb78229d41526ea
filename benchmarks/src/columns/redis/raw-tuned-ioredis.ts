import type { Column } from "../../measure/column.ts";
import { openIoredis } from "./ioredis.ts";
import { StreamSession } from "./stream.ts";

export const column: Column = {
  title: "ioredis, pipelines",
  kind: "tuned",
  summary: "pipelines of XADD, several under way; XREADGROUP COUNT 500 and batched XACK beside the next read",
  packages: () => ["ioredis"],
  latency: true,
  open: async (site, workload) => new StreamSession(await openIoredis(site), workload, {}),
};
