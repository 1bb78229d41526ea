import type { Consumption } from "./consumption.ts";
import { BatchView, type DeliveryView } from "./delivery.ts";
import { Fifo } from "./primitives/fifo.ts";
import type { RunningSubscription } from "./subscription.ts";
import type { Stream } from "./surface.ts";

type Next<T> = { resolve: (result: IteratorResult<T>) => void; reject: (error: unknown) => void };

/**
 * A subscription that is pulled: nothing is handed out before it is asked for. Leaving the loop closes it and hands back what is unsettled.
 */
export class PulledStream<T> implements Stream<T> {
  readonly #open: (handler: Consumption["handler"]) => Promise<RunningSubscription>;
  readonly #shape: (deliveries: readonly DeliveryView<unknown>[]) => T;
  readonly #asking = new Fifo<Next<T>>();
  #subscription: Promise<RunningSubscription> | undefined;
  #failure: { readonly error: unknown } | undefined;
  #closed = false;

  constructor(
    open: (handler: Consumption["handler"]) => Promise<RunningSubscription>,
    shape: (deliveries: readonly DeliveryView<unknown>[]) => T,
  ) {
    this.#open = open;
    this.#shape = shape;
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    return {
      next: () => this.#next(),
      return: async () => {
        await this.close();
        return { done: true, value: undefined };
      },
      throw: async (error: unknown) => {
        await this.close();
        throw error;
      },
    };
  }

  async close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#finish();
    }
    await (await this.#subscription?.catch(() => undefined))?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #next(): Promise<IteratorResult<T>> {
    if (this.#failure !== undefined) throw this.#failure.error;
    if (this.#closed) return { done: true, value: undefined };
    const subscription = await this.#start();
    return new Promise((resolve, reject) => {
      if (this.#closed) return resolve({ done: true, value: undefined });
      this.#asking.push({ resolve, reject });
      subscription.pull();
    });
  }

  #start(): Promise<RunningSubscription> {
    if (this.#subscription === undefined) {
      this.#subscription = this.#open((deliveries) => this.#asking.shift()?.resolve({ done: false, value: this.#shape(deliveries) }));
      this.#subscription.then(
        (subscription) =>
          subscription.closed.then(
            () => this.#finish(),
            (error: unknown) => this.#fail(error),
          ),
        (error: unknown) => this.#fail(error),
      );
    }
    return this.#subscription;
  }

  #finish(): void {
    this.#closed = true;
    for (const next of this.#asking.drain()) next.resolve({ done: true, value: undefined });
  }

  #fail(error: unknown): void {
    this.#failure = { error };
    for (const next of this.#asking.drain()) next.reject(error);
  }
}

/** The shape of `messages()`. */
export function single(deliveries: readonly DeliveryView<unknown>[]): DeliveryView<unknown> {
  return deliveries[0] as DeliveryView<unknown>;
}

/** The shape of `batches()`. */
export function batched(deliveries: readonly DeliveryView<unknown>[]): BatchView<unknown> {
  return new BatchView(deliveries);
}
