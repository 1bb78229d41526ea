import type { Column } from "../../measure/column.ts";
import { TableQueue } from "./queue.ts";

const STEP = 1_000;

export const column: Column = {
  title: "node:sqlite, 1,000 a transaction",
  kind: "tuned",
  summary: "prepared INSERTs and SELECT/DELETE, 1,000 rows in one transaction, synchronous=FULL",
  packages: () => [],
  latency: true,
  open: (site) => TableQueue.open(site, STEP),
};
