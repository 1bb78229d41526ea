import { expect, test } from "vitest";
import { Backlog } from "../../src/ordering/backlog.ts";
import { DeliveryLanes } from "../../src/ordering/delivery-lanes.ts";

interface Item {
  readonly lane: string | undefined;
  readonly n: number;
  out: boolean;
  solo: boolean;
}
const item = (lane: string | undefined, n: number): Item => ({ lane, n, out: false, solo: false });
const names = (items: readonly Item[] | undefined): string[] | undefined => items?.map((one) => `${one.lane ?? "-"}${one.n}`);

test("one key's items come one at a time and in order; other keys do not wait for it", () => {
  const lanes = new DeliveryLanes<Item>();
  const all = [item("a", 1), item("a", 2), item("b", 1), item(undefined, 1)];
  for (const one of all) lanes.add(one);
  expect(names([...lanes.take(1), ...lanes.take(1), ...lanes.take(1)])).toEqual(["a1", "b1", "-1"]);
  expect(lanes.take(1)).toEqual([]);
  lanes.leave(all[0] as Item);
  expect(names(lanes.take(1))).toEqual(["a2"]);
});

test("a batch holds several of one key in order, and nothing newer of it leaves before all of them are back", () => {
  const lanes = new DeliveryLanes<Item>();
  for (const n of [1, 2, 3]) lanes.add(item("a", n));
  const batch = lanes.take(2);
  expect(names(batch)).toEqual(["a1", "a2"]);
  lanes.leave(batch[0] as Item);
  expect(lanes.available).toBe(0);
  lanes.leave(batch[0] as Item);
  expect(lanes.available).toBe(0);
  lanes.leave(batch[1] as Item);
  expect(names(lanes.take(2))).toEqual(["a3"]);
});

test("restored items go again before what is newer of their key", () => {
  const lanes = new DeliveryLanes<Item>();
  for (const n of [1, 2, 3]) lanes.add(item("a", n));
  const batch = lanes.take(2);
  lanes.restore(batch);
  expect([names(lanes.take(1)), lanes.take(1)]).toEqual([["a1"], []]);
});

test("dropped items free their lane and are never handed out", () => {
  const lanes = new DeliveryLanes<Item>();
  for (const one of [item("a", 1), item("a", 2), item("b", 1), item(undefined, 1)]) lanes.add(one);
  expect(names(lanes.drop((one) => one.n === 1))?.sort()).toEqual(["-1", "a1", "b1"]);
  expect([lanes.size, lanes.available]).toEqual([1, 1]);
  expect(names(lanes.take(5))).toEqual(["a2"]);
});

test("any sequence of steps keeps order per key, one out per key, and true counts", () => {
  for (let seed = 1; seed <= 30; seed++) {
    let state = seed;
    const random = (below: number): number => {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      return Math.floor((state / 2_147_483_648) * below);
    };
    const lanes = new DeliveryLanes<Item>();
    const out: Item[] = [];
    const last = new Map<string, number>();
    let added = 0;
    let gone = 0;
    for (let step = 0; step < 400; step++) {
      const action = random(3);
      if (action === 0) lanes.add(item(["a", "b", "c", undefined][random(4)], added++));
      else if (action === 1) {
        for (const one of lanes.take(1 + random(3))) {
          if (one.lane !== undefined) {
            expect(one.n, `seed ${seed}`).toBeGreaterThan(last.get(one.lane) ?? -1);
            last.set(one.lane, one.n);
          }
          out.push(one);
        }
      } else if (out.length > 0) {
        const [one] = out.splice(random(out.length), 1);
        lanes.leave(one as Item);
        gone++;
      }
      expect(lanes.size + out.length + gone, `seed ${seed}`).toBe(added);
      expect(lanes.available).toBeLessThanOrEqual(lanes.size);
    }
  }
});

test("a batch waits for its fill only as long as it may, and a due retry goes before anything new", () => {
  const backlog = new Backlog<Item>({ max: 3, waitMs: 100 }, () => true);
  backlog.add(item("a", 1));
  expect(backlog.take(0)).toBeUndefined();
  expect(backlog.due).toBe(100);
  const first = backlog.take(100);
  expect(names(first)).toEqual(["a1"]);
  backlog.again(first ?? [], 150);
  expect([backlog.held, backlog.due]).toEqual([1, 150]);
  for (const n of [1, 2, 3]) backlog.add(item("b", n));
  expect(names(backlog.take(160))).toEqual(["a1"]);
  expect(names(backlog.take(160))).toEqual(["b1", "b2", "b3"]);
  expect(backlog.held).toBe(0);
});

test("after a failed batch its messages go one by one, in order, and batches resume behind them", () => {
  const backlog = new Backlog<Item>({ max: 3, waitMs: 0 }, () => true);
  for (const n of [1, 2, 3, 4, 5]) backlog.add(item(undefined, n));
  backlog.split(backlog.take(0) ?? []);
  expect([backlog.take(0), backlog.take(0), backlog.take(0), backlog.take(0)].map(names)).toEqual([["-1"], ["-2"], ["-3"], ["-4", "-5"]]);
});

test("lanes that are dropped whole are forgotten, and may come again", () => {
  const lanes = new DeliveryLanes<Item>();
  const all = [item("a", 1), item("b", 1), item("a", 2), item("c", 1), item(undefined, 1)];
  for (const one of all) lanes.add(one);
  const held = lanes.take(1);
  expect(names(held)).toEqual(["a1"]);
  expect(names(lanes.drop((one) => one.lane !== "c"))?.toSorted()).toEqual(["-1", "a2", "b1"]);
  expect([lanes.size, lanes.available]).toEqual([1, 1]);
  for (const one of [item("b", 3), item("a", 3)]) lanes.add(one);
  expect(names(lanes.take(1))).toEqual(["c1"]);
  expect(names(lanes.take(1))).toEqual(["b3"]);
  expect(lanes.take(1)).toEqual([]);
  lanes.leave(held[0] as Item);
  expect(names(lanes.take(1))).toEqual(["a3"]);
});
