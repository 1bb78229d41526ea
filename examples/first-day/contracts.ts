// (e) Contracts: a topic is a value that services share. Run by itself, this file prepares the backend as a deployment step would.
import { connect, defineTopic, type Handler, type TopicDefinition } from "brokerkit";
import { z } from "zod";

export const Order: z.ZodObject<{ id: z.ZodNumber; customer: z.ZodString; at: z.ZodCoercedDate<unknown> }> = z.object({
  id: z.number(),
  customer: z.string(),
  at: z.coerce.date(),
});

export const orders: TopicDefinition<typeof Order> = defineTopic("orders", {
  schema: Order,
  key: (order) => order.customer,
  partitions: 12,
  retention: { ms: 7 * 86_400_000 },
  groups: ["billing", "loader"],
});

/** Billing, shared by the worker and its unit test. */
export const charge: Handler<typeof orders> = async (message) => {
  message.payload.at.getTime();
  if (message.payload.id < 0) return message.reject("negative id");
};

/** Each stage has topics of its own on one backend. */
export const prefix = `${process.env["STAGE"] ?? "first-day"}.`;

if (import.meta.main) {
  await using broker = await connect(process.env["BROKER_URL"] ?? "memory:", { prefix });
  const planned = await broker.provision([orders], { dryRun: true });
  const done = await broker.provision([orders]);
  const again = await broker.provision([orders]);
  const { exists, groups } = await broker.topic(orders).describe();
  console.log(JSON.stringify({ planned: planned[0]?.action, done: done[0]?.action, again: again[0]?.action, exists, groups }));
}
