import { type Deferred, deferred } from "./deferred.ts";

const attached = new WeakMap<Promise<unknown>, Set<Deferred<void>>>();
const NOTHING = { promise: undefined, detach: (): void => {} };

/**
 * Follows a promise that may stay pending for long: `promise` settles as it does, and after `detach` nothing of whoever waited is kept
 * alive by it. (What awaits a promise itself is kept until that settles.)
 */
export function detachable(followed: Promise<unknown> | undefined): { readonly promise: Promise<void> | undefined; detach(): void } {
  if (followed === undefined) return NOTHING;
  const all = attached.get(followed) ?? attach(followed);
  const mine = deferred<void>();
  all.add(mine);
  return { promise: mine.promise, detach: () => void all.delete(mine) };
}

function attach(followed: Promise<unknown>): Set<Deferred<void>> {
  const all = new Set<Deferred<void>>();
  attached.set(followed, all);
  followed.then(
    () => {
      for (const one of all) one.resolve();
    },
    (error: unknown) => {
      for (const one of all) one.reject(error);
    },
  );
  return all;
}
