import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { AssertionFailed } from "../src/assert.ts";
import { CASES } from "../src/cases/index.ts";
import { detect, mutantTable } from "../src/detect.ts";
import { MUTANTS } from "../src/mutants.ts";
import { adapter, harness } from "./memory-harness.ts";

const table = fileURLToPath(new URL("../../docs/mutants.md", import.meta.url));

describe("every mutant is caught by its named case, which passes on the adapter that the mutant was made of", () => {
  // Side by side: a mutant that loses something is caught by waiting in vain.
  const detections = MUTANTS.map((mutant) => () => detect(mutant, harness, adapter));
  let running: readonly ReturnType<typeof detect>[] | undefined;
  for (const [n, mutant] of MUTANTS.entries()) {
    test(`${mutant.name} is caught by ${mutant.caughtBy}`, { timeout: 60_000 }, async () => {
      running ??= detections.map((start) => start());
      const { sound, mutated } = (await running[n]) ?? { sound: undefined, mutated: undefined };
      expect(sound?.error).toBeUndefined();
      expect(sound?.outcome).toBe("pass");
      expect(mutated?.outcome).toBe("fail");
      // Caught by a property that did not hold, not by a crash.
      expect(mutated?.error).toBeInstanceOf(AssertionFailed);
    });
  }
});

test("case ids are unique, and begin with their group", () => {
  const ids = CASES.map((one) => one.id);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids.filter((id) => !/^[a-z-]+(\/[a-z0-9-]+)?$/.test(id))).toEqual([]);
});

test("docs/mutants.md is what the mutants say: regenerate it with BROKERKIT_WRITE_DOCS=1 and this test", () => {
  if (process.env["BROKERKIT_WRITE_DOCS"] === "1") writeFileSync(table, mutantTable());
  expect(readFileSync(table, "utf8")).toBe(mutantTable());
});
