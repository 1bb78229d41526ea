import type { Clock } from "brokerkit/driver";
import type { Aws } from "../client.ts";
import { serviceError } from "../errors.ts";
import { askQueue } from "./calls.ts";
import { SECOND_MS, type SqsDelivery } from "./delivery.ts";
import { newCall } from "./http.ts";

/** A request settles or extends at most so many. */
const ENTRIES = 10;
/** Settling requests side by side. */
const SIDE_BY_SIDE = 16;

/** To be invisible for so long from now; 0: to be visible at once. */
export interface Hidden {
  readonly delivery: SqsDelivery;
  readonly seconds: number;
}

/** What each entry failed with, `undefined` where it did not. */
export type Failures = readonly unknown[];

interface Entry {
  readonly Id: string;
  readonly ReceiptHandle: string;
  readonly VisibilityTimeout?: number;
}

export interface ReceiptsWiring {
  readonly aws: Aws;
  readonly clock: Clock;
  readonly url: string;
  /** Ends everything under way. */
  readonly over: AbortSignal;
}

/** Settles what was received from one queue, at most ten at a time. One attempt each; rejects where a request fails as a whole. */
export class Receipts {
  readonly #wiring: ReceiptsWiring;

  constructor(wiring: ReceiptsWiring) {
    this.#wiring = wiring;
  }

  delete(deliveries: readonly SqsDelivery[]): Promise<Failures> {
    return this.#ask(
      "DeleteMessageBatch",
      deliveries.map(({ receipt }, n) => ({ Id: String(n), ReceiptHandle: receipt })),
    );
  }

  hide(items: readonly Hidden[]): Promise<Failures> {
    const now = this.#wiring.clock.monotonic();
    const entries = items.map(({ delivery: { receipt, endsAt }, seconds }, n) => {
      const most = Math.max(0, Math.floor((endsAt - now) / SECOND_MS) - 1);
      return { Id: String(n), ReceiptHandle: receipt, VisibilityTimeout: Math.min(seconds, most) };
    });
    return this.#ask("ChangeMessageVisibilityBatch", entries);
  }

  async #ask(action: "DeleteMessageBatch" | "ChangeMessageVisibilityBatch", Entries: readonly Entry[]): Promise<Failures> {
    const { aws, url, over } = this.#wiring;
    const { Failed = [] } = await askQueue(aws.queues, action, { QueueUrl: url, Entries }, newCall(over));
    const failures: unknown[] = new Array(Entries.length).fill(undefined);
    for (const { Id, Code, Message } of Failed) failures[Number(Id)] = serviceError(Code, Message);
    return failures;
  }

  /** Back to the queue at once. What that fails for comes back when its lease ends. */
  async release(deliveries: readonly SqsDelivery[]): Promise<void> {
    const now = this.#wiring.clock.monotonic();
    const items = deliveries.filter(({ leaseUntil }) => leaseUntil > now).map((delivery) => ({ delivery, seconds: 0 }));
    await sideBySide(chunked(items), async (chunk) => void (await this.hide(chunk).catch(() => {})));
  }
}

export function chunked<T>(items: readonly T[]): T[][] {
  const chunks: T[][] = [];
  for (let from = 0; from < items.length; from += ENTRIES) chunks.push(items.slice(from, from + ENTRIES));
  return chunks;
}

/** Rejects with the first that fails; the others go on. */
export async function sideBySide<T>(items: readonly T[], run: (item: T) => Promise<void>): Promise<void> {
  const next = items.values();
  const worker = async (): Promise<void> => {
    for (const item of next) await run(item);
  };
  await Promise.all(Array.from({ length: Math.min(SIDE_BY_SIDE, items.length) }, worker));
}
