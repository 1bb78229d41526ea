import type { EffectiveCapabilities } from "brokerkit";
import { describe, expect, test } from "vitest";
import { BACKENDS, backendOf } from "../../src/backends.ts";
import { ASPECTS, type Field } from "../../src/compare/aspects.ts";
import { at, type Change, compare } from "../../src/compare/compare.ts";
import { asText } from "../../src/compare/text.ts";

const record = (name: string): EffectiveCapabilities => backendOf(name).capabilities;
const between = (from: string, to: string): readonly Change[] => compare(record(from), record(to)).changes;
const named = (changes: readonly Change[], name: string): Change => {
  const found = changes.find((change) => change.name === name);
  if (found === undefined) throw new Error(`nothing is said about ${name}; there is ${changes.map((one) => one.name).join(", ")}`);
  return found;
};

/** The path of every field of a record. */
function fieldsOf(value: object, path = ""): Field[] {
  return Object.entries(value).flatMap(([name, one]: [string, unknown]) => {
    const here = path === "" ? name : `${path}.${name}`;
    return typeof one === "object" && one !== null && !Array.isArray(one) ? fieldsOf(one, here) : [here as Field];
  });
}

/** The record with another value in one field: those of all backends, and numbers and truths of every kind. */
function others(from: EffectiveCapabilities, field: Field): EffectiveCapabilities[] {
  const value = at(from, field);
  const seen = BACKENDS.map((name) => at(record(name), field));
  const more = typeof value === "number" ? [0, 1, 7, 1_500, Number.POSITIVE_INFINITY] : typeof value === "boolean" ? [true, false] : [];
  return [...seen, ...more]
    .filter((one) => String(one) !== String(value))
    .map((one) => {
      const changed = structuredClone(from) as unknown as Record<string, Record<string, unknown>>;
      const [first = "", second] = field.split(".");
      if (second === undefined) Object.assign(changed, { [first]: one });
      else Object.assign(changed[first] ?? {}, { [second]: one });
      return changed as unknown as EffectiveCapabilities;
    });
}

const PAIRS = BACKENDS.flatMap((from) => BACKENDS.map((to) => [from, to] as const));

test("every field of a record has one aspect that speaks for it, and no aspect speaks for another field", () => {
  const spoken = ASPECTS.flatMap(({ fields }) => fields);
  const known = new Set(BACKENDS.flatMap((name) => fieldsOf(record(name))));
  expect([...new Set(spoken)].sort()).toEqual([...known].sort());
  // A message must fit into a call: that limit is a message's as well.
  expect(spoken.filter((field, index) => spoken.indexOf(field) !== index)).toEqual(["publish.maxBytes"]);
  expect(new Set(ASPECTS.map(({ name }) => name)).size).toBe(ASPECTS.length);
});

