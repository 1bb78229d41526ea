import { describe, expect, test } from "vitest";
import { Flow } from "../../src/protocol/flow.ts";

function flowing(credit: number, share = 1): { readonly flow: Flow; readonly granted: number[] } {
  const granted: number[] = [];
  const flow = new Flow(credit, share, (permits) => granted.push(permits));
  return { flow, granted };
}

describe("flow", () => {
  test("asks for few entries first, and for the whole credit once it knows how large they are", () => {
    const { flow, granted } = flowing(1_000);
    flow.run(true);
    expect(granted).toEqual([8]);
    flow.received(1, 1, 100);
    expect(granted).toEqual([8, 992]);
  });

  test("counts full batches as what they are", () => {
    const { flow, granted } = flowing(1_000);
    flow.run(true);
    flow.received(100, 100, 10_000);
    // The broker is 92 in the red; there is room for nine entries.
    expect(granted).toEqual([8, 101]);
  });

  test("asks again once half of it is used, not before there is room", () => {
    const { flow, granted } = flowing(10);
    flow.run(true);
    for (let n = 0; n < 8; n++) flow.received(1, 1, 10);
    const given = granted.reduce((sum, one) => sum + one, 0);
    expect(given).toBeLessThanOrEqual(10);
    flow.handedOut(8);
    flow.refill();
    expect(granted.reduce((sum, one) => sum + one, 0)).toBe(18);
  });

  test("holds back where messages are large, but never for good", () => {
    const { flow, granted } = flowing(1_000);
    flow.run(true);
    flow.received(1, 1, 8 * 1_048_576);
    expect(granted).toEqual([8]);
    for (let n = 0; n < 7; n++) flow.received(1, 1, 8 * 1_048_576);
    expect(granted).toEqual([8]);
    flow.handedOut(8);
    flow.refill();
    expect(granted).toEqual([8, 4]);
    const huge = flowing(1_000, 0.01);
    huge.flow.run(true);
    huge.flow.received(8, 0, 40_000_000);
    expect(huge.granted).toEqual([8, 1]);
  });

  test("asks again when what waits is void", () => {
    const { flow, granted } = flowing(8);
    flow.run(true);
    for (let n = 0; n < 8; n++) flow.received(1, 1, 1);
    expect(granted).toEqual([8]);
    flow.dropped();
    expect(granted).toEqual([8, 8]);
  });

  test("grants nothing while it is paused", () => {
    const { flow, granted } = flowing(10);
    flow.refill();
    expect(granted).toEqual([]);
    flow.run(true);
    flow.run(false);
    for (let n = 0; n < 8; n++) flow.received(1, 0, 1);
    expect(granted).toEqual([8]);
    flow.run(true);
    expect(granted).toEqual([8, 10]);
  });
});
