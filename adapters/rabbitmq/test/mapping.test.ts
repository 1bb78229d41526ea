import { expect, test } from "vitest";
import { delayOf, delays, exchangeOf, groupsOf, lockOf, logOf, queueOf, registerOf, roundedDelay } from "../src/mapping.ts";

test("no two names meet, and none begins as the server's own do", () => {
  const topics = ["a", "a.b", "amq.a", "a.log", "a.b.c"];
  const groups = ["b", "c", "log", "delay"];
  const queues = topics.flatMap((topic) => [
    logOf(topic),
    groupsOf(topic),
    delayOf(topic, undefined, 16),
    ...groups.flatMap((group) => [queueOf(topic, group), delayOf(topic, group, 16)]),
  ]);
  // "a.b" with group "c" and "a" with a group "b.c" would meet; groups have no dots.
  expect(new Set(queues).size).toBe(queues.length);
  expect(new Set(topics.map(exchangeOf)).size).toBe(topics.length);
  expect([...queues, ...topics.map(exchangeOf)].filter((name) => name.startsWith("amq."))).toEqual([]);
});

test("a name too long for AMQP is refused; that of a register is shortened without meeting another", () => {
  expect(() => queueOf("t".repeat(200), "g".repeat(80))).toThrow(/281 characters.*255/);
  const names = ["", "a", "a/b", `${"x".repeat(399)}a`, `${"x".repeat(399)}b`].map(registerOf);
  expect(new Set(names).size).toBe(names.length);
  for (const name of names) expect(lockOf(name).length).toBeLessThanOrEqual(255);
});

test("delays are rounded up, by an eighth at the most, to one of few", () => {
  expect([1, 16, 17, 129, 1_000, 60_000].map(roundedDelay)).toEqual([16, 16, 32, 144, 1_024, 61_440]);
  const all = delays(30 * 86_400_000);
  expect(all.length).toBeLessThan(220);
  for (let ms = 1; ms < 30 * 86_400_000; ms = Math.ceil(ms * 1.07) + 1) {
    const rounded = roundedDelay(ms);
    expect(rounded).toBeGreaterThanOrEqual(ms);
    expect(rounded).toBeLessThanOrEqual(Math.max(ms + 16, ms * 1.125));
    expect(all).toContain(rounded);
    expect(roundedDelay(rounded)).toBe(rounded);
  }
});
