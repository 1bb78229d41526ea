import { existsSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder } from "@brokerkit/conformance/brokers";
import { harness } from "@brokerkit/pulsar/harness";
import type { Native } from "../../measure/column.ts";

const RATE = /records sent --- ([\d.]+) msg\/s/g;
/** Without a bound of its own: the tool takes no other way to say so. */
const UNBOUND = 10_000_000;

export const native: Native = {
  title: "pulsar-perf produce (Java)",
  summary: "the server's own load tool: one producer, the Java client's default batches",
  command(site, workload, count) {
    const library = join(cacheFolder(), harness.broker?.process?.library?.name ?? "");
    if (!existsSync(library)) return undefined;
    return [
      "java",
      "-Xmx512m",
      "-XX:MaxDirectMemorySize=512m",
      "-XX:+UseSerialGC",
      // It writes its figures to its log.
      "-Dlog4j2.level=INFO",
      "-cp",
      join(library, "lib", "*"),
      "org.apache.pulsar.testclient.PulsarPerfTestTool",
      join(library, "conf", "client.conf"),
      "produce",
      ...["--service-url", `pulsar://${site.host}:${site.port}`],
      ...["--num-messages", String(count)],
      ...["--size", String(workload.size)],
      ...["--rate", String(UNBOUND)],
      "persistent://public/default/native",
    ];
  },
  /** The last line but one sums up. */
  read: (output) => Number.parseFloat([...output.matchAll(RATE)].at(-1)?.[1] ?? ""),
};
