import { expect, it } from "vitest";
import { TimeoutError, until } from "../src/faults/index.ts";

it("resolves with what the condition gave, once it is truthy", async () => {
  let looks = 0;
  expect(await until(() => (++looks === 3 ? "done" : undefined), { timeoutMs: 1_000, everyMs: 1, what: "three looks" })).toBe("done");
  expect(looks).toBe(3);
});

it("says what it waited for and what it last saw", async () => {
  await expect(until(() => 0, { timeoutMs: 20, what: "a count", detail: () => "of sheep" })).rejects.toThrow(
    new TimeoutError("waited 20 ms for a count; at last it was 0\nof sheep"),
  );
  const throws = (): never => {
    throw new RangeError("too far");
  };
  await expect(until(throws, { timeoutMs: 20, what: "peace" })).rejects.toThrow(
    "waited 20 ms for peace; at last it threw RangeError: too far",
  );
});

it("takes a look that throws for a no", async () => {
  let looks = 0;
  const shy = (): boolean => {
    if (++looks < 3) throw new Error("not yet");
    return true;
  };
  await expect(until(shy, { timeoutMs: 1_000, everyMs: 1, what: "courage" })).resolves.toBe(true);
});

it("gives up on a look that never ends", async () => {
  await expect(until(() => new Promise(() => undefined), { timeoutMs: 20, what: "Godot" })).rejects.toThrow(
    "waited 20 ms for Godot; at last it was never looked at",
  );
});

it("ends with the reason of its signal", async () => {
  const reason = new Error("the broker died");
  await expect(until(() => false, { timeoutMs: 5_000, what: "x", signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  const late = new AbortController();
  const waiting = until(() => false, { timeoutMs: 5_000, what: "x", signal: late.signal });
  late.abort(reason);
  await expect(waiting).rejects.toBe(reason);
});
