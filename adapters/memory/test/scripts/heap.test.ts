import { expect, test } from "vitest";
import { Heap } from "../../src/scripts/heap.ts";

test("gives what comes first, whatever the order of coming", () => {
  const heap = new Heap<number>((a, b) => a < b);
  const numbers = [5, 3, 8, 1, 9, 2, 7, 1, 6, 4];
  for (const number of numbers) heap.push(number);
  expect([heap.size, heap.first]).toEqual([10, 1]);
  expect(numbers.map(() => heap.pop())).toEqual([1, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect([heap.pop(), heap.first, heap.size]).toEqual([undefined, undefined, 0]);
});
