// #region program
import type { Broker, Out } from "brokerkit";
import { type Order, orders } from "../contracts.ts";

type Row = Out<typeof Order> & { readonly messageId: string };

export interface Warehouse {
  /** Inserts rows, leaving out those whose `messageId` is there already. */
  insertOnce(rows: readonly Row[]): Promise<void>;
}

/** Loads orders in batches until `signal` aborts. */
export async function load(broker: Broker<"groups">, warehouse: Warehouse, signal: AbortSignal): Promise<void> {
  await using stream = broker.topic(orders).batches({ group: "loader", max: 500, waitMs: 250, signal });
  for await (const batch of stream) {
    await warehouse.insertOnce([...batch].map((message) => ({ ...message.payload, messageId: message.id })));
    await batch.ack();
  }
}
// #endregion
