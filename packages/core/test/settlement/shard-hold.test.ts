import { expect, test } from "vitest";
import { ShardHold } from "../../src/settlement/shard-hold.ts";

test("a shard at its bound pauses alone, and goes on at half of it", () => {
  const said: string[] = [];
  const hold = new ShardHold(
    4,
    (shard) => said.push(`pause ${shard}`),
    (shard) => said.push(`resume ${shard}`),
  );
  for (let n = 0; n < 6; n++) hold.added("a");
  for (let n = 0; n < 3; n++) hold.added("b");
  expect([said, hold.paused]).toEqual([["pause a"], 1]);
  for (let n = 0; n < 3; n++) hold.removed("a");
  expect(said).toEqual(["pause a"]);
  hold.removed("a");
  expect([said, hold.paused]).toEqual([["pause a", "resume a"], 0]);
});
