import type { SiteRecipe } from "../../measure/column.ts";
import { startRedis } from "../redis/server.ts";

export const sites: readonly SiteRecipe[] = [
  {
    name: "channels",
    durability: "none: who is not listening gets nothing; a publish is confirmed when the server has processed it",
    start: (folder) => startRedis({ adapter: "redis+pubsub", folder, delivery: "live" }, { appendonly: "no" }),
  },
];
