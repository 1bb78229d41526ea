import { describe, expect, test } from "vitest";
import { laneOf, partitionName, partitionOf, textOf } from "../../src/protocol/routing.ts";

describe("routing", () => {
  test("a key has the partition that Java's String.hashCode gives it", () => {
    // "hello".hashCode() is 99162322, "polygenelubricants".hashCode() is -2147483648, "Straße".hashCode() is -1808122922.
    expect(partitionOf(Buffer.from("hello"), 1_000_000_007)).toBe(99_162_322);
    expect(partitionOf(Buffer.from("polygenelubricants"), 7)).toBe(0);
    expect(partitionOf(Buffer.from("Straße"), 1_000)).toBe((-1_808_122_922 & 0x7fff_ffff) % 1_000);
    expect(partitionOf(Buffer.from(""), 5)).toBe(0);
  });

  test("a key that is no text has the partition of its base64, as it travels", () => {
    expect(partitionOf(Buffer.from([0x61, 0xff]), 1_000)).toBe(partitionOf(Buffer.from("Yf8="), 1_000));
  });

  test("keys are spread evenly over lanes, whatever partition they are in", () => {
    const counts = new Array<number>(32).fill(0);
    const keys = Array.from({ length: 40_000 }, (_, n) => `order-${n}`).filter((key) => partitionOf(Buffer.from(key), 4) === 1);
    for (const key of keys) counts[laneOf(Buffer.from(key), 32)]! += 1;
    const mean = keys.length / 32;
    expect(Math.min(...counts)).toBeGreaterThan(mean * 0.75);
    expect(Math.max(...counts)).toBeLessThan(mean * 1.25);
  });

  test("a key that is no text travels as base64", () => {
    expect(textOf(Buffer.from("schlüssel"))).toBe("schlüssel");
    expect(textOf(Buffer.from([0xff, 0xfe]))).toBe("//4=");
  });

  test("partitions are topics with a number", () => {
    expect(partitionName("persistent://t/n/x", 2, 3)).toBe("persistent://t/n/x-partition-2");
    expect(partitionName("persistent://t/n/x", 0, 0)).toBe("persistent://t/n/x");
  });
});
