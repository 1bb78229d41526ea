import { expect, test } from "vitest";
import { backoffMs } from "../../src/retry/backoff.ts";
import { RetryPolicy } from "../../src/retry/policy.ts";

const FREE = { maxMs: Number.POSITIVE_INFINITY, maxUnacked: Number.POSITIVE_INFINITY };
const failed = (over: object = {}) => ({ error: new Error("x"), failures: 1, delayMs: undefined, heldMs: 0, held: 1, ...over });

test("backoff doubles up to its cap, and full jitter stays within each step", () => {
  const backoff = { initial: 200, factor: 2, max: 1_000 };
  expect([1, 2, 3, 4, 5].map((failures) => backoffMs(backoff, failures, "none"))).toEqual([200, 400, 800, 1_000, 1_000]);
  for (let n = 0; n < 200; n++) {
    const wait = backoffMs(backoff, 3, "full");
    expect(wait).toBeGreaterThanOrEqual(0);
    expect(wait).toBeLessThanOrEqual(800);
  }
});

test("attempts: 3 is three handler runs, then the dead letter", () => {
  const policy = new RetryPolicy({ attempts: 3, jitter: "none" }, FREE);
  expect([1, 2, 3].map((failures) => policy.decide(failed({ failures })))).toEqual([
    { do: "again", delayMs: 200 },
    { do: "again", delayMs: 400 },
    { do: "dead-letter", reason: "attempts" },
  ]);
});

test("a delay that the handler asked for replaces the backoff", () => {
  expect(new RetryPolicy({}, FREE).decide(failed({ delayMs: 7 }))).toEqual({ do: "again", delayMs: 7 });
});

test("retryIf: no further attempt for what it refuses, nor when it throws", () => {
  const refuses = new RetryPolicy({ retryIf: () => false }, FREE);
  const throws = new RetryPolicy({ retryIf: () => JSON.parse("{") as boolean }, FREE);
  expect([refuses.decide(failed()), throws.decide(failed())]).toEqual([
    { do: "dead-letter", reason: "not-retryable" },
    { do: "dead-letter", reason: "not-retryable" },
  ]);
});

test("holding ends at the backend's bound, in time and in number, by dead letter or by requeue", () => {
  const bound = { maxMs: 1_000, maxUnacked: 10 };
  const keep = new RetryPolicy({ jitter: "none" }, bound);
  // biome-ignore lint/suspicious/noThenProperty: the name of an option
  const move = new RetryPolicy({ jitter: "none", then: "requeue" }, bound);
  expect(keep.decide(failed({ heldMs: 800 }))).toEqual({ do: "again", delayMs: 200 });
  expect(keep.decide(failed({ heldMs: 801 }))).toEqual({ do: "dead-letter", reason: "held-too-long" });
  expect(keep.decide(failed({ held: 11 }))).toEqual({ do: "dead-letter", reason: "held-too-long" });
  expect(move.decide(failed({ held: 11 }))).toEqual({ do: "requeue", delayMs: 200 });
});

test("requeue mode never holds", () => {
  expect(new RetryPolicy({ mode: "requeue", jitter: "none" }, FREE).decide(failed())).toEqual({ do: "requeue", delayMs: 200 });
});
