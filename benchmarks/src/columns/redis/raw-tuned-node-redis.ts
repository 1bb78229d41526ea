import type { Column } from "../../measure/column.ts";
import { openNodeRedis } from "./node-redis.ts";
import { StreamSession } from "./stream.ts";

export const column: Column = {
  title: "@redis/client, pipelines",
  kind: "tuned",
  summary: "`execAsPipeline` of XADD, several under way; XREADGROUP COUNT 500 and batched XACK beside the next read",
  packages: () => ["@redis/client"],
  latency: true,
  open: async (site, workload) => new StreamSession(await openNodeRedis(site), workload, {}),
};
