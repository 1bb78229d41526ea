import type { SiteRecipe } from "../../measure/column.ts";
import { startNats } from "./server.ts";

export const sites: readonly SiteRecipe[] = [
  {
    name: "files",
    durability: "page cache: streams in files of one server, which syncs them now and then (sync_interval, two minutes)",
    start: (folder) => startNats({ adapter: "nats", folder, delivery: "stored" }),
  },
];
