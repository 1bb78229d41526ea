import { expect, test } from "vitest";
import { PublishLanes } from "../../src/ordering/publish-lanes.ts";

const item = (lane: string | undefined, n = 0) => ({ lane, n });

test("a key is not in two batches at once, and what waited comes out in order when the first is over", () => {
  const lanes = new PublishLanes<ReturnType<typeof item>>(() => false);
  const [first, second] = [{}, {}];
  const [a1, a2, a3, b1] = [item("a", 1), item("a", 2), item("a", 3), item("b", 1)];
  expect(lanes.enter(a1, first)).toBe(true);
  expect(lanes.enter(a2, second)).toBe(false);
  expect(lanes.enter(b1, second)).toBe(true);
  expect(lanes.enter(a3, second)).toBe(false);
  expect(lanes.leave([a1], first)).toEqual([a2, a3]);
  expect(lanes.enter(a2, second)).toBe(true);
});

test("one key goes several times into one batch where its order within a call is kept, once where it is not", () => {
  const inCall = new PublishLanes<ReturnType<typeof item>>(() => false);
  const perRecord = new PublishLanes<ReturnType<typeof item>>(() => true);
  const batch = {};
  expect([inCall.enter(item("a"), batch), inCall.enter(item("a"), batch)]).toEqual([true, true]);
  expect([perRecord.enter(item("a"), batch), perRecord.enter(item("a"), batch)]).toEqual([true, false]);
});

test("nothing of a key overtakes what is parked, not even in the batch that has the lane", () => {
  let once = true;
  const lanes = new PublishLanes<ReturnType<typeof item>>(() => once);
  const batch = {};
  lanes.enter(item("a", 1), batch);
  expect(lanes.enter(item("a", 2), batch)).toBe(false);
  once = false;
  expect(lanes.enter(item("a", 3), batch)).toBe(false);
});

test("items without a key never wait", () => {
  const lanes = new PublishLanes<ReturnType<typeof item>>(() => true);
  expect([lanes.enter(item(undefined), {}), lanes.enter(item(undefined), {})]).toEqual([true, true]);
});

test("of any number of keys only some thousands are remembered, and never those that are in a call forgotten", () => {
  const lanes = new PublishLanes<ReturnType<typeof item>>(() => false);
  const [slow, fast] = [{}, {}];
  lanes.enter(item("held"), slow);
  const parked = item("held", 1);
  lanes.enter(parked, fast);
  for (let n = 0; n < 20_000; n++) {
    const one = item(`key-${n}`);
    expect(lanes.enter(one, fast)).toBe(true);
    expect(lanes.leave([one], fast)).toEqual([]);
    if (n % 1_000 === 0) expect(lanes.size).toBeLessThanOrEqual(4_100);
  }
  expect(lanes.enter(item("held", 2), fast)).toBe(false);
  expect(lanes.leave([item("held")], slow)).toEqual([parked, item("held", 2)]);
});

test("a key that was let go is free for the next call, and kept from any other", () => {
  const lanes = new PublishLanes<ReturnType<typeof item>>(() => false);
  const [first, second, third] = [{}, {}, {}];
  lanes.enter(item("a"), first);
  lanes.leave([item("a")], first);
  expect(lanes.enter(item("a"), second)).toBe(true);
  expect(lanes.leave([item("a")], first)).toEqual([]);
  expect(lanes.enter(item("a"), third)).toBe(false);
});
