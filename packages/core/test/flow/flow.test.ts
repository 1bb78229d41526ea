import { expect, test } from "vitest";
import { Gate } from "../../src/flow/gate.ts";
import { Window } from "../../src/flow/window.ts";
import { VirtualClock } from "../../src/testing/virtual-clock.ts";

test("who finds the gate full waits in line, and nobody overtakes", async () => {
  const gate = new Gate(2, 100);
  const entered: string[] = [];
  expect([gate.enter(10), gate.enter(10)]).toEqual([undefined, undefined]);
  const waiting = ["c", "d"].map((name) => gate.enter(10)?.then(() => entered.push(name)));
  gate.leave(10);
  await waiting[0];
  expect(gate.enter(1)).toBeInstanceOf(Promise);
  gate.leave(10);
  await waiting[1];
  expect(entered).toEqual(["c", "d"]);
});

test("the gate is bounded in bytes too, but one item over the bound passes alone", () => {
  const gate = new Gate(10, 100);
  expect(gate.enter(500)).toBeUndefined();
  expect(gate.enter(1)).toBeInstanceOf(Promise);
});

test("the window starts at twice the concurrency and grows only while handlers run dry", async () => {
  const clock = new VirtualClock();
  const window = new Window(clock, 4);
  expect(window.room(0, 0, 0, false)).toBe(8);
  expect(window.room(8, 8, 0, false)).toBe(0);
  for (let round = 0; round < 20; round++) {
    window.handled(500);
    await clock.advance(25);
    window.arrived(true, true);
  }
  expect(window.room(0, 0, 0, false)).toBe(10_000);
});

test("the window grows by answers that are not full, too, where handlers were idle and nothing more could be asked for", async () => {
  const clock = new VirtualClock();
  const window = new Window(clock, 4);
  const round = async (idle: boolean): Promise<number> => {
    window.handled(500);
    await clock.advance(25);
    expect(window.room(16, 16, 0, idle)).toBe(0);
    window.arrived(true, false);
    return window.room(0, 0, 0, false);
  };
  expect([await round(false), await round(true), await round(false)]).toEqual([8, 16, 16]);
  // Half of it is free: more could have been asked for.
  expect(window.room(8, 8, 0, true)).toBe(8);
  window.arrived(true, false);
  expect(window.room(0, 0, 0, false)).toBe(16);
});

test("the window never owns more than half a second of measured work", async () => {
  const clock = new VirtualClock();
  const window = new Window(clock, 1);
  for (let round = 0; round < 20; round++) {
    window.handled(1);
    await clock.advance(100);
    window.arrived(true, true);
  }
  expect(window.room(0, 0, 0, false)).toBeLessThanOrEqual(5);
});

test("nothing more is asked for while the owned bytes are over the bound", () => {
  expect(new Window(new VirtualClock(), 100).room(1, 1, 33 * 2 ** 20, false)).toBe(0);
});
