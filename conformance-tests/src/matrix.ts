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
  ({ members: "between members", process: "within a process", none: "–" })[capabilities.keyOrder];

function deadLetter({ capabilities: { supply } }: Report): string {
  if (supply.deadLetter === "none") return "–";
  return list(["yes", supply.deadLetterList !== "none" && "list", supply.redrive !== "none" && "redrive"]);
}

function survived(report: Report): string {
  if (!report.capabilities.durable) return "not durable";
  if (passed(report, "faults/server-killed", "faults/processes-killed"))
    return `5 of 5 kills, back in ${report.measured["killRecoveryMs"]} ms`;
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
    const measured = Object.entries(report.measured).map(([name, value]) => [name, String(value)]);
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
