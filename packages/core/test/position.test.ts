import { describe, expect, test } from "vitest";
import type { Place } from "../src/driver/wire.ts";
import { isBrokerError } from "../src/errors.ts";
import { comparePlaces, comparePositions, decodePosition, encodePosition, type Position, parsePosition } from "../src/position.ts";

const at = (places: Record<string, string>, adapter = "a", topic = "t"): Position =>
  encodePosition(adapter, topic, new Map(Object.entries(places).map(([shard, spot]) => [shard, `${shard}:${spot}` as Place])));
const raw = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

describe("a position", () => {
  test("comes back as it was saved, as text without odd characters", () => {
    const position = at({ p0: "10", p1: "1.2.3", "x_-Y": "0" }, "one+two", "orders.eu");
    expect(position).toMatch(/^[A-Za-z0-9_-]+$/);
    expect(parsePosition(`${position}`)).toBe(position);
    const { adapter, topic, cut } = decodePosition(position);
    expect([adapter, topic, Object.fromEntries(cut)]).toEqual(["one+two", "orders.eu", { p0: "p0:10", p1: "p1:1.2.3", "x_-Y": "x_-Y:0" }]);
  });

  test("of an empty topic holds nothing and is before everything", () => {
    expect(decodePosition(at({})).cut.size).toBe(0);
    expect(comparePositions(at({}), at({}))).toBe(0);
    expect(comparePositions(at({}), at({ p: "0" }))).toBe(-1);
  });

  test("does not depend on the order in which shards are given", () => {
    expect(at({ a: "1", b: "2" })).toBe(at({ b: "2", a: "1" }));
  });

  test.each<[unknown]>([
    [""],
    ["x"],
    [undefined],
    [null],
    [5],
    [{}],
    [raw({})],
    [raw([])],
    [raw([2, "a", "t"])],
    [raw([1, "a"])],
    [raw([1, 2, "t"])],
    [raw([1, "a", "t", 3])],
    [raw([1, "a", "t", "p"])],
    [raw([1, "a", "t", "p:"])],
    [raw([1, "a", "t", "p:-1"])],
    [raw([1, "a", "t", "p:1."])],
    [raw([1, "a", "t", "p:01"])],
    [raw([1, "a", "t", "p:1e3"])],
    [raw([1, "a", "t", "p q:1"])],
    [raw([1, "a", "t", "p:1", "p:2"])],
    [raw([1, "a", "t", ["p:1"]])],
  ])("is refused when it is none: %j", (text) => {
    try {
      parsePosition(text as string);
      expect.unreachable();
    } catch (error) {
      expect(isBrokerError(error, "INVALID_ARGUMENT")).toBe(true);
      expect(error).toMatchObject({ details: { argument: "position" } });
    }
  });
});

describe("comparing positions", () => {
  test.each<[-1 | 0 | 1 | undefined, Record<string, string>, Record<string, string>]>([
    [0, { a: "1" }, { a: "1" }],
    [-1, { a: "1" }, { a: "2" }],
    [-1, { a: "9" }, { a: "10" }],
    [1, { a: "1.10" }, { a: "1.9" }],
    [-1, { a: "1" }, { a: "1.0" }],
    [-1, { a: "9007199254740993" }, { a: "9007199254740994" }],
    [-1, { a: "1", b: "1" }, { a: "1", b: "2" }],
    [1, { a: "1", b: "1" }, { a: "1" }],
    [undefined, { a: "1", b: "2" }, { a: "2", b: "1" }],
    [undefined, { a: "1" }, { b: "1" }],
  ])("gives %j for %j and %j, and the opposite the other way round", (sign, a, b) => {
    expect(comparePositions(at(a), at(b))).toBe(sign);
    expect(comparePositions(at(b), at(a))).toBe(sign === undefined || sign === 0 ? sign : -sign);
  });

  test("of other topics or adapters gives undefined", () => {
    expect(comparePositions(at({ a: "1" }), at({ a: "1" }, "b"))).toBeUndefined();
    expect(comparePositions(at({ a: "1" }), at({ a: "1" }, "a", "u"))).toBeUndefined();
  });

  test("a missing place is before every place", () => {
    expect(comparePlaces(undefined, "a:0" as Place)).toBe(-1);
    expect(comparePlaces("a:0" as Place, undefined)).toBe(1);
    expect(comparePlaces(undefined, undefined)).toBe(0);
  });
});
