import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { VirtualClock } from "../../src/testing/virtual-clock.ts";

test("time stands still until it is advanced", async () => {
  const clock = new VirtualClock();
  const start = clock.now();
  expect(new Date(start).toISOString()).toBe("2026-01-01T00:00:00.000Z");
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect([clock.now(), clock.monotonic()]).toEqual([start, 0]);
  await clock.advance(1_500);
  expect([clock.now(), clock.monotonic()]).toEqual([start + 1_500, 1_500]);
});

test("timers fire in order of time, then of making, each at its own time", async () => {
  const clock = new VirtualClock();
  const fired: [string, number][] = [];
  const mark = (name: string) => (): void => void fired.push([name, clock.monotonic()]);
  clock.timer(30, mark("c"));
  clock.timer(10, mark("a1"));
  clock.timer(20, mark("b"));
  clock.timer(10, mark("a2"));
  clock.timer(31, mark("late"));
  clock.timer(-1, mark("now"));
  await clock.advance(30);
  expect(fired).toEqual([
    ["now", 0],
    ["a1", 10],
    ["a2", 10],
    ["b", 20],
    ["c", 30],
  ]);
});

test("what a timer sets going settles before the next fires, file access included, and new timers take their turn", async () => {
  const clock = new VirtualClock();
  const seen: string[] = [];
  clock.timer(10, () => {
    void (async () => {
      for (let n = 0; n < 20; n++) await Promise.resolve();
      seen.push(`first at ${clock.monotonic()}`);
      clock.timer(5, () => seen.push(`nested at ${clock.monotonic()}`));
    })();
  });
  clock.timer(20, () => seen.push(`second at ${clock.monotonic()}`));
  await clock.advance(20);
  expect(seen).toEqual(["first at 10", "nested at 15", "second at 20"]);
  const read = readFile(new URL(import.meta.url), "utf8");
  await clock.advance(0);
  expect(await read).toContain("file access included");
});

test("a cancelled timer does not fire, and cancelling twice or afterwards does nothing", async () => {
  const clock = new VirtualClock();
  let fired = 0;
  const timers = [1, 1, 1].map((ms) => clock.timer(ms, () => fired++));
  timers[1]?.cancel();
  timers[1]?.cancel();
  await clock.advance(1);
  timers[0]?.cancel();
  expect(fired).toBe(2);
});

test("calls to advance queue up", async () => {
  const clock = new VirtualClock();
  const times: number[] = [];
  clock.timer(15, () => times.push(clock.monotonic()));
  await Promise.all([clock.advance(10), clock.advance(10)]);
  expect([times, clock.monotonic()]).toEqual([[15], 20]);
});

test.each([-1, Number.NaN, Number.POSITIVE_INFINITY])("time does not move by %d", (ms) => {
  expect(() => new VirtualClock().advance(ms)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
});
