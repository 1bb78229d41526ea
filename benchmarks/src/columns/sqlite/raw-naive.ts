import type { Column } from "../../measure/column.ts";
import { TableQueue } from "./queue.ts";

export const column: Column = {
  title: "node:sqlite, one at a time",
  kind: "naive",
  summary: "each INSERT and each DELETE by itself, synchronous=FULL",
  packages: () => [],
  latency: false,
  open: (site) => TableQueue.open(site, 1),
};
