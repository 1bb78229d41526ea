import { expect, test } from "vitest";
import { compareSpots, cutOf, fullName, idOfSpot, placeOf, type Spot, spotOf, spotOfId, spotsOf } from "../src/mapping.ts";

const WHOLE = Number.POSITIVE_INFINITY;

test("topics have names of their own, also where one is called like a partition", () => {
  expect(fullName("public/default", "orders")).toBe("persistent://public/default/orders");
  expect(fullName("t/n", "a-partition-3")).toBe("persistent://t/n/a-partition=-3");
  expect(fullName("t/n", "-partition-partition-3")).toBe("persistent://t/n/-partition=-partition=-3");
  expect(fullName("t/n", "a-partition")).toBe("persistent://t/n/a-partition");
});

test("places name ledger, entry and index, and are read back", () => {
  const spot = { ledger: 5, entry: 17, index: 2 };
  expect(placeOf("3", spot)).toBe("3:5.17.2");
  expect(spotOf(placeOf("3", spot))).toEqual(spot);
  expect(idOfSpot(3, spot)).toEqual({ ledger: 5, entry: 17, partition: 3, batchIndex: 2 });
  expect(spotOfId({ ledger: 5, entry: 17, partition: 3, batchIndex: -1 })).toEqual({ ledger: 5, entry: 17, index: 0 });
});

test("behind a whole entry is before all of the next, and after every index of it", () => {
  const whole = { ledger: 5, entry: 17, index: WHOLE };
  expect(placeOf("0", whole)).toBe("0:5.18");
  expect(spotOf(placeOf("0", whole))).toEqual(whole);
  expect(idOfSpot(0, whole)).toEqual({ ledger: 5, entry: 17, partition: 0, batchIndex: -1 });
  expect(compareSpots(whole, { ledger: 5, entry: 17, index: 999 })).toBeGreaterThan(0);
  expect(compareSpots(whole, { ledger: 5, entry: 18, index: 0 })).toBeLessThan(0);
  expect(compareSpots(whole, whole)).toBe(0);
});

test("a partition that was empty has a place before everything", () => {
  const nowhere = { ledger: 0, entry: -1, index: WHOLE };
  expect(placeOf("0", nowhere)).toBe("0:0.0");
  expect(spotOf(placeOf("0", nowhere))).toEqual(nowhere);
});

test("cuts hold partitions; other shards say nothing of the topic", () => {
  const spots = new Map<number, Spot>([
    [0, { ledger: 5, entry: 1, index: 0 }],
    [11, { ledger: 6, entry: 2, index: WHOLE }],
  ]);
  const cut = cutOf(spots);
  expect([...cut]).toEqual([
    ["0", "0:5.1.0"],
    ["11", "11:6.3"],
  ]);
  expect(spotsOf(new Map([...cut, ["retry", placeOf("retry", { ledger: 9, entry: 9, index: 0 })]]))).toEqual(spots);
});
