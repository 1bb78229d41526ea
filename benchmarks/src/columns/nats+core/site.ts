import type { SiteRecipe } from "../../measure/column.ts";
import { startNats } from "../nats/server.ts";

export const sites: readonly SiteRecipe[] = [
  {
    name: "subjects",
    durability: "none: who is not listening gets nothing; a publish is confirmed when the server has processed it",
    start: (folder) => startNats({ adapter: "nats+core", folder, delivery: "live" }),
  },
];
