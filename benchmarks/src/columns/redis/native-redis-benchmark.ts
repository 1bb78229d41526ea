import type { Native } from "../../measure/column.ts";
import { benchmarkCommand, benchmarkRate } from "./redis-benchmark.ts";

export const native: Native = {
  title: "redis-benchmark -P 64",
  summary: "the server's own load tool, written in C: XADD by 50 connections, 64 commands in a pipeline",
  command: (site, workload, count) => benchmarkCommand(site, count, ["XADD", "native", "*", "body", "x".repeat(workload.size)]),
  read: benchmarkRate,
};
