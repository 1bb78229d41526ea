import { existsSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder } from "@brokerkit/conformance/brokers";
import { harness } from "@brokerkit/kafka/harness";
import type { Native } from "../../measure/column.ts";
import { NATIVE_TOPIC } from "./site.ts";

const RATE = /records sent, ([\d.]+) records\/sec/g;

export const native: Native = {
  title: "ProducerPerformance (Java)",
  summary: "the server's own load tool: acks=all, idempotent, the Java client's default batches",
  command(site, workload, count) {
    const library = join(cacheFolder(), harness.broker?.process?.library?.name ?? "");
    if (!existsSync(library)) return undefined;
    return [
      "java",
      "-Xmx512m",
      "-cp",
      join(library, "*"),
      "org.apache.kafka.tools.ProducerPerformance",
      ...["--topic", NATIVE_TOPIC],
      ...["--num-records", String(count)],
      ...["--record-size", String(workload.size)],
      ...["--throughput", "-1"],
      ...["--producer-props", `bootstrap.servers=${site.host}:${site.port}`, "acks=all"],
    ];
  },
  /** The last line sums up. */
  read: (output) => Number.parseFloat([...output.matchAll(RATE)].at(-1)?.[1] ?? ""),
};
