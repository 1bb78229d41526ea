import type { Native } from "../../measure/column.ts";
import { benchmarkCommand, benchmarkRate } from "../redis/redis-benchmark.ts";

export const native: Native = {
  title: "redis-benchmark -P 64",
  summary: "the server's own load tool, written in C: PUBLISH by 50 connections, 64 commands in a pipeline, nobody listening",
  command: (site, workload, count) => benchmarkCommand(site, count, ["PUBLISH", "native", "x".repeat(workload.size)]),
  read: benchmarkRate,
};
