import type { Place, WireRecord } from "../driver/wire.ts";
import type { BrokerError } from "../errors.ts";
import type { Receipt } from "../message.ts";

/** One publish on its way: its record, its caller's promise, and what is known of it. */
export class Pending {
  readonly record: WireRecord;
  /** Key, headers and body, in bytes. */
  readonly bytes: number;
  /** What it must keep in order with; `undefined` for nothing. */
  readonly lane: string | undefined;
  /** Monotonic ms. */
  readonly deadline: number;
  /** A second copy does no harm: whoever reads it folds by id. */
  readonly foldable: boolean;
  /** In a driver's call at this moment. */
  sent = false;
  /** In a call, or between two attempts: it keeps its lane and its place inside. */
  busy = false;
  /** Inside the gate. */
  inside = false;
  /** Bytes of an earlier attempt may have been stored. */
  doubt = false;
  /** Until when a second copy would be known as one (monotonic ms). */
  repeatUntil: number = Number.POSITIVE_INFINITY;
  /** The caller has its answer. */
  settled = false;
  tries = 0;
  /** What the last attempt met. */
  trouble: BrokerError | undefined = undefined;
  onSettled: ((item: Pending) => void) | undefined = undefined;
  previous: Pending | undefined = undefined;
  next: Pending | undefined = undefined;
  #resolve: ((receipt: Receipt) => void) | undefined = undefined;
  #reject: ((error: BrokerError) => void) | undefined = undefined;
  #unwatch: (() => void) | undefined = undefined;

  constructor(record: WireRecord, lane: string | undefined, deadline: number, foldable: boolean) {
    this.record = record;
    this.lane = lane;
    this.deadline = deadline;
    this.foldable = foldable;
    let bytes = (record.body?.byteLength ?? 0) + (record.key?.byteLength ?? 0);
    const { headers } = record;
    for (let n = 0; n < headers.length; n++) {
      const header = headers[n] as readonly [string, Uint8Array];
      bytes += header[0].length + header[1].byteLength;
    }
    this.bytes = bytes;
  }

  /** It may have been stored. */
  get inDoubt(): boolean {
    return this.sent || this.doubt;
  }

  /** In doubt since `at`: it may be sent again while the backend remembers its `dedupeId`. */
  doubted(at: number, windowMs: number): void {
    if (!this.doubt && !this.foldable) this.repeatUntil = at + windowMs;
    this.doubt = true;
  }

  /** The caller's promise; call once. */
  outcome(): Promise<Receipt> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  watch(signal: AbortSignal, run: () => void): void {
    signal.addEventListener("abort", run, { once: true });
    this.#unwatch = () => signal.removeEventListener("abort", run);
  }

  succeed(place: Place | undefined, duplicate: boolean): void {
    if (this.settled) return;
    this.#settle();
    // What the window swallowed after a doubt of ours was our own first attempt.
    this.#resolve?.({ id: this.record.id, place, duplicate: duplicate && !this.doubt });
  }

  fail(error: BrokerError): void {
    if (this.settled) return;
    this.#settle();
    this.#reject?.(error);
  }

  #settle(): void {
    this.settled = true;
    this.#unwatch?.();
    this.onSettled?.(this);
  }
}
