import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { CASES } from "../src/cases/index.ts";

const map = readFileSync(fileURLToPath(new URL("../../docs/conformance-map.md", import.meta.url)), "utf8");
const rows = map.split("\n").filter((line) => line.startsWith("| ") && !line.startsWith("| promise") && !line.startsWith("| ---"));
const ids = new Set(CASES.map((one) => one.id));

test("every promise in docs/conformance-map.md names cases, and all of them exist", () => {
  expect(rows.length).toBeGreaterThan(20);
  for (const row of rows) {
    const named = [...(row.split(" | ").at(-1) ?? "").matchAll(/`([^`]+)`/g)].map(([, id]) => String(id));
    expect(named.length, row).toBeGreaterThan(0);
    expect(
      named.filter((id) => !ids.has(id)),
      row,
    ).toEqual([]);
  }
});
