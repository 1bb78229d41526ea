import { targetsOf, workload } from "../run/discover.ts";
import { aligned, spread } from "./format.ts";
import type { CurveResult, Result } from "./result.ts";
import { costRows, delayRows, targetRows, throughputRows } from "./rows.ts";
import { perSecond, summaryOf } from "./statistics.ts";
import { judged } from "./targets.ts";

/** The points of a curve: publish and consume rates by value. */
export function curveRows({ name, points }: CurveResult): readonly (readonly string[])[] {
  const columns = points[0]?.columns ?? [];
  const phases = (["publish", "consume"] as const).filter((phase) =>
    columns.some(({ rounds }) => rounds.some((round) => round[phase] !== null)),
  );
  const head = [name, ...columns.flatMap(({ title }) => phases.map((phase) => `${title}: ${phase} msg/s`))];
  const cells = (rounds: CurveResult["points"][number]["columns"][number]["rounds"]): string[] =>
    phases.map((phase) =>
      spread(
        summaryOf(
          rounds
            .map((round) => round[phase])
            .filter((one) => one !== null)
            .map(perSecond),
        ),
      ),
    );
  return [head, ...points.map(({ value, columns: all }) => [value.toLocaleString("en"), ...all.flatMap(({ rounds }) => cells(rounds))])];
}

/** A result for the terminal. */
export function print(result: Result): string {
  const { adapter, machine, versions, runs, curves } = result;
  const targets = targetsOf(adapter);
  const parts = [
    `${adapter} on ${machine.cpu}, ${machine.cores} cores, Node ${machine.node}; ${machine.pinning}`,
    Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(", "),
  ];
  for (const run of runs) {
    const { site, workload: what, load } = run;
    parts.push(
      "",
      `${site.name}: ${site.durability}`,
      `workload ${what.name}: ${what.size} B, ${what.keys} keys, ${what.inFlight} in flight, concurrency ${what.concurrency}; load ${Math.min(...load)}–${Math.max(...load)}; median (min–max) of ${load.length} rounds`,
    );
    const slow = workload("slow");
    for (const rows of [throughputRows(run), delayRows(run), costRows(run), targetRows(judged(run, targets, slow))]) {
      if (rows.length > 0) parts.push("", aligned(rows));
    }
  }
  for (const curve of curves) parts.push("", `${curve.site}, by ${curve.name}`, aligned(curveRows(curve)));
  return parts.join("\n");
}
