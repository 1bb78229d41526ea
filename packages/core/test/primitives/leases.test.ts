import { expect, test } from "vitest";
import type { SettleResult } from "../../src/driver/wire.ts";
import { Leases } from "../../src/primitives/leases.ts";
import { VirtualClock } from "../../src/testing/virtual-clock.ts";

interface Item {
  leaseUntil: number;
}

function setUp(answer: () => Promise<SettleResult>) {
  const clock = new VirtualClock();
  const owned: Item[] = [{ leaseUntil: 1_000 }];
  const expired: number[] = [];
  let extended = 0;
  const leases = new Leases<Item>({
    clock,
    leaseMs: 1_000,
    owned: () => [...owned],
    extend: async (items) => {
      extended++;
      const result = await answer();
      return items.map(() => result);
    },
    expired: (items) => {
      for (const item of items) owned.splice(owned.indexOf(item), 1);
      expired.push(clock.monotonic());
    },
  });
  leases.watch();
  return { clock, owned, expired, leases, extended: () => extended };
}

test("what is owned stays owned for many times its lease", async () => {
  const { clock, expired, owned, extended } = setUp(async () => "confirmed");
  await clock.advance(20_000);
  expect(expired).toEqual([]);
  expect(owned[0]?.leaseUntil).toBeGreaterThan(20_000);
  expect(extended()).toBeLessThanOrEqual(80);
});

test("where extending fails, the fence falls at the deadline, not before and not much later", async () => {
  const { clock, expired } = setUp(async () => {
    throw new Error("cut");
  });
  await clock.advance(999);
  expect(expired).toEqual([]);
  await clock.advance(2);
  expect(expired).toHaveLength(1);
});

test("what the server says is somebody else's is given up at once", async () => {
  const { clock, expired } = setUp(async () => "lost");
  await clock.advance(500);
  expect(expired).toHaveLength(1);
});
