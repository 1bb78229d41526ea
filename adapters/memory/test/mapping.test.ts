import type { Place } from "brokerkit/driver";
import { describe, expect, test } from "vitest";
import { behind, hashBytes, placeOf, sizeOf } from "../src/mapping.ts";
import { bytes } from "./rig.ts";

describe("places", () => {
  test.each([true, false])("come back as the number behind them (dense: %s)", (dense) => {
    for (const n of [0, 1, 2, 3, 4, 5, 1_023, 2 ** 33]) expect(behind(placeOf("0", n, dense), dense)).toBe(n + 1);
  });

  test("that were never given count all numbers before them", () => {
    expect([behind("0:2.7" as Place, true), behind("0:2" as Place, false), behind("0:2.9.1" as Place, false)]).toEqual([3, 8, 12]);
  });
});

test("keys are hashed by FNV-1a", () => {
  expect([hashBytes(bytes("")) >>> 0, hashBytes(bytes("a")) >>> 0, hashBytes(bytes("foobar")) >>> 0]).toEqual([
    0x811c9dc5, 0xe40c292c, 0xbf9cf968,
  ]);
});

test("a record's size is that of its key, headers and body", () => {
  const record = {
    target: { topic: "t" },
    id: "id",
    dedupeId: "id",
    key: bytes("key"),
    headers: [["name", bytes("value")] as const],
    body: bytes("body"),
    publishedAt: 0,
  };
  expect([sizeOf(record), sizeOf({ ...record, key: undefined, headers: [], body: null })]).toEqual([16, 0]);
});
