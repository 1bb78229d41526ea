// A slow consumer in a process of its own: node --expose-gc … slow-consumer.ts <json>. It reads a backlog with a handler that takes its time,
// says how much its memory grew, then (told "fast") reads the rest and says which messages it handled.
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type Broker, connect } from "brokerkit";
import { open } from "../stage.ts";
import { gate, pass, until } from "../wait.ts";

export interface SlowConsumerJob {
  readonly url: string;
  readonly topic: string;
  readonly group: string;
  readonly concurrency: number;
  readonly handlerMs: number;
  /** How many messages there are in all. */
  readonly messages: number;
}

/** Heap and buffers after a collection: what is still held. */
function held(): number {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

async function main(job: SlowConsumerJob): Promise<void> {
  if (globalThis.gc === undefined) throw new Error("run with --expose-gc");
  const broker = (await connect(job.url)) as Broker;
  const topic = open(broker, job.topic, { codec: "bytes" });
  const seen: string[] = [];
  let handlerMs = job.handlerMs;
  const baseline = held();
  // Ids alone are kept, or the program would measure itself.
  const handle = async (message: { readonly id: string }): Promise<void> => {
    seen.push(message.id);
    if (handlerMs > 0) await pass(handlerMs);
  };
  await topic.subscribe({ group: job.group, concurrency: job.concurrency }, handle);
  const fast = gate();
  void (async (): Promise<void> => {
    for await (const line of createInterface({ input: process.stdin })) if (line === "fast") fast.open();
  })();
  let peak = 0;
  const end = performance.now() + 3_000;
  while (performance.now() < end) {
    await pass(150);
    peak = Math.max(peak, held());
  }
  console.log(`measured ${JSON.stringify({ baseline, peak, handled: seen.length })}`);
  await fast.opened;
  handlerMs = 0;
  await until(
    () => seen.length >= job.messages,
    () => `${job.messages} messages; ${seen.length} came`,
    60_000,
  );
  await broker.close();
  // A pipe takes a long line in parts: the process must not end before the last one.
  await new Promise<unknown>((resolve) => process.stdout.write(`seen ${JSON.stringify(seen)}\n`, resolve));
}

// Importing it does nothing.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(JSON.parse(process.argv[2] ?? "{}") as SlowConsumerJob);
  process.exit(0);
}
