import { invalidArgument } from "./errors.ts";
import type { Receipt } from "./message.ts";
import type { Interceptor } from "./options.ts";

type Publishing = Parameters<NonNullable<Interceptor["publish"]>>[0];

/** One publish through its interceptors, the first given outermost, and then `last`. */
export function throughAll(interceptors: readonly Interceptor[], record: Publishing, last: () => Promise<Receipt>): Promise<Receipt> {
  const from = (n: number): (() => Promise<Receipt>) => {
    let called = false;
    return async () => {
      if (called) throw invalidArgument("next", "An interceptor called next() twice: a message is published once.");
      called = true;
      const interceptor = interceptors[n];
      return interceptor?.publish === undefined ? last() : interceptor.publish(record, from(n + 1));
    };
  };
  return from(0)();
}