describe.each(PAIRS)("from %s to %s", (from, to) => {
  const comparison = compare(record(from), record(to));

  test("each field that differs is told, in words that are whole", () => {
    const told = new Set(comparison.changes.flatMap(({ fields }) => fields.map(({ field }) => field)));
    const differing = fieldsOf(record(from)).filter((field) => String(at(record(from), field)) !== String(at(record(to), field)));
    expect([...told].sort()).toEqual([...differing].sort());
    for (const { was, will, advice } of comparison.changes) {
      expect(was).not.toBe(will);
      for (const words of [was, will, advice]) {
        expect(words).not.toMatch(/undefined|NaN|Infinity|\[object/);
        expect(words).toMatch(/\S/);
      }
    }
  });

  test("what is told and what is unchanged are everything, and the way back is the other way round", () => {
    const names = [...comparison.changes.map(({ name }) => name), ...comparison.unchanged];
    expect(names.toSorted()).toEqual(ASPECTS.map(({ name }) => name).sort());
    const back = between(to, from);
    const opposite = { better: "worse", worse: "better", different: "different" };
    for (const { name, verdict, was, will } of comparison.changes) {
      expect(named(back, name)).toMatchObject({ verdict: opposite[verdict], was: will, will: was });
    }
    expect(back).toHaveLength(comparison.changes.length);
  });
});

test.each(BACKENDS)("a record like that of %s with one other value is never taken for the same", (name) => {
  const from = record(name);
  for (const field of fieldsOf(from)) {
    for (const to of others(from, field)) {
      const change = compare(from, to).changes.find((one) => one.fields.some((differing) => differing.field === field));
      expect(change, `${field}: ${String(at(from, field))} → ${String(at(to, field))}`).toBeDefined();
      expect(change?.was).not.toBe(change?.will);
      expect(`${change?.was} ${change?.will} ${change?.advice}`).not.toMatch(/undefined|NaN/);
    }
  }
});

test("a record compared with itself changes nothing", () => {
  for (const name of BACKENDS) expect(between(name, name)).toEqual([]);
});

test("in each section the most important comes first, and among equals what is worse", () => {
  for (const [from, to] of PAIRS) {
    for (const group of Map.groupBy(between(from, to), ({ section }) => section).values()) {
      const ranks = group.map(({ weight, verdict }) => (3 - weight) * 10 + ["worse", "different", "better"].indexOf(verdict));
      expect(ranks).toEqual(ranks.toSorted((a, b) => a - b));
    }
  }
});

describe("a chat that moves from live messages to a log", () => {
  const changes = between("redis+pubsub", "kafka");

  test("what is published while a subscriber is away is no longer lost, and may come twice", () => {
    expect(named(changes, "broadcast")).toMatchObject({
      verdict: "better",
      was: expect.stringMatching(/^at most once/),
      will: expect.stringMatching(/^at least once/),
    });
    expect(named(changes, "repeats")).toMatchObject({ verdict: "different", advice: expect.stringMatching(/idempotent/) });
    expect(named(changes, "restart").verdict).toBe("better");
  });

  test("groups, replay and dead letters appear", () => {
    expect(named(changes, "groups")).toMatchObject({
      verdict: "better",
      was: expect.stringMatching(/^none/),
      will: expect.stringMatching(/^at least once/),
      advice: expect.stringMatching(/subscribe\(\{ group \}\)/),
    });
    expect(named(changes, "replay")).toMatchObject({
      verdict: "better",
      was: expect.stringMatching(/^none/),
      will: expect.stringMatching(/earliest, time, position/),
    });
    expect(named(changes, "dead letters")).toMatchObject({
      verdict: "better",
      was: expect.stringMatching(/^none/),
      will: expect.stringMatching(/listed/),
      advice: expect.stringMatching(/\.dead/),
    });
  });

  test("keys are kept among all members, and partitions decide who can work", () => {
    expect(named(changes, "key order")).toMatchObject({
      verdict: "better",
      was: expect.stringMatching(/^process/),
      will: expect.stringMatching(/^members/),
    });
    expect(named(changes, "partitions")).toMatchObject({
      verdict: "different",
      was: expect.stringMatching(/^one shard/),
      advice: expect.stringMatching(/partitions.*defineTopic/),
    });
  });

  test("topics are created and keep what they were told to", () => {
    expect(named(changes, "topics")).toMatchObject({
      verdict: "different",
      will: expect.stringMatching(/^explicit/),
      advice: expect.stringMatching(/provision: "verify"/),
    });
    expect(named(changes, "retention")).toMatchObject({
      was: "nothing is kept",
      advice: expect.stringMatching(/defineTopic\(\{ retention \}\)/),
    });
  });

  test("a message that brings its process down comes again", () => {
    expect(named(changes, "attempts")).toMatchObject({
      verdict: "different",
      was: expect.stringMatching(/is gone/),
      advice: expect.stringMatching(/again and again/),
    });
  });
});

test("on the way back the verbs that go are worse, and each says what to do instead", () => {
  const changes = between("kafka", "redis+pubsub");
  for (const name of ["groups", "broadcast", "restart", "replay", "key order", "dead letters", "lag"])
    expect(named(changes, name).verdict).toBe("worse");
  expect(named(changes, "groups").advice).toContain("UNSUPPORTED");
});

test("delayed publish that goes is worse; of two limits the smaller is worse", () => {
  const from = record("memory");
  const less = { ...from, delay: { maxMs: 1_000 }, message: { ...from.message, maxBytes: 1_048_576 } };
  const [delay, message] = ["delayed publish", "largest message"].map((name) => named(compare(from, less).changes, name));
  expect(delay).toMatchObject({
    verdict: "worse",
    was: "any time ahead",
    will: "up to 1 s ahead",
    advice: expect.stringMatching(/refuses more than 1 s/),
  });
  expect(message).toMatchObject({ verdict: "worse", will: expect.stringMatching(/^1 MiB/), advice: expect.stringMatching(/TOO_LARGE/) });
});

describe("as text", () => {
  const text = (width: number, colours = false): string =>
    asText("a → b", compare(record("redis+pubsub"), record("kafka")), { width, colours });

  test.each([50, 80, 120])("no line is longer than %d columns", (width) => {
    for (const line of text(width).split("\n")) expect(line.length).toBeLessThanOrEqual(width);
  });

  test("each change has its mark and its word, what was, what will be and what to do", () => {
    expect(text(120)).toMatch(/\n {2}\+ better: groups\n {4}was {2}none: .+\n {4}will at least once: .+\n {4}do {3}Workers/);
    expect(text(120)).toMatch(/\n {2}~ different: repeats\n/);
    expect(text(120)).toMatch(/\nUnchanged: .+\.\n/);
  });

  test("colours are there when asked for, and the words are the same", () => {
    expect(text(80)).not.toContain("\x1b");
    expect(text(80, true)).toContain("\x1b[32m  + better");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are control characters
    expect(text(80, true).replace(/\x1b\[\d+m/g, "")).toBe(text(80));
  });

  test("the same twice says that nothing changes", () => {
    expect(asText("a → a", compare(record("memory"), record("memory")), { width: 80, colours: false })).toContain(
      "\nNothing changes in meaning.\n",
    );
  });
});
