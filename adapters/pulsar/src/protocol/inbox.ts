import type { IncomingMessage, MessageId } from "../transport.ts";

/** Before or after in the log; partitions have no order between them, but a fixed one. */
export function compareIds(a: MessageId, b: MessageId): number {
  return a.partition - b.partition || a.ledger - b.ledger || a.entry - b.entry || a.batchIndex - b.batchIndex;
}

/** The last of those that are of one partition; none where it names a partition without messages. */
export function lastOf(ids: readonly MessageId[], partition: number): MessageId | undefined {
  const last = ids
    .filter((id) => id.partition === partition)
    .sort(compareIds)
    .at(-1);
  return last === undefined || last.ledger < 0 ? undefined : last;
}

/** Messages that wait for the user, of all partitions of a consumer. */
export class Inbox {
  #fresh: IncomingMessage[] = [];
  #taken = 0;
  /** Taken back from the user: older than everything fresh of their partition. */
  #again: IncomingMessage[] = [];
  #wake: (() => void) | undefined;
  #failure: unknown;
  #failed = false;

  add(messages: readonly (IncomingMessage | undefined)[]): void {
    for (const message of messages) if (message !== undefined) this.#fresh.push(message);
    this.#wake?.();
  }

  addAgain(message: IncomingMessage): void {
    this.#again.push(message);
    this.#again.sort((a, b) => compareIds(a.id, b.id));
    this.#wake?.();
  }

  /** Forgets what waits of a partition. */
  drop(partition: number): void {
    const others = (message: IncomingMessage): boolean => message.id.partition !== partition;
    this.#fresh = this.#fresh.slice(this.#taken).filter(others);
    this.#taken = 0;
    this.#again = this.#again.filter(others);
  }

  /** Forgets everything; whoever waits, now or later, fails. */
  fail(error: unknown): void {
    this.#failed = true;
    this.#failure = error;
    this.#fresh = [];
    this.#taken = 0;
    this.#again = [];
    this.#wake?.();
  }

  /** What is there, at most `max`. Throws once failed. */
  take(max: number): IncomingMessage[] {
    if (this.#failed) throw this.#failure;
    const again = this.#again.splice(0, max);
    const end = Math.min(this.#fresh.length, this.#taken + max - again.length);
    const fresh = this.#fresh.slice(this.#taken, end);
    this.#taken = end;
    if (end === this.#fresh.length || end > 4_096) {
      this.#fresh = this.#fresh.slice(end);
      this.#taken = 0;
    }
    return again.length === 0 ? fresh : [...again, ...fresh];
  }

  get empty(): boolean {
    return !this.#failed && this.#again.length === 0 && this.#taken === this.#fresh.length;
  }

  /** Resolves when something is there, after `ms`, or on abort. One call at a time. */
  wait(ms: number, signal: AbortSignal): Promise<void> {
    if (!this.empty || signal.aborted || ms <= 0) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        this.#wake = undefined;
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal.addEventListener("abort", done, { once: true });
      this.#wake = done;
    });
  }
}
