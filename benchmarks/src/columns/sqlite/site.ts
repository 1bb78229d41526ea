import { statfsSync } from "node:fs";
import { join } from "node:path";
import type { SiteRecipe } from "../../measure/column.ts";

/** File systems that are known by their magic number (statfs(2)); in memory an fsync costs nothing. */
const FILE_SYSTEMS: Readonly<Record<number, string>> = {
  61267: "ext4",
  1481003842: "xfs",
  2435016766: "btrfs",
  16914836: "tmpfs",
  2035054128: "overlayfs",
};

export const sites: readonly SiteRecipe[] = [
  {
    name: "full",
    durability: "fsync: WAL, a confirmed message is on the disk (synchronous=FULL, or as much)",
    start: async (folder) => ({
      site: { adapter: "sqlite", url: `sqlite:${join(folder, "bench.db")}`, host: "", port: 0, folder, delivery: "stored" },
      versions: { SQLite: process.versions["sqlite"] ?? "unknown", "file system": FILE_SYSTEMS[statfsSync(folder).type] ?? "unknown" },
      shared: true,
      close: async () => {},
    }),
  },
];
