import { fail } from "./assert.ts";

export function now(): number {
  return performance.now();
}

/** Lets `ms` pass. Only to make time itself the condition: a lease that must run out, a silence that must be kept. */
export async function pass(ms: number): Promise<void> {
  await new Promise<void>((resolve) => {
    setTimeout(resolve, ms);
  });
}

/** Polls until `condition` holds; fails with `what` (and what it last saw) after `ms`. */
export async function until(condition: () => boolean | Promise<boolean>, what: string | (() => string), ms = 15_000): Promise<void> {
  const deadline = now() + ms;
  while (!(await condition())) {
    if (now() > deadline) fail(`Waited ${ms} ms in vain: ${typeof what === "string" ? what : what()}`);
    await pass(5);
  }
}

/** `promise`, or a failure after `ms`: no promise may hang. */
export async function within<T>(promise: Promise<T>, ms: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      try {
        fail(`Not settled within ${ms} ms: ${what}`);
      } catch (error) {
        reject(error as Error);
      }
    }, ms);
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
