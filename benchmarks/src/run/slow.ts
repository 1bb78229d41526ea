import type { Site } from "../measure/column.ts";
import type { Workload } from "../measure/workload.ts";
import { ClientProcess } from "../worker/client.ts";
import type { SlowRun } from "../worker/protocol.ts";
import type { Found } from "./discover.ts";
import type { Pinning } from "./pinning.ts";

const FACTOR = 100;
const AFTERWARDS_MS = 1_000;

/** Publishes from one process to a consumer in another that is a hundred times too slow, and looks at that one's memory. */
export async function slowRun(
  { path, name }: Found,
  site: Site,
  workload: Workload,
  perSecond: number,
  pinning: Pinning,
): Promise<SlowRun> {
  const [producer, consumer] = [new ClientProcess(pinning), new ClientProcess(pinning)];
  const topic = `slow-${process.pid}-${name}`;
  const open = { column: path, site, workload, stallMs: 2 ** 30 };
  try {
    await producer.ask("open", open);
    await consumer.ask("open", open);
    await producer.ask("makeTopic", { topic });
    await consumer.ask("startSlow", { topic, restMs: (FACTOR * 1_000) / perSecond, count: workload.count });
    await producer.ask("fillTopic", { topic, count: workload.count });
    await new Promise((resolve) => setTimeout(resolve, AFTERWARDS_MS));
    const run = await consumer.ask("stopSlow", {});
    await producer.ask("removeTopic", { topic });
    return { published: workload.count, ...run };
  } finally {
    await Promise.all([producer.close(), consumer.close()]);
  }
}
