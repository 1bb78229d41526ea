import { pathToFileURL } from "node:url";
import type { Column } from "../measure/column.ts";
import { Bench } from "./bench.ts";
import type { Answer, Question, TaskName, Tasks } from "./protocol.ts";

type Handlers = { readonly [N in Exclude<TaskName, "open">]: (bench: Bench, ask: Tasks[N]["ask"]) => Promise<Tasks[N]["answer"]> };

const HANDLERS: Handlers = {
  warmUp: (bench) => bench.warmUp(),
  round: (bench, { count }) => bench.round(count),
  latency: (bench, { perSecond, ms }) => bench.latency(perSecond, ms),
  verify: (bench, { folder, count }) => bench.verify(folder, count),
  makeTopic: (bench, { topic }) => bench.makeTopic(topic),
  fillTopic: (bench, { topic, count }) => bench.fillTopic(topic, count),
  removeTopic: (bench, { topic }) => bench.removeTopic(topic),
  startSlow: (bench, { topic, restMs, count }) => bench.startSlow(topic, restMs, count),
  stopSlow: (bench) => bench.stopSlow(),
  close: (bench) => bench.close(),
};

let bench: Bench | undefined;

async function run({ task, ask }: Question): Promise<unknown> {
  if (task === "open") {
    const { column: path, site, workload, stallMs, brokerCore } = ask as Tasks["open"]["ask"];
    const { column } = (await import(pathToFileURL(path).href)) as { readonly column: Column };
    bench = new Bench(await column.open(site, workload), { site, workload, stallMs, brokerCore });
    return null;
  }
  if (bench === undefined) return null;
  const handler = HANDLERS[task] as (bench: Bench, ask: unknown) => Promise<unknown>;
  return handler(bench, ask);
}

function words(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message;
}

process.on("message", (question: Question) => {
  run(question).then(
    (answer) => process.send?.({ id: question.id, ok: true, answer } satisfies Answer),
    (error: unknown) => {
      const name = error instanceof Error ? error.name : "Error";
      process.send?.({ id: question.id, ok: false, name, message: words(error) } satisfies Answer);
    },
  );
});
// The main process has gone: nobody will ever ask again.
process.on("disconnect", () => process.exit(0));
