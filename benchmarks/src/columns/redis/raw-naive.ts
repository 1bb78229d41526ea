import type { Column } from "../../measure/column.ts";
import { openIoredis } from "./ioredis.ts";
import { StreamSession } from "./stream.ts";

export const column: Column = {
  title: "ioredis, await each",
  kind: "naive",
  summary: "`await xadd` for each message; XREADGROUP COUNT 500 and `await xack` for each",
  packages: () => ["ioredis"],
  latency: false,
  open: async (site, workload) => new StreamSession(await openIoredis(site), workload, { step: 1, window: 1, ackEach: true }),
};
