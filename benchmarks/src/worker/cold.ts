// A cold start, in a process of its own: loads a column's client, connects, publishes one message, and prints how long that took.
import { pathToFileURL } from "node:url";
import type { Column, Site } from "../measure/column.ts";
import { Messages } from "../measure/messages.ts";
import type { Workload } from "../measure/workload.ts";

const { path, site, workload, topic } = JSON.parse(process.argv[2] ?? "{}") as {
  readonly path: string;
  readonly site: Site;
  readonly workload: Workload;
  readonly topic: string;
};
const { column } = (await import(pathToFileURL(path).href)) as { readonly column: Column };
const messages = new Messages({ size: workload.size, keys: 0 });
const start = performance.now();
const session = await column.open(site, workload);
session.attach(topic);
await session.send(messages, 0, 1);
console.log(JSON.stringify({ ms: performance.now() - start }));
await session.remove();
await session.close();
