import type { Backend } from "../backends.ts";
import type { Comparison } from "./compare.ts";

/** The version of what `--json` prints: raised when a field goes or changes its meaning, not when one is added. */
const SCHEMA = 1;

/** The comparison for programs. A limit that does not exist is the text `"no limit"`, since JSON knows no Infinity. */
export function asJson(from: Backend, to: Backend, { changes, unchanged }: Comparison): object {
  const lost = changes.filter(({ verdict }) => verdict === "worse").map(({ name }) => name);
  return {
    schema: SCHEMA,
    from: { name: from.name, package: from.package },
    to: { name: to.name, package: to.package },
    lost,
    changes: changes.map((change) => ({
      ...change,
      fields: change.fields.map(({ field, was, will }) => ({ field, was: plain(was), will: plain(will) })),
    })),
    unchanged,
  };
}

function plain<T>(value: T): T | "no limit" {
  return value === Number.POSITIVE_INFINITY ? "no limit" : value;
}
