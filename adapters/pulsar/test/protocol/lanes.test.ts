import { describe, expect, test } from "vitest";
import { Lanes, type Waiting } from "../../src/protocol/lanes.ts";

type By = "lane" | "key" | "none";
function lanes(by: By, more: { lanes?: number; maxMessages?: number; maxBytes?: number; ordered?: boolean } = {}): Lanes<Waiting> {
  const settings = {
    by,
    lanes: more.lanes ?? 4,
    maxMessages: by === "none" ? 1 : (more.maxMessages ?? 1_000),
    maxBytes: more.maxBytes ?? 1_000_000,
  };
  return new Lanes(settings, more.ordered ?? false);
}

function item(name: string, keyText?: string, deliverAt?: number): Waiting {
  const key = keyText === undefined ? undefined : Buffer.from(keyText);
  return { message: { payload: Buffer.from(name), properties: [], key, deliverAt }, bytes: 10 };
}

function drained(from: Lanes<Waiting>): string[][] {
  const batches: string[][] = [];
  for (let batch = from.take(); batch !== undefined; batch = from.take())
    batches.push(batch.messages.map(({ message }) => String(message.payload)));
  return batches;
}

describe("lanes", () => {
  test("a batch is taken in its turn however many come behind it, and what was taken is let go", () => {
    const all = lanes("lane", { maxMessages: 2 });
    all.add(item("first", "a lone key"));
    const before: string[] = [];
    for (let n = 0; n < 3_000; n++) {
      all.add(item(`m${n}`));
      all.add(item(`n${n}`));
      if (n % 2 === 0) before.push(...(all.take()?.messages.map(({ message }) => String(message.payload)) ?? []));
    }
    expect(before.slice(0, 3)).toEqual(["first", "m0", "n0"]);
    expect(before.length + drained(all).flat().length).toBe(6_001);
  });

  test("messages of one lane share an entry, which is dispatched by the lane's name", () => {
    const all = lanes("lane");
    for (let n = 0; n < 100; n++) all.add(item(`m${n}`, `k${n}`));
    expect(all.length).toBe(100);
    const names = new Set<string>();
    let count = 0;
    for (let batch = all.take(); batch !== undefined; batch = all.take()) {
      names.add(String(batch.orderingKey));
      count += batch.messages.length;
    }
    expect([...names].sort()).toEqual(["lane-0", "lane-1", "lane-2", "lane-3"]);
    expect([count, all.length]).toEqual([100, 0]);
  });

  test("messages without a key share entries that are dispatched anyhow", () => {
    const all = lanes("lane");
    all.add(item("a"));
    all.add(item("b"));
    expect(all.take()).toMatchObject({ orderingKey: undefined, messages: [{}, {}] });
  });

  test("by key, an entry has one key and its name", () => {
    const all = lanes("key");
    for (const [name, key] of [
      ["a", "x"],
      ["b", "y"],
      ["c", "x"],
    ] as const)
      all.add(item(name, key));
    expect(all.take()).toMatchObject({ orderingKey: undefined, partitionKey: Buffer.from("x"), messages: [{}, {}] });
    expect(drained(all)).toEqual([["b"]]);
  });

  test("limits close an entry, and so does a delay", () => {
    const few = lanes("lane", { maxMessages: 2 });
    for (const name of ["a", "b", "c"]) few.add(item(name, "k"));
    expect(drained(few)).toEqual([["a", "b"], ["c"]]);
    const small = lanes("lane", { maxBytes: 25 });
    for (const name of ["a", "b", "c"]) small.add(item(name, "k"));
    expect(drained(small)).toEqual([["a", "b"], ["c"]]);
    const late = lanes("lane");
    for (const [name, at] of [["a"], ["b", 5], ["c"]] as const) late.add(item(name, "k", at));
    expect(drained(late)).toEqual([["a"], ["b"], ["c"]]);
    const alone = lanes("none");
    for (const name of ["a", "b"]) alone.add(item(name, "k"));
    expect(drained(alone)).toEqual([["a"], ["b"]]);
  });

  test("ordered, everything keeps its place", () => {
    const one = lanes("lane", { ordered: true });
    one.add(item("a", "x"));
    one.add(item("b"));
    one.add(item("c", "y", 5));
    one.add(item("d", "x"));
    expect(drained(one)).toEqual([["a", "b"], ["c"], ["d"]]);
    const keys = lanes("key", { ordered: true });
    for (const [name, key] of [
      ["a", "x"],
      ["b", "x"],
      ["c", "y"],
      ["d", "x"],
    ] as const)
      keys.add(item(name, key));
    expect(drained(keys)).toEqual([["a", "b"], ["c"], ["d"]]);
  });
});
