import { AssertionFailed, between, fail } from "./assert.ts";
import { ranFor } from "./stillness.ts";

export function now(): number {
  return performance.now();
}

/** Lets `ms` pass. Only to make time itself the condition: a lease that must run out, a silence that must be kept. */
export async function pass(ms: number): Promise<void> {
  await new Promise<void>((resolve) => {
    setTimeout(resolve, ms);
  });
}

/** Checks a time in ms from `began` on: the clock's is no less than `low`, and that in which this process ran no more than `high`. */
export function took(began: number, low: number, high: number, what: string, ended: number = now()): void {
  const ms = ended - began;
  between(ms < low ? ms : Math.max(low, ranFor(began, ended)), low, high, what);
}

/** Polls until `condition` holds; fails with `what` (and what it last saw) after `ms`. */
export async function until(condition: () => boolean | Promise<boolean>, what: string | (() => string), ms = 30_000): Promise<void> {
  const began = now();
  while (!(await condition())) {
    if (ranFor(began) > ms) fail(`Waited ${ms} ms in vain: ${typeof what === "string" ? what : what()}`);
    await pass(5);
  }
}

/** `promise`, or a failure after `ms`: no promise may hang. */
export async function within<T>(promise: Promise<T>, ms: number, what: string): Promise<T> {
  const began = now();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const look = (): void => {
      const left = ms - ranFor(began);
      // A timer may fire a little early.
      if (left > 1) timer = setTimeout(look, left);
      else reject(new AssertionFailed(`Not settled within ${ms} ms: ${what}`));
    };
    timer = setTimeout(look, ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export interface Gate {
  readonly opened: Promise<void>;
  open(): void;
}

/** A promise to be opened by hand: holds a handler until the case has seen what it wanted to see. */
export function gate(): Gate {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { opened: promise, open: resolve };
}
