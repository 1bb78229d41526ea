import { expect, test } from "vitest";
import { Batcher } from "../../src/batching/batcher.ts";
import { type Deferred, deferred } from "../../src/primitives/deferred.ts";

interface Item {
  readonly id: number;
  readonly bytes: number;
}

function setUp(limits = { maxRecords: 3, maxBytes: 100, inFlight: 1 }) {
  const calls: { ids: number[]; done: Deferred<void> }[] = [];
  const batcher = new Batcher<Item>({
    limits: () => limits,
    admit: (item) => (item.id < 0 ? "drop" : "take"),
    send: (items) => {
      const done = deferred<void>();
      calls.push({ ids: items.map((item) => item.id), done });
      return done.promise;
    },
  });
  const push = (...ids: number[]): void => {
    for (const id of ids) batcher.push({ id, bytes: 10 });
  };
  return { batcher, calls, push };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("a lone item leaves at once, and what comes while it is on its way forms the next batch", async () => {
  const { calls, push } = setUp();
  push(1);
  await turn();
  push(2);
  await turn();
  push(3);
  await turn();
  expect(calls.map((call) => call.ids)).toEqual([[1]]);
  calls[0]?.done.resolve();
  await turn();
  expect(calls.map((call) => call.ids)).toEqual([[1], [2, 3]]);
});

test("a burst of one turn is one batch, cut at the record limit", async () => {
  const { calls, push } = setUp({ maxRecords: 3, maxBytes: 1_000, inFlight: 2 });
  push(1, 2, 3, 4, 5, 6, 7);
  await turn();
  expect(calls.map((call) => call.ids)).toEqual([
    [1, 2, 3],
    [4, 5, 6],
  ]);
});

test("a batch is cut at the byte limit, and an item over it goes alone", async () => {
  const { batcher, calls } = setUp({ maxRecords: 10, maxBytes: 25, inFlight: 9 });
  for (const [id, bytes] of [
    [1, 10],
    [2, 10],
    [3, 10],
    [4, 90],
    [5, 1],
  ] as const)
    batcher.push({ id, bytes });
  await turn();
  expect(calls.map((call) => call.ids)).toEqual([[1, 2], [3], [4], [5]]);
});

test("what is put first goes before all that waits, in its order", async () => {
  const { batcher, calls, push } = setUp({ maxRecords: 10, maxBytes: 1_000, inFlight: 1 });
  batcher.pause();
  push(3, 4);
  batcher.pushFirst([
    { id: 1, bytes: 1 },
    { id: 2, bytes: 1 },
  ]);
  await turn();
  expect(calls).toEqual([]);
  batcher.resume();
  await turn();
  expect(calls.map((call) => call.ids)).toEqual([[1, 2, 3, 4]]);
});

test("what need not be sent any more is dropped without a call", async () => {
  const { calls, push } = setUp();
  push(-1, -2);
  await turn();
  expect(calls).toEqual([]);
});
