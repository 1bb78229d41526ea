import { CASES } from "./cases/index.ts";
import type { AdapterHarness, Harness } from "./harness.ts";
import { MUTANTS, type Mutant } from "./mutants.ts";
import { type CaseResult, Run } from "./run.ts";
import { markdownTable } from "./table.ts";

/** The named case over the adapter as it is and over its mutant. */
export interface Detection {
  readonly mutant: Mutant;
  readonly sound: CaseResult;
  readonly mutated: CaseResult;
}

/** Runs a mutant's case on both: the first must pass and the second must fail, or the suite proves nothing. */
export async function detect(mutant: Mutant, whole: Harness, harness: AdapterHarness): Promise<Detection> {
  const one = CASES.find(({ id }) => id === mutant.caughtBy);
  if (one === undefined) throw new Error(`The mutant ${mutant.name} names the case "${mutant.caughtBy}", which does not exist.`);
  const once = async (mutate?: Mutant["mutate"]): Promise<CaseResult> => {
    const run = new Run(whole, harness, { mutate, patienceMs: 3_000 });
    try {
      return await run.run(one);
    } finally {
      await run.close();
    }
  };
  const [sound, mutated] = await Promise.all([once(), once(mutant.mutate)]);
  return { mutant, sound, mutated };
}

/** docs/mutants.md. */
export function mutantTable(): string {
  const states = (id: string): string => CASES.find((one) => one.id === id)?.states ?? "";
  const rows = MUTANTS.map(({ name, does, caughtBy }) => [name, does, `\`${caughtBy}\``, states(caughtBy)]);
  return `# Mutants: how the conformance suite is itself tested

Each row is a conforming adapter with one fault built in. In every test run the named case fails on the mutant and passes on the adapter that it was made of; if either does not happen, the run fails (\`conformance-tests/test/mutants.test.ts\`). Each fault has been seen in a real system.

${markdownTable(["mutant", "what it does wrong", "caught by", "what that case states"], rows)}
`;
}
