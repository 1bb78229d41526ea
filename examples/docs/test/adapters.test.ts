import { connect } from "brokerkit";
import { expect, onTestFinished, test, vi } from "vitest";
import { onMemory } from "../adapters.ts";

test("what memory's README shows", async () => {
  const { own, shared, like, adapter } = onMemory;
  const again = await connect("memory:orders");
  const [one, two] = [await connect(adapter), await connect(adapter)];
  onTestFinished(async () => {
    for (const broker of [own, shared, like, again, one, two]) await broker.close();
  });
  const seen = vi.fn();
  for (const [from, to] of [
    [shared, again],
    [one, two],
  ] as const) {
    await to.topic("t").subscribe({ broadcast: true }, ({ payload }) => seen(payload));
    await from.topic("t").publish("met");
  }
  await vi.waitFor(() => expect(seen.mock.calls).toEqual([["met"], ["met"]]));
  expect(own.capabilities.dedupe.windowMs).toBe(5_000);
  expect(like.capabilities.retention.compact).toBe(false);
  expect(one.capabilities.lease.ms).toBe(2_000);
});
