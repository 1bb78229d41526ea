import { describe, expect, it } from "vitest";
import { assign, type Claimant } from "../src/protocol/assignor.ts";
import type { Assigned } from "../src/protocol/membership.ts";

const keyOf = ({ topic, partition }: Assigned): string => `${topic}:${partition}`;

/** A deterministic source of whole numbers below a bound. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function claimant(id: string, topics: readonly string[], owned: readonly Assigned[] = [], generation = 1): Claimant {
  return { id, name: id, topics, owned, generation };
}

/** Members that do as they are told and join again while anything moved. Resolves to how many rounds it took. */
function settle(members: Map<string, Claimant>, partitions: ReadonlyMap<string, number>): number {
  for (let round = 1; ; round++) {
    const given = assign([...members.values()], partitions);
    const owners = new Map([...members.values()].flatMap(({ id, owned }) => owned.map((one) => [keyOf(one), id] as const)));
    let moved = false;
    for (const [id, list] of given) {
      for (const one of list) {
        const owner = owners.get(keyOf(one));
        if (owner !== undefined && owner !== id) throw new Error(`${keyOf(one)} was given to ${id} while ${owner} had it`);
      }
      const member = members.get(id) as Claimant;
      const keeps = new Set(list.map(keyOf));
      moved ||= member.owned.some((one) => !keeps.has(keyOf(one)));
      members.set(id, { ...member, owned: list, generation: member.generation + 1 });
    }
    if (!moved) return round;
    if (round > 3) throw new Error("it does not settle");
  }
}

describe("the assignor", () => {
  it("shares every topic out evenly, and all of them together", () => {
    const topics = ["orders", "orders.billing.retry", "single"];
    const given = assign(
      ["a", "b", "c"].map((id) => claimant(id, topics)),
      new Map([
        ["orders", 7],
        ["orders.billing.retry", 7],
        ["single", 1],
      ]),
    );
    for (const topic of topics.slice(0, 2)) {
      expect([...given.values()].map((list) => list.filter((one) => one.topic === topic).length).sort()).toEqual([2, 2, 3]);
    }
    expect([...given.values()].map(({ length }) => length)).toEqual([5, 5, 5]);
  });

  it("gives nobody what another member says it has, whatever its generation", () => {
    const mine = [0, 1, 2, 3].map((partition) => ({ topic: "t", partition }));
    const given = assign([claimant("a", ["t"], mine, 3), claimant("b", ["t"], [], 4)], new Map([["t", 4]]));
    expect(given.get("a")).toEqual(mine.slice(0, 2));
    expect(given.get("b")).toEqual([]);
  });

  it("believes the later generation where two claim one partition, and takes it from the other", () => {
    const both = [{ topic: "t", partition: 0 }];
    const given = assign([claimant("a", ["t"], both, 3), claimant("b", ["t"], both, 4)], new Map([["t", 1]]));
    expect([given.get("a"), given.get("b")]).toEqual([[], both]);
  });

  it("gives topics only to those who want them", () => {
    const given = assign(
      [claimant("a", ["t"]), claimant("b", ["u"]), claimant("c", [])],
      new Map([
        ["t", 2],
        ["u", 1],
        ["v", 1],
      ]),
    );
    expect([...given.values()].map((list) => list.map(keyOf))).toEqual([["t:0", "t:1"], ["u:0"], []]);
  });

  it("settles in two rounds through any changes, evenly, and then moves nothing", () => {
    const below = numbers(7);
    const topics = ["t", "t.g.retry", "u"];
    const partitions = new Map(topics.map((topic) => [topic, 1 + below(12)]));
    const members = new Map<string, Claimant>();
    for (let step = 0; step < 300; step++) {
      const what = below(3);
      const ids = [...members.keys()];
      if (what === 0 || ids.length === 0) members.set(`m${step}`, claimant(`m${step}`, topics, [], -1));
      else if (what === 1) members.delete(ids[below(ids.length)] as string);
      else partitions.set(topics[below(3)] as string, 1 + below(12));
      if (members.size === 0) continue;
      expect(settle(members, partitions)).toBeLessThanOrEqual(2);
      const owned = [...members.values()].map((member) => member.owned.length);
      expect(Math.max(...owned) - Math.min(...owned)).toBeLessThanOrEqual(1);
      expect(owned.reduce((sum, count) => sum + count, 0)).toBe([...partitions.values()].reduce((sum, count) => sum + count, 0));
      const before = new Map([...members].map(([id, { owned: list }]) => [id, list]));
      expect(settle(members, partitions)).toBe(1);
      for (const [id, list] of before) expect(members.get(id)?.owned.map(keyOf).sort()).toEqual(list.map(keyOf).sort());
    }
  });

  it("moves no more than it must when a member joins", () => {
    const members = new Map(["a", "b", "c"].map((id) => [id, claimant(id, ["t"])]));
    settle(members, new Map([["t", 12]]));
    const before = new Map([...members.values()].flatMap(({ id, owned }) => owned.map((one) => [keyOf(one), id] as const)));
    members.set("d", claimant("d", ["t"], [], -1));
    settle(members, new Map([["t", 12]]));
    const moved = [...members.values()].flatMap(({ id, owned }) => owned.filter((one) => before.get(keyOf(one)) !== id));
    expect(moved).toHaveLength(3);
  });
});
