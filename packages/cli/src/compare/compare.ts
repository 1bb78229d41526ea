import type { EffectiveCapabilities } from "brokerkit";
import { shown } from "../amounts.ts";
import { ASPECTS, type Aspect, type Field, type Section } from "./aspects.ts";

export type Verdict = "better" | "worse" | "different";

/** One thing that does not mean the same on both backends. */
export interface Change {
  readonly section: Section;
  readonly name: string;
  readonly verdict: Verdict;
  /** 3: messages are lost, doubled or out of order over it. 0: inside, nothing that an application sees. */
  readonly weight: Aspect["weight"];
  readonly was: string;
  readonly will: string;
  readonly advice: string;
  /** The aspect's own fields of the record that differ, with their values; none where a sentence differs because of another aspect's. */
  readonly fields: readonly { readonly field: string; readonly was: Value; readonly will: Value }[];
}

type Value = string | number | boolean | readonly string[];

export interface Comparison {
  /** Section by section, in each the most important first. */
  readonly changes: readonly Change[];
  /** What means the same on both. */
  readonly unchanged: readonly string[];
}

const ORDER: readonly Verdict[] = ["worse", "different", "better"];

/** What changes in meaning for an application that moves between two backends with these records. */
export function compare(from: EffectiveCapabilities, to: EffectiveCapabilities): Comparison {
  const sections = [...new Set(ASPECTS.map(({ section }) => section))];
  const changes = ASPECTS.flatMap((aspect) => changeOf(aspect, from, to) ?? []);
  changes.sort(
    (a, b) =>
      sections.indexOf(a.section) - sections.indexOf(b.section) ||
      b.weight - a.weight ||
      ORDER.indexOf(a.verdict) - ORDER.indexOf(b.verdict),
  );
  const changed = new Set(changes.map(({ name }) => name));
  return { changes, unchanged: ASPECTS.map(({ name }) => name).filter((name) => !changed.has(name)) };
}

function changeOf(aspect: Aspect, from: EffectiveCapabilities, to: EffectiveCapabilities): Change | undefined {
  const fields = aspect.fields
    .map((field) => ({ field, was: at(from, field), will: at(to, field) }))
    .filter(({ was, will }) => String(was) !== String(will));
  const [before, after] = [aspect.says(from), aspect.says(to)];
  if (before === after && fields.length === 0) return undefined;
  const { section, name, weight } = aspect;
  // A difference that the sentence has no words for is shown as the records have it.
  const raw = (of: "was" | "will"): string => fields.map((one) => `${one.field}: ${shown(one.field, one[of])}`).join(", ");
  const [was, will] = before === after ? [`${before} (${raw("was")})`, `${after} (${raw("will")})`] : [before, after];
  return { section, name, verdict: verdictOf(aspect, from, to), weight, was, will, advice: aspect.advice(to, from), fields };
}

function verdictOf({ rank }: Aspect, from: EffectiveCapabilities, to: EffectiveCapabilities): Verdict {
  if (rank === undefined) return "different";
  const [before, after] = [rank(from), rank(to)];
  return after > before ? "better" : after < before ? "worse" : "different";
}

/** The value at a path such as `"delivery.group"`. */
export function at(record: EffectiveCapabilities, field: Field): Value {
  return field.split(".").reduce<unknown>((value, name) => (value as Readonly<Record<string, unknown>>)[name], record) as Value;
}
