import { parsePosition } from "brokerkit";
import { expect, test, vi } from "vitest";
import { capabilities, groupOrBroadcast, positions, tombstones } from "../concepts.ts";
import { orders } from "../contracts.ts";
import { onMemory } from "./start.ts";

const at = "2026-01-01T00:00:00Z";

test("a group shares, a second group and a broadcast subscriber get everything", async () => {
  const broker = await onMemory();
  const seen = new Map<string, number[]>();
  await groupOrBroadcast(broker, (who, id) => seen.set(who, [...(seen.get(who) ?? []), id]));
  await broker.topic(orders).publishAll([1, 2, 3, 4].map((id) => ({ payload: { id, customer: `c${id}`, at } })));
  const billing = (): number[] => [...(seen.get("billing, member 1") ?? []), ...(seen.get("billing, member 2") ?? [])];
  await vi.waitFor(() => {
    expect(billing().toSorted()).toEqual([1, 2, 3, 4]);
    expect(seen.get("shipping")).toEqual([1, 2, 3, 4]);
    expect(seen.get("dashboard")).toEqual([1, 2, 3, 4]);
  });
});

test("positions compare, and are texts that can be saved", async () => {
  const broker = await onMemory();
  await broker.topic(orders).publish({ id: 1, customer: "ada", at });
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  const { before, end, order } = await positions(broker);
  expect(log).toHaveBeenCalledWith("0:0", 1);
  expect(order).toBe(-1);
  expect(parsePosition(String(end))).toBe(end);
  expect(before).not.toBe(end);
});

test("capabilities are data, and supports() narrows", async () => {
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  expect(capabilities(await onMemory())).toBe("function");
  expect(log.mock.calls).toEqual([["memory"], [16 * 2 ** 20], ["portable"]]);
});

test("a tombstone is told apart from a payload", async () => {
  expect(await tombstones(await onMemory())).toEqual(['apples: {"left":3}', "apples: gone"]);
});
