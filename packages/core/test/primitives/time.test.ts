import { expect, test } from "vitest";
import type { Clock, Timer } from "../../src/driver/adapter.ts";
import { timeoutSignal } from "../../src/primitives/abort.ts";
import { systemClock } from "../../src/primitives/clock.ts";
import { nearest } from "../../src/primitives/nearest.ts";

class ManualClock implements Clock {
  readonly timers = new Set<() => void>();
  now = (): number => 0;
  monotonic = (): number => 0;
  timer(_ms: number, run: () => void): Timer {
    this.timers.add(run);
    return { cancel: () => void this.timers.delete(run) };
  }
  fire(): void {
    for (const run of this.timers) run();
  }
}

test("the system clock tells wall time, and monotonic time that only grows", () => {
  expect(Math.abs(systemClock.now() - Date.now())).toBeLessThan(1_000);
  const first = systemClock.monotonic();
  expect(systemClock.monotonic()).toBeGreaterThanOrEqual(first);
});

test("a timer of the system clock runs once, and not after it was cancelled", async () => {
  const runs: string[] = [];
  const cancelled = systemClock.timer(1, () => runs.push("cancelled"));
  cancelled.cancel();
  cancelled.cancel();
  const keepAlive = setTimeout(() => {}, 5_000);
  await new Promise<void>((resolve) => {
    systemClock.timer(-5, () => runs.push("at once"));
    systemClock.timer(5, () => {
      runs.push("later");
      resolve();
    });
  });
  clearTimeout(keepAlive);
  expect(runs).toEqual(["at once", "later"]);
});

test("a timer beyond the longest that setTimeout can hold does not fire at once", async () => {
  let fired = false;
  const timers = [2 ** 31, Number.POSITIVE_INFINITY].map((ms) => systemClock.timer(ms, () => (fired = true)));
  await new Promise((resolve) => setTimeout(resolve, 10));
  for (const timer of timers) timer.cancel();
  expect(fired).toBe(false);
});

test("a bound signal aborts at its time with a TimeoutError, and lets its parent go", () => {
  const clock = new ManualClock();
  const parent = new AbortController();
  const bound = timeoutSignal(clock, 5, parent.signal);
  clock.fire();
  expect(bound.signal.reason).toMatchObject({ name: "TimeoutError" });
  parent.abort(new Error("later"));
  expect(bound.signal.reason).toMatchObject({ name: "TimeoutError" });
  expect(clock.timers.size).toBe(0);
});

test("a bound signal aborts with its parent and its reason, also one that has aborted before", () => {
  const clock = new ManualClock();
  const parent = new AbortController();
  const bound = timeoutSignal(clock, 5, parent.signal);
  parent.abort("gone");
  expect(bound.signal.reason).toBe("gone");
  expect(timeoutSignal(clock, 5, parent.signal).signal.reason).toBe("gone");
  expect(clock.timers.size).toBe(0);
});

test("after done a bound signal never aborts and holds nothing", () => {
  const clock = new ManualClock();
  const parent = new AbortController();
  const bound = timeoutSignal(clock, 5, parent.signal);
  const endless = timeoutSignal(clock, Number.POSITIVE_INFINITY, parent.signal);
  expect(clock.timers.size).toBe(1);
  bound.done();
  endless.done();
  expect(clock.timers.size).toBe(0);
  parent.abort();
  expect([bound.signal.aborted, endless.signal.aborted]).toEqual([false, false]);
});

test.each([
  ["memroy", "memory"],
  ["sqllite", "sqlite"],
  ["mem", undefined],
  ["postgres", undefined],
  ["", undefined],
])("the nearest word to %j is %j", (word, expected) => {
  expect(nearest(word, ["memory", "sqlite", "x-plus-y"])).toBe(expected);
});
