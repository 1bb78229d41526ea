import type { Place } from "brokerkit/driver";
import { expect, test } from "vitest";
import { lossesUpTo } from "../../../src/protocol/reading/replay.ts";

test("losses that begin at an end or behind it are nobody's; those before it, and where there is no end, are told", () => {
  const told: unknown[] = [];
  const ends = new Map([[0, { ledger: 5, entry: 7, index: 2 }]]);
  const { dataLoss } = lossesUpTo(ends, { dataLoss: (...loss) => void told.push(loss.slice(0, 2)) });
  const losses = [
    ["0", "0:5.7.1"],
    ["0", "0:5.7.2"],
    ["0", "0:5.8"],
    ["0", "0:6.0"],
    ["0", undefined],
    ["1", "1:9.0"],
  ] as const;
  for (const [shard, from] of losses) dataLoss(shard, from as Place | undefined, undefined, undefined);
  expect(told).toEqual([losses[0], losses[4], losses[5]]);
});
