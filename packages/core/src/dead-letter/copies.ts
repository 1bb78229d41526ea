import type { Clock } from "../driver/adapter.ts";
import type { WireDelivery, WireRecord } from "../driver/wire.ts";
import type { Receipt } from "../message.ts";
import { keepCopy } from "./keeper.ts";
import { letterRecord, requeueRecord } from "./letter.ts";

/** A message that can't stay where it is. */
export interface Failing {
  readonly id: string;
  readonly wire: WireDelivery;
  readonly failures: number;
  readonly firstFailedAt: number;
}

export interface CopiesWiring<T> {
  readonly clock: Clock;
  readonly topic: string;
  readonly group: string;
  /** No further tries; what is not stored by then leaves its original unsettled. */
  readonly stop: AbortSignal;
  readonly publish: (record: WireRecord, timeoutMs: number, signal: AbortSignal) => Promise<Receipt>;
  /** The original is still ours, so a copy is still wanted. */
  readonly wanted: (original: T) => boolean;
  readonly stored: (original: T, reason: string | undefined) => void;
  readonly over: (original: T) => void;
  readonly failed: (original: T, to: string, error: unknown) => void;
}

/** Copies on their way to a group's inbox or dead letters. An original is settled only once its copy is stored. */
export class Copies<T extends Failing> {
  readonly #wiring: CopiesWiring<T>;
  #pending = 0;

  constructor(wiring: CopiesWiring<T>) {
    this.#wiring = wiring;
  }

  get pending(): number {
    return this.#pending;
  }

  /** Behind everything else, for this group only. */
  requeue(original: T, delayMs: number): void {
    const { topic, group } = this.#wiring;
    const { id, wire, failures } = original;
    this.#store(original, requeueRecord({ topic, group, id, wire, failures, delayMs }), undefined);
  }

  /** To the group's dead letters, with why. */
  bury(original: T, reason: string, error: unknown): void {
    const { topic, group, clock } = this.#wiring;
    const { id, wire } = original;
    const now = clock.now();
    const attempts = Math.max(original.failures, 1);
    const firstFailedAt = original.firstFailedAt || now;
    this.#store(original, letterRecord({ topic, group, id, wire, reason, error, attempts, firstFailedAt, lastFailedAt: now }), reason);
  }

  #store(original: T, record: WireRecord, reason: string | undefined): void {
    const { clock, publish, wanted, stored, over, failed, stop } = this.#wiring;
    this.#pending++;
    const keeper = { clock, publish, failed: (error: unknown) => failed(original, record.target.topic, error) };
    void keepCopy(keeper, record, () => wanted(original), stop).then((kept) => {
      this.#pending--;
      if (kept && wanted(original)) stored(original, reason);
      over(original);
    });
  }
}
