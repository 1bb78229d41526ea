import type { Session } from "./column.ts";
import type { Messages } from "./messages.ts";

export interface Pace {
  readonly count: number;
  /** ms between two messages. */
  readonly apart: number;
  /** When the first is due, on `performance.now()`. */
  readonly start: number;
}

/**
 * Sends each message at its time, whatever became of those before it: a slow answer does not hold up the next question. No timer per
 * message; the event loop looks at the clock at every turn. Resolves when all are confirmed.
 */
export function openLoop(session: Session, messages: Messages, { count, apart, start }: Pace): Promise<void> {
  return new Promise((resolve, reject) => {
    let next = 0;
    let open = 0;
    let failed = false;
    const fail = (error: unknown): void => {
      failed = true;
      reject(error);
    };
    const turn = (): void => {
      if (failed) return;
      const due = Math.min(count, Math.floor((performance.now() - start) / apart) + 1);
      if (due > next) {
        const sending = due - next;
        if (open + sending > messages.limit) return fail(new Error(`the open loop fell behind: ${open} messages are not confirmed`));
        open += sending;
        session.send(messages, next, sending).then(() => {
          open -= sending;
          if (next === count && open === 0) resolve();
        }, fail);
        next = due;
      }
      if (next < count) setImmediate(turn);
    };
    turn();
  });
}
