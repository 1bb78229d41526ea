import { expect, test } from "vitest";
import { Backlog } from "../../src/ordering/backlog.ts";

const item = (n: number) => ({ n, lane: undefined, out: false, solo: false, gone: false });

test("what waits for its next attempt is forgotten once it is no longer ours, and counts as held no longer", () => {
  const backlog = new Backlog<ReturnType<typeof item>>(undefined, (one) => !one.gone);
  const items = [item(1), item(2), item(3)];
  for (const one of items) backlog.add(one);
  for (const [n, one] of items.entries()) {
    expect(backlog.take(0)).toEqual([one]);
    backlog.again([one], 1_000 + n);
  }
  for (const one of items.slice(0, 2)) one.gone = true;
  backlog.forget((one) => one.gone);
  expect([backlog.held, backlog.due]).toEqual([1, 1_002]);
  expect(backlog.take(2_000)).toEqual([items[2]]);
  expect([backlog.held, backlog.due]).toEqual([0, Number.POSITIVE_INFINITY]);
});
