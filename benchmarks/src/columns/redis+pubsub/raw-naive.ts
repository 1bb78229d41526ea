import type { Column } from "../../measure/column.ts";
import { ChannelSession } from "./channel.ts";
import { openIoredis } from "./ioredis.ts";

export const column: Column = {
  title: "ioredis, await each",
  kind: "naive",
  summary: "`await publish` for each message; a listener for `messageBuffer`",
  packages: () => ["ioredis"],
  latency: false,
  open: async (site, workload) => new ChannelSession(await openIoredis(site), workload, { each: true }),
};
