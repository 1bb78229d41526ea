import type { SiteRecipe } from "../../measure/column.ts";

export const sites: readonly SiteRecipe[] = [
  {
    name: "memory",
    durability: "none: messages live in the client's process",
    start: async (folder) => ({
      site: { adapter: "memory", url: "memory:", host: "", port: 0, folder, delivery: "stored" },
      versions: {},
      shared: false,
      close: async () => {},
    }),
  },
];
