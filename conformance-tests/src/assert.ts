import { inspect, isDeepStrictEqual } from "node:util";
import { type BrokerError, type ErrorCode, isBrokerError } from "brokerkit";

/** A property that did not hold. The suite brings its own assertions, so that it runs under any test runner. */
export class AssertionFailed extends Error {
  override readonly name = "AssertionFailed";
}

const show = (value: unknown): string => inspect(value, { depth: 6, breakLength: 120, maxArrayLength: 20, maxStringLength: 400 });

export function fail(what: string): never {
  throw new AssertionFailed(what);
}

export function check(condition: boolean, what: string | (() => string)): asserts condition {
  if (!condition) fail(typeof what === "string" ? what : what());
}

export function equal<T>(actual: T, expected: T, what: string): void {
  if (!isDeepStrictEqual(actual, expected)) fail(`${what}: expected ${show(expected)}, got ${show(actual)}`);
}

export function between(actual: number, low: number, high: number, what: string): void {
  if (!(actual >= low && actual <= high)) fail(`${what}: expected ${low} … ${high}, got ${actual}`);
}

export function defined<T>(value: T | undefined | null, what: string): T {
  if (value === undefined || value === null) fail(`${what}: expected a value, got ${value}`);
  return value;
}

/** Narrows `error` to a BrokerError of one of `codes`, or fails with the whole error. */
export function isError<C extends ErrorCode>(error: unknown, codes: readonly C[], what: string): BrokerError<C> {
  if (isBrokerError(error, ...codes)) return error;
  fail(`${what}: expected a BrokerError ${codes.join(" or ")}, got ${show(error)}`);
}

/** Waits for a rejection with one of `codes` and returns the error. */
export async function rejects<C extends ErrorCode>(
  promise: Promise<unknown>,
  codes: C | readonly C[],
  what: string,
): Promise<BrokerError<C>> {
  const list: readonly C[] = typeof codes === "string" ? [codes] : codes;
  const result = await outcome(promise);
  if (result.ok) fail(`${what}: expected a rejection with ${list.join(" or ")}, but it resolved to ${show(result.value)}`);
  return isError(result.error, list, what);
}

/** The same for a call that may throw at once or reject. */
export async function refuses<C extends ErrorCode>(call: () => unknown, codes: C | readonly C[], what: string): Promise<BrokerError<C>> {
  return await rejects((async (): Promise<unknown> => await call())(), codes, what);
}

export type Outcome<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: unknown };

export async function outcome<T>(promise: Promise<T>): Promise<Outcome<T>> {
  try {
    return { ok: true, value: await promise };
  } catch (error) {
    return { ok: false, error };
  }
}

/** Every value once and none else, in any order: duplicates and strangers are named. Nothing is deduplicated before judging. */
export function eachOnce(actual: readonly string[], expected: readonly string[], what: string): void {
  const seen = new Map<string, number>();
  for (const value of actual) seen.set(value, (seen.get(value) ?? 0) + 1);
  const wanted = new Set(expected);
  const missing = expected.filter((value) => !seen.has(value));
  const strange = [...seen.keys()].filter((value) => !wanted.has(value));
  const twice = [...seen].filter(([, times]) => times > 1).map(([value, times]) => `${value} ×${times}`);
  if (missing.length + strange.length + twice.length === 0) return;
  fail(
    `${what}: missing ${missing.length} ${show(missing.slice(0, 5))}, unexpected ${show(strange.slice(0, 5))}, repeated ${show(twice.slice(0, 5))}`,
  );
}

/** Every value at least once and none else; returns how many came again. */
export function eachAtLeastOnce(actual: readonly string[], expected: readonly string[], what: string): number {
  const seen = new Set(actual);
  const wanted = new Set(expected);
  const missing = expected.filter((value) => !seen.has(value));
  const strange = [...seen].filter((value) => !wanted.has(value));
  if (missing.length + strange.length > 0) {
    fail(`${what}: missing ${missing.length} ${show(missing.slice(0, 5))}, unexpected ${show(strange.slice(0, 5))}`);
  }
  return actual.length - seen.size;
}
