// #region program
import { connect, defineTopic } from "brokerkit";
import { z } from "zod";

const Order = z.object({ id: z.number(), customer: z.string() });
const orders = defineTopic("orders", { schema: Order, key: (order) => order.customer });

const broker = await connect(process.env["BROKER_URL"] ?? "memory:", { requires: ["groups", "replay"] });
const topic = broker.topic(orders);
await topic.subscribe({ group: "billing", concurrency: 16 }, async (message) => {
  console.log("charge", message.payload.customer); // returns: acknowledged; throws: tried again, then a dead letter
});
await topic.publish({ id: 7, customer: "ada" }); // resolves when the backend has confirmed it
for await (const message of topic.replay({ from: "earliest" })) console.log("again", message.payload.id);
await broker.close(); // running handlers finish, acknowledgements are flushed
// #endregion
