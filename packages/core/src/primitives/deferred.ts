/** A promise and the two functions that settle it. Only the first call of either counts. */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  resolve(value: T | PromiseLike<T>): void;
  reject(error: unknown): void;
}

/** Makes a promise that is settled from outside. Await or handle it: a rejection nobody handles ends the process. */
export function deferred<T = void>(): Deferred<T> {
  return Promise.withResolvers<T>();
}
