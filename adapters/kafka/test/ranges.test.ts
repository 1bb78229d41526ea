import { describe, expect, it } from "vitest";
import { Ranges } from "../src/protocol/ranges.ts";

function of(...offsets: readonly number[]): Ranges {
  const ranges = new Ranges();
  for (const offset of offsets) ranges.add(offset);
  return ranges;
}

/** Which of the offsets up to 40 are in. */
const listed = (ranges: Ranges): number[] => Array.from({ length: 40 }, (_, n) => n).filter((n) => ranges.has(n));

describe("ranges", () => {
  it("have what was added, in any order and twice, as few runs", () => {
    const ranges = of(9, 5, 7, 6, 6, 20, 8, 19, 30);
    expect(listed(ranges)).toEqual([5, 6, 7, 8, 9, 19, 20, 30]);
    expect(ranges.text(5, 100)).toBe("done:0+4,9+1,9,");
  });

  it("forget what lies before an offset, in the middle of a run too", () => {
    const ranges = of(1, 2, 3, 8, 9, 10);
    ranges.dropBefore(9);
    expect(listed(ranges)).toEqual([9, 10]);
    ranges.dropBefore(40);
    expect(listed(ranges)).toEqual([]);
    expect(ranges.text(40, 100)).toBeUndefined();
  });

  it("are read from their text as they were, at large offsets too", () => {
    const high = 2 ** 50;
    const text = of(high + 3, high + 4, high + 70).text(high, 100);
    const read = Ranges.parse(text, high);
    expect([2, 3, 4, 5, 69, 70, 71].filter((n) => read.has(high + n))).toEqual([3, 4, 70]);
    expect(read.text(high, 100)).toBe(text);
  });

  it("leave out what does not fit, from the end", () => {
    const text = of(...Array.from({ length: 19 }, (_, n) => 2 * n + 1)).text(0, 15);
    expect(text?.length).toBeLessThanOrEqual(15);
    expect(listed(Ranges.parse(text, 0))).toEqual([1, 3, 5, 7, 9]);
    expect(of(1).text(0, 6)).toBeUndefined();
  });

  it.each([null, undefined, "", "done", "done:1", "done:-1,", "done:1+,", "owner=batch-7", `done:${"z".repeat(11)},`])(
    "take %s for nothing",
    (text) => {
      expect(listed(Ranges.parse(text, 0))).toEqual([]);
    },
  );
});
