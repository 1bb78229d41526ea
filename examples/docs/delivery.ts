import { type Broker, type Delivery, type Handler, isBrokerError, type Lag, type Out, type Receipt, type Subscription } from "brokerkit";
import { type Order, orders } from "./contracts.ts";

type OrderInput = { readonly id: number; readonly customer: string; readonly at: string };

export async function publishKnowingly(broker: Broker<never>, order: OrderInput): Promise<Receipt | "unknown"> {
  // #region in-doubt
  try {
    return await broker.topic(orders).publish(order, { id: `order-${order.id}`, timeoutMs: 2_000 });
  } catch (error) {
    if (!isBrokerError(error)) throw error;
    if (error.inDoubt) return "unknown"; // it may have been stored. Publish it again under the same id, or look for it
    throw error; // nothing was stored
  }
  // #endregion
}

export async function publishMany(broker: Broker<never>, wanted: readonly OrderInput[]): Promise<readonly OrderInput[]> {
  // #region publish-all
  try {
    await broker.topic(orders).publishAll(wanted.map((payload) => ({ payload, id: `order-${payload.id}` })));
    return [];
  } catch (error) {
    if (!isBrokerError(error, "PARTIAL")) throw error;
    const { results } = error.details; // one per record, in the order given: a receipt or an error
    return wanted.filter((_, n) => isBrokerError(results[n]));
  }
  // #endregion
}

export interface Work {
  charge(order: Out<typeof Order>, signal: AbortSignal): Promise<void>;
  known(customer: string): Promise<boolean>;
}

export function verdicts(work: Work): Handler<typeof orders> {
  // #region verdicts
  const handler: Handler<typeof orders> = async (message) => {
    if (message.payload.id < 0) return message.reject("negative id"); // dead letter now
    if (!(await work.known(message.payload.customer))) return message.nack({ delayMs: 60_000 }); // a failure; again in a minute
    await work.charge(message.payload, message.signal); // throws: a failure; again after the backoff
  }; // returns: acknowledged
  // #endregion
  return handler;
}

export async function retries(broker: Broker<"groups">, handler: Handler<typeof orders>): Promise<Subscription> {
  // #region retry
  const subscription = await broker.topic(orders).subscribe(
    {
      group: "billing",
      concurrency: 16, // handlers at once, in this process
      timeoutMs: 30_000, // one run; then its signal aborts and the run has failed
      retry: {
        attempts: 5, // handler runs in all, the first included
        backoffMs: { initial: 200, factor: 2, max: 30_000 },
        retryIf: (error) => !(error instanceof TypeError), // false: dead letter now
      },
    },
    handler,
  );
  // #endregion
  return subscription;
}

export async function requeues(broker: Broker<"groups">, handler: Handler<typeof orders>): Promise<Subscription> {
  // #region requeue
  const subscription = await broker.topic(orders).subscribe({ group: "billing", retry: { mode: "requeue" } }, handler);
  // #endregion
  return subscription;
}

export interface Table {
  insert(rows: readonly Out<typeof Order>[]): Promise<void>;
}

export async function batches(broker: Broker<"groups">, table: Table): Promise<Subscription> {
  // #region batches
  const subscription = await broker
    .topic(orders)
    .subscribeBatches({ group: "loader", max: 500, waitMs: 250, onThrow: "split" }, async (batch) => {
      await table.insert(batch.payloads); // returns: all acknowledged; throws: each again by itself
    });
  // #endregion
  return subscription;
}

export async function pull(broker: Broker<"groups">, enough: (message: Delivery<Out<typeof Order>>) => boolean): Promise<void> {
  // #region stream
  for await (const message of broker.topic(orders).messages({ group: "billing" })) {
    await message.ack(); // nothing is acknowledged for you here
    if (enough(message)) break; // closes the stream; what is not settled is handed back
  }
  // #endregion
}

export async function acknowledgeAndFlush(subscription: Subscription, message: Delivery<unknown>): Promise<void> {
  // #region flush
  await message.ack(); // accepted for settlement
  await subscription.flush(); // the backend has every acknowledgement given so far
  // #endregion
}

export async function lagOf(broker: Broker<"groups" | "lag">): Promise<Lag> {
  // #region lag
  const lag = await broker.topic(orders).group("billing").lag();
  console.log(lag.messages ?? "not known", lag.kind, lag.inFlight, lag.oldestMs);
  // #endregion
  return lag;
}

export async function rewind(broker: Broker<"groups" | "seek">, since: Date): Promise<void> {
  // #region seek
  await broker.topic(orders).group("billing").seek(since); // running handlers of this group lose what they hold
  // #endregion
}

export async function skipLosses(broker: Broker<"groups">, handler: Handler<typeof orders>): Promise<Subscription> {
  // #region data-loss
  const subscription = await broker.topic(orders).subscribe({ group: "audit", onDataLoss: "skip" }, handler);
  subscription.closed.catch((error: unknown) => console.error("the subscription ended by itself", error));
  // #endregion
  return subscription;
}
