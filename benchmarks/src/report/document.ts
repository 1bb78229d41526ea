import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { targetsOf, workload } from "../run/discover.ts";
import { chartOf } from "./chart.ts";
import { DOCS, keptResults } from "./data.ts";
import { markdown } from "./format.ts";
import type { Result, Run } from "./result.ts";
import { costRows, delayRows, targetRows, throughputRows } from "./rows.ts";
import { curveRows } from "./table.ts";
import { judged } from "./targets.ts";

const METHOD = `1. Every round of every column runs in a client process of its own, warmed up first; what the warm-up measured is thrown away.
2. Columns take turns, A B B A, one round each; figures are medians with the slowest and fastest round, ratios are taken within a round.
3. All columns of a table use one server, one durability, one payload. brokerkit also stores an id, a time and a format mark with each message, and raw columns do not.
4. \`publish\` counts messages that the backend has confirmed; \`consume\` reads what was published before, until the last acknowledgement is confirmed, and for brokerkit until \`flush()\` says that it outlives the server, which takes 150 ms more on JetStream and 250 ms on Pulsar; \`end to end\` does both at once in one process.
5. CPU is user and system time of the client's process per message, garbage collection included.
6. Delays are taken in an open loop: each message has a time at which it is meant to be sent, and its delay counts from that time, however late it left. First at a common rate, then at half of the column's own end-to-end rate.
7. Every message carries its number. A round in which one is missing, comes twice or leaves its key's order ends the run with an error. A further run of each brokerkit column writes a history that the checker of the conformance suite judges.
8. Memory growth: a consumer process that is 100 times slower than its producer, which sends 40,000 messages of 4 KiB; resident memory at its highest less that before the first message. The bound is what its 64 handlers are given at once (100 messages each where they take batches) and as much again fetched ahead, 32 MiB at most, and 32 MiB of slack.
9. Cold start: from the first import to the first confirmed publish in a fresh process, brokerkit as built for the registry; 7 starts.
10. Client and server are pinned to a core each where the system can; the load of the machine is in the raw data. \`broker %\` is how much of its core the server used meanwhile: near 100 it is the server that limits, and no client on it can be faster; only its CPU per message tells clients apart then.`;

function chartFile(adapter: string, run: Run): string {
  return `data/benchmarks/${adapter}-${run.site.name}-${run.workload.name}.svg`;
}

function section(run: Run, result: Result): string {
  const { site, workload: what, load } = run;
  const keys = what.keys === 0 ? "no keys" : `${what.keys.toLocaleString("en")} keys`;
  const parts = [
    `### ${site.name}, workload ${what.name}`,
    `Durability: ${site.durability}. ${what.size} B, ${keys}, ${what.inFlight.toLocaleString("en")} in flight, ${what.concurrency} handlers at once; ${load.length} rounds, load ${Math.min(...load)}–${Math.max(...load)}.`,
    `![messages a second](${chartFile(result.adapter, run)})`,
    markdown(throughputRows(run)),
  ];
  const delays = delayRows(run);
  if (delays.length > 0)
    parts.push(
      "Delays from the intended time of sending to the handler, ms: at the common rate, then at half of the column's own.",
      markdown(delays),
    );
  const costs = costRows(run);
  if (costs.length > 0) parts.push(markdown(costs));
  const targets = targetRows(judged(run, targetsOf(result.adapter), workload("slow")));
  if (targets.length > 0) parts.push(markdown(targets));
  return parts.join("\n\n");
}

function chapter(result: Result): string {
  const { adapter, machine, versions, runs, curves } = result;
  const said = Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(", ");
  const columns = new Map(runs.flatMap((run) => [...run.columns, ...run.natives]).map(({ title, summary }) => [title, summary]));
  return [
    `## ${adapter}`,
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.system}; Node ${machine.node}; ${machine.pinning}. ${said}.`,
    [...columns].map(([title, summary]) => `- **${title}**: ${summary}`).join("\n"),
    ...runs.map((run) => section(run, result)),
    ...curves.map((curve) => `### By ${curve.name}, ${curve.site}\n\n${markdown(curveRows(curve))}`),
  ].join("\n\n");
}

/** docs/benchmarks.md for these results, and its charts by their paths below docs/. */
export function documentation(results: readonly Result[]): Map<string, string> {
  const files = new Map<string, string>();
  const text = [
    "<!-- Written by `npm run bench -- docs` from data/benchmarks/*.json. Do not edit. -->",
    "# Benchmarks",
    "What brokerkit costs, and what it gains, beside the plain clients on the same machine. `npm run bench -- <adapter>` takes the figures again, and `--save` puts them here. Figures of two machines, or of two runs, do not compare; the ratios of one run do.",
    "## Method",
    METHOD,
    ...results.map(chapter),
  ];
  files.set("benchmarks.md", `${text.join("\n\n")}\n`);
  for (const result of results) for (const run of result.runs) files.set(chartFile(result.adapter, run), chartOf(run));
  return files;
}

/** Writes the documentation from the figures that are kept; gives the paths below docs/. */
export function writeDocumentation(): string[] {
  const files = documentation(keptResults());
  for (const [path, text] of files) writeFileSync(join(DOCS, path), text);
  return [...files.keys()];
}
