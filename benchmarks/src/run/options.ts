import { parseArgs } from "node:util";

export const USAGE = `npm run bench -- ADAPTER [options]     measures one backend and prints a table
npm run bench -- docs                  writes docs/benchmarks.md and its charts from docs/data/benchmarks/*.json

  --rounds N         rounds of each column (default 5)
  --workload NAME    a file of benchmarks/workloads (default base; may be repeated)
  --column NAME      only these columns (may be repeated)
  --site NAME        only these durability levels (may be repeated)
  --curve NAME       how cost grows: size, inFlight, topics, backlog, keys (may be repeated)
  --only-curves      nothing but the curves
  --json FILE        writes the raw figures
  --save             writes them to docs/data/benchmarks/ADAPTER.json and renews the documentation
  --no-pin           leaves processes on any core
  --no-extras        no slow consumer, no cold start, no load tool
  --quick            the harness at its smallest: shows that it works, and no figure worth having`;

export interface BenchOptions {
  readonly adapter: string;
  readonly rounds: number;
  readonly workloads: readonly string[];
  /** Names; all when empty. */
  readonly columns: readonly string[];
  readonly sites: readonly string[];
  readonly curves: readonly string[];
  readonly onlyCurves: boolean;
  readonly json: string | undefined;
  readonly save: boolean;
  readonly pin: boolean;
  readonly extras: boolean;
  readonly quick: boolean;
}

/** Throws for arguments that it does not know. */
export function readOptions(argv: readonly string[]): BenchOptions {
  const many = { type: "string", multiple: true } as const;
  const flag = { type: "boolean" } as const;
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      rounds: { type: "string" },
      workload: many,
      column: many,
      site: many,
      curve: many,
      "only-curves": flag,
      json: { type: "string" },
      save: flag,
      "no-pin": flag,
      "no-extras": flag,
      quick: flag,
    },
  });
  const [adapter = "", ...more] = positionals;
  if (adapter === "" || more.length > 0) throw new Error("Say which adapter, once.");
  const quick = values.quick === true;
  const rounds = values.rounds === undefined ? (quick ? 1 : 5) : Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error("--rounds takes a whole number from 1.");
  return {
    adapter,
    rounds,
    workloads: values.workload ?? [quick ? "quick" : "base"],
    columns: values.column ?? [],
    sites: values.site ?? [],
    curves: values.curve ?? [],
    onlyCurves: values["only-curves"] === true,
    json: values.json,
    save: values.save === true,
    pin: values["no-pin"] !== true && !quick,
    extras: values["no-extras"] !== true && !quick,
    quick,
  };
}
