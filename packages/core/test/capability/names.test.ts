import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { featureNames } from "../../src/capability/features.ts";
import { EVERYTHING } from "./records.ts";

test("every capability that the sources refuse by name is one that adapters can be looked up by", () => {
  const src = new URL("../../src/", import.meta.url);
  const named = (readdirSync(src, { recursive: true }) as string[])
    .filter((path) => path.endsWith(".ts"))
    .flatMap((path) =>
      [...readFileSync(new URL(path, src), "utf8").matchAll(/\b(?:unsupported|within)\(\s*"([^"]+)"/g)].map((match) => match[1]),
    );
  expect(named.length).toBeGreaterThan(5);
  expect(named.filter((name) => !(featureNames(EVERYTHING) as readonly (string | undefined)[]).includes(name))).toEqual([]);
});
