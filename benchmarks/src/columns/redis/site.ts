import type { SiteRecipe } from "../../measure/column.ts";
import { startRedis } from "./server.ts";

const site = (folder: string) => ({ adapter: "redis", folder, delivery: "stored" }) as const;

export const sites: readonly SiteRecipe[] = [
  {
    name: "everysec",
    durability: "memory: appendonly yes, appendfsync everysec (a kill of the machine loses up to a second)",
    start: (folder) => startRedis(site(folder), { appendonly: "yes", appendfsync: "everysec" }),
  },
  {
    name: "always",
    durability: "fsync: appendonly yes, appendfsync always",
    start: (folder) => startRedis(site(folder), { appendonly: "yes", appendfsync: "always" }),
  },
];
