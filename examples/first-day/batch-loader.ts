// (c) A batch loader: many rows at once into a table, acknowledged together; pulled by a loop, or handed to a handler.
import { connect } from "brokerkit";
import { orders, prefix } from "./contracts.ts";

const ROWS = 1_200;
const MORE = 300;
const table = new Map<number, string>();
const sizes: number[] = [];

async function insert(rows: readonly { readonly id: number; readonly customer: string }[]): Promise<void> {
  sizes.push(rows.length);
  // The primary key makes a repeated row harmless.
  for (const { id, customer } of rows) table.set(id, customer);
}

const broker = await connect(process.env["BROKER_URL"] ?? "memory:", { requires: ["groups"], prefix });
await broker.provision([orders]);
const topic = broker.topic(orders);
const row = (id: number) => ({ payload: { id, customer: `customer-${id % 40}`, at: id } });
await topic.publishAll(Array.from({ length: ROWS }, (_, id) => row(id)));

{
  await using stream = topic.batches({ group: "loader", max: 500, waitMs: 250 });
  for await (const batch of stream) {
    await insert(batch.payloads);
    await batch.ack();
    if (table.size === ROWS) break;
  }
}
const pulled = table.size;

const complete = Promise.withResolvers<void>();
const subscription = await topic.subscribeBatches({ group: "loader", max: 500 }, async (batch) => {
  await insert(batch.payloads);
  if (table.size === ROWS + MORE) complete.resolve();
});
await topic.publishAll(Array.from({ length: MORE }, (_, n) => row(ROWS + n)));
await complete.promise;
await subscription.flush();
await broker.close();
console.log(JSON.stringify({ pulled, rows: table.size, largest: Math.max(...sizes), batches: sizes.length }));
