import type { Clock } from "brokerkit/driver";
import type { Delivery } from "./delivery.ts";
import type { Member } from "./queue.ts";

interface Waiter {
  readonly member: Member;
  readonly max: number;
  readonly end: (outcome: readonly Delivery[] | Error) => void;
}

/** Receives that wait for messages, first come, first served. Nothing is assigned to a waiter before it is answered, so none is dropped. */
export class Line {
  readonly #waiters = new Set<Waiter>();

  get length(): number {
    return this.#waiters.size;
  }

  wait(member: Member, max: number, ms: number, signal: AbortSignal, clock: Clock): Promise<readonly Delivery[]> {
    return new Promise((resolve, reject) => {
      const idle = (): void => waiter.end([]);
      const timer = ms < Number.POSITIVE_INFINITY ? clock.timer(ms, idle) : undefined;
      const end = (outcome: readonly Delivery[] | Error): void => {
        this.#waiters.delete(waiter);
        timer?.cancel();
        signal.removeEventListener("abort", idle);
        if (outcome instanceof Error) reject(outcome);
        else resolve(outcome);
      };
      const waiter: Waiter = { member, max, end };
      this.#waiters.add(waiter);
      signal.addEventListener("abort", idle, { once: true });
    });
  }

  /** Answers whom `take` gives something; `backlog`, about what there is, is shared evenly. */
  serve(backlog: number, take: (member: Member, max: number) => readonly Delivery[]): void {
    let left = backlog;
    let waiting = this.#waiters.size;
    for (const waiter of this.#waiters) {
      const got = take(waiter.member, Math.min(waiter.max, Math.max(1, Math.ceil(left / waiting--))));
      left -= got.length;
      if (got.length > 0) waiter.end(got);
    }
  }

  /** Ends the waits of one member, or all of them, empty-handed or with an error. */
  end(member: Member | undefined, error?: Error): void {
    for (const waiter of this.#waiters) if (member === undefined || waiter.member === member) waiter.end(error ?? []);
  }
}

/** Takes from several parts: first an equal share of each, beginning with another one each time, then what is left. */
export function spread<T>(
  parts: readonly T[],
  turn: number,
  max: number,
  into: readonly unknown[],
  take: (part: T, max: number) => void,
): void {
  for (const share of parts.length > 1 ? [Math.ceil(max / parts.length), max] : [max]) {
    for (let n = 0; n < parts.length && into.length < max; n++) {
      take(parts[(turn + n) % parts.length] as T, Math.min(share, max - into.length));
    }
  }
}
