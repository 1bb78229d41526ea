// docs/support.md from the recorded runs in docs/data/support: node conformance-tests/src/matrix.ts [--check]
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Report } from "./report.ts";
import { markdownTable } from "./table.ts";

/** Every recorded report of a folder, by adapter name. */
export function readReports(folder: string): readonly Report[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith(".json"))
    .sort()
    .map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")) as Report);
}

const passed = (report: Report, ...ids: readonly string[]): boolean => ids.some((id) => report.cases[id] === "pass");
const list = (parts: readonly (string | false)[]): string => parts.filter((part) => part !== false).join(", ");

function delivery({ capabilities: { delivery } }: Report): string {
  return list([
    delivery.group !== "none" && `${delivery.group} (groups)`,
    delivery.broadcast !== "none" && `${delivery.broadcast} (broadcast)`,
  ]);
}

function replay({ capabilities: { from, seek } }: Report): string {
  if (from.replay.length === 0) return "–";
  return list([from.replay.join(", "), seek !== "none" && (seek === "live" ? "seek" : "seek while idle")]);
}

const keyOrder = ({ capabilities }: Report): string =>
  ({
    members: capabilities.supply.keyOrder === "portable" ? "between members (with partitions)" : "between members",
    process: "within a process",
    none: "–",
  })[capabilities.keyOrder];

function deadLetter({ capabilities: { supply } }: Report): string {
  if (supply.deadLetter === "none") return "–";
  return list(["yes", supply.deadLetterList !== "none" && "list", supply.redrive !== "none" && "redrive"]);
}

function survived(report: Report): string {
  if (!report.capabilities.durable) return "not durable";
  const { kills, killRecoveryMs } = report.measured;
  if (passed(report, "faults/server-killed", "faults/processes-killed"))
    return `${kills} of ${kills} kill${kills === 1 ? "" : "s"}, back in ${killRecoveryMs} ms`;
  return "not proved";
}

function lost(report: Report): string {
  const { measured } = report;
  if (measured["killLost"] !== undefined) return `${measured["killLost"]} (duplicates ${measured["killDuplicates"]})`;
  if (measured["lostTruly"] !== undefined) return `counted: ${measured["lostCounted"]} reported, ${measured["lostTruly"]} lost by cuts`;
  return "0 without faults";
}

function proof({ counts }: Report): string {
  return list([
    `${counts.pass} pass`,
    `${counts["n/a (declared)"]} n/a`,
    counts.gap > 0 && `${counts.gap} gaps`,
    counts.fail > 0 && `**${counts.fail} fail**`,
  ]);
}

/** What the measured figures mean; cases name them. */
const MEASURED: Readonly<Record<string, string>> = {
  publish10kMs: "10,000 publishes at once, all confirmed: ms",
  delay1000Ms: "a message with a delay of 1,000 ms came after: ms",
  nackDelay700Ms: "a message given back for 700 ms came again after: ms",
  redeliveryAfterLeaseMs: "what a dead member held went to another after (lease of the test run): ms",
  resumedAfterMs: "work resumed after a cut link was back: ms",
  prefetchWithConcurrency4: "messages owned by a member with 4 handlers that hang, of a backlog of 3,000",
  slowConsumerMiB: "memory that a handler 100 times slower than the producer costs, with a backlog of 80 MB: MiB",
  kills: "kills -9 of the server, or of writers and readers",
  killUnsettled: "publishes/deliveries unsettled at each kill -9 of the server",
  killRecoveryMs: "work resumed after a kill -9, at the latest: ms",
  killLost: "lost over all kills",
  killDuplicates: "delivered again over all kills",
  stopRecoveryMs: "work resumed after the server stood still: ms",
  cutsRecoveryMs: "work resumed after every connection was cut, at the latest: ms",
  cutsDuplicates: "delivered again over six cuts of every connection",
  consumerKilledDuplicates: "delivered again after two members were killed",
  zombieDuplicates: "delivered again after a member was frozen past its lease",
  storm100Ms: "100 clients cut off at once, all back and publishing: ms",
  lostCounted: "lost over three interruptions, as reported by brokerkit",
  lostTruly: "lost over three interruptions, as the checker found",
};

const COLUMNS: readonly (readonly [string, (report: Report) => string])[] = [
  ["backend", (report) => `\`${report.adapter}\``],
  ["delivery", delivery],
  ["groups", ({ capabilities }) => (capabilities.supply.groups === "none" ? "–" : "yes")],
  ["replay", replay],
  ["key order", keyOrder],
  ["dead letter", deadLetter],
  ["survived kill -9", survived],
  ["lost", lost],
  ["conformance", proof],
];

/** The table of README and docs/support.md. */
export function supportTable(reports: readonly Report[]): string {
  const rows = reports.map((report) => COLUMNS.map(([, cell]) => cell(report)));
  return markdownTable(
    COLUMNS.map(([name]) => name),
    rows,
  );
}

function versions(report: Report): string {
  return Object.entries(report.versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(", ");
}

/** The whole page. */
export function supportPage(reports: readonly Report[]): string {
  const details = reports.map((report) => {
    const gaps = Object.entries(report.cases).filter(([, text]) => text.startsWith("gap"));
    const measured = Object.entries(report.measured).map(([name, value]) => [MEASURED[name] ?? name, String(value)]);
    return [
      `## ${report.adapter}`,
      "",
      `Run on ${report.at.slice(0, 10)} with ${versions(report)}; seed \`${report.seed}\`.`,
      ...(gaps.length === 0 ? [] : ["", "Known gaps:", "", ...gaps.map(([id, text]) => `- \`${id}\`: ${text.slice(5)}`)]),
      ...(measured.length === 0 ? [] : ["", markdownTable(["measured", "value"], measured)]),
    ].join("\n");
  });
  return `# What each backend supports

Written from recorded runs of the conformance suite (\`docs/data/support\`) by \`conformance-tests/src/matrix.ts\`, never by hand; \`npm run conformance -- <adapter> --record\` records a run. "n/a" counts the cases that the backend's capability record does not claim: for those that are a call the suite has proved that it is refused before anything is sent.

${supportTable(reports)}

${details.join("\n\n")}
`;
}

function main(): void {
  const docs = fileURLToPath(new URL("../../docs/", import.meta.url));
  const page = supportPage(readReports(join(docs, "data", "support")));
  const path = join(docs, "support.md");
  if (!process.argv.includes("--check")) return writeFileSync(path, page);
  if (existsSync(path) && readFileSync(path, "utf8") === page) return;
  console.error("docs/support.md is stale: run node conformance-tests/src/matrix.ts");
  process.exitCode = 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
