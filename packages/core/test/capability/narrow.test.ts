import { describe, expect, test } from "vitest";
import { checkNarrower, common, firstNarrowing } from "../../src/capability/narrow.ts";
import { EVERYTHING, leaves, NOTHING, withLeaf } from "./records.ts";

/** Fields in which a record promises nothing either way. */
const FREE = ["lease.ms"];
const paths = [...leaves(EVERYTHING).keys()];

test("both test records have the same fields", () => {
  expect([...leaves(NOTHING).keys()]).toEqual(paths);
});

test("a record is never more than itself, and nothing is never more than everything", () => {
  expect(checkNarrower(EVERYTHING, EVERYTHING)).toEqual([]);
  expect(checkNarrower(NOTHING, NOTHING)).toEqual([]);
  expect(checkNarrower(EVERYTHING, NOTHING)).toEqual([]);
});

test("every field of the record is covered", () => {
  expect(checkNarrower(NOTHING, EVERYTHING).sort()).toEqual(paths.filter((path) => !FREE.includes(path)).sort());
});

describe.each(paths.filter((path) => !FREE.includes(path)))("%s", (path) => {
  const more = leaves(EVERYTHING).get(path);
  const less = leaves(NOTHING).get(path);

  test("alone is found when it claims more", () => {
    const ceiling = withLeaf(EVERYTHING, path, less);
    expect(checkNarrower(ceiling, EVERYTHING)).toEqual([path]);
    expect(checkNarrower(EVERYTHING, ceiling)).toEqual([]);
    expect(firstNarrowing(EVERYTHING, ceiling)).toBe(path);
    expect(firstNarrowing(ceiling, EVERYTHING)).toBeUndefined();
  });

  test("with an unknown value is never let through", () => {
    const odd = Array.isArray(more) ? ["odd"] : typeof more === "number" ? Number.NaN : "odd";
    expect(checkNarrower(EVERYTHING, withLeaf(EVERYTHING, path, odd))).toEqual([path]);
  });

  test("in common is the lesser of the two", () => {
    const narrow = withLeaf(EVERYTHING, path, less);
    expect(common(EVERYTHING, narrow)).toEqual(narrow);
    expect(common(narrow, EVERYTHING)).toEqual(narrow);
  });
});

test("a lease may differ in length without a claim being made", () => {
  expect(checkNarrower(EVERYTHING, withLeaf(EVERYTHING, "lease.ms", 1))).toEqual([]);
  expect(checkNarrower(EVERYTHING, withLeaf(EVERYTHING, "lease.ms", 1e9))).toEqual([]);
});

test("levels between the ends are in order", () => {
  const ladder = ["none", "memory", "page-cache", "fsync", "replicated"];
  for (const [low, below] of ladder.entries()) {
    for (const [high, above] of ladder.entries()) {
      const claims = checkNarrower(withLeaf(EVERYTHING, "durabilityOnAck", below), withLeaf(EVERYTHING, "durabilityOnAck", above));
      expect(claims.length === 0).toBe(high <= low);
    }
  }
});

test("start points of which neither is a part of the other are in conflict both ways, and only the shared ones are common", () => {
  const a = withLeaf(EVERYTHING, "from.group", ["latest", "time"]);
  const b = withLeaf(EVERYTHING, "from.group", ["latest", "position"]);
  expect(checkNarrower(a, b)).toEqual(["from.group"]);
  expect(checkNarrower(b, a)).toEqual(["from.group"]);
  expect(common(a, b).from.group).toEqual(["latest"]);
});
