// A process to be killed: node … worker.ts <json>. It says "ready", then a line of counts every 50 ms, takes "stop" from its input and
// ends after "done". Everything it did is in the history that it writes.
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type Broker, connect } from "brokerkit";
import { openHistory } from "../checker/index.ts";
import { Consumer, type ConsumerOptions, Producer, type ProducerOptions } from "./load.ts";

export interface WorkerJob {
  readonly url: string;
  /** Folder of the history, and the process's name in it. */
  readonly history: string;
  readonly name: string;
  readonly produce?: ProducerOptions | undefined;
  readonly consume?: ConsumerOptions | undefined;
}

/** Keeps hundreds of publishes under way until the end, which is a kill. */
function hurry(producer: Producer): void {
  if (producer.unsettled < 400) producer.burst(400 - producer.unsettled);
  setImmediate(() => hurry(producer));
}

async function main(job: WorkerJob): Promise<void> {
  const broker = (await connect(job.url)) as Broker;
  const history = openHistory(job.history, job.name);
  const producer = job.produce === undefined ? undefined : new Producer(broker, history, job.produce);
  const consumer = job.consume === undefined ? undefined : new Consumer(broker, history, job.consume);
  await consumer?.start();
  producer?.start();
  console.log("ready");
  const tell = setInterval(() => {
    const counts = {
      confirmed: producer?.confirmed ?? 0,
      publishing: producer?.unsettled ?? 0,
      received: consumer?.received ?? 0,
      acknowledged: consumer?.acknowledged ?? 0,
      unsettled: consumer?.unsettled ?? 0,
    };
    console.log(`counts ${JSON.stringify(counts)}`);
  }, 50);
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === "stop") break;
    if (line === "fast" && consumer !== undefined) consumer.handlerMs = 0;
    if (line === "hurry" && producer !== undefined) hurry(producer);
  }
  await producer?.stop();
  await consumer?.close();
  clearInterval(tell);
  await broker.close();
  history.close();
  console.log("done");
}

// Importing it does nothing.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(JSON.parse(process.argv[2] ?? "{}") as WorkerJob);
  // Standard input may still be open.
  process.exit(0);
}
