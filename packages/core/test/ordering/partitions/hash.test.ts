import { expect, test } from "vitest";
import { murmur2 } from "../../../src/ordering/partitions/hash.ts";

// Values that other implementations of this hash give.
test.each([
  ["21", -973_932_308],
  ["foobar", -790_332_482],
  ["a-little-bit-long-string", -985_981_536],
  ["a-little-bit-longer-string", -1_486_304_829],
  ["lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971],
  ["abc", 479_470_107],
])("the hash of %j is what it is elsewhere", (text, expected) => {
  expect(murmur2(Buffer.from(text))).toBe(expected & 0x7fffffff);
});
