import type { Column } from "../../measure/column.ts";
import { ChannelSession } from "./channel.ts";
import { openIoredis } from "./ioredis.ts";

export const column: Column = {
  title: "ioredis, pipelines",
  kind: "tuned",
  summary: "pipelines of PUBLISH, several under way; a listener for `messageBuffer`",
  packages: () => ["ioredis"],
  latency: true,
  open: async (site, workload) => new ChannelSession(await openIoredis(site), workload),
};
