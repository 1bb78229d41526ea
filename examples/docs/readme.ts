// #region program
import { connect, defineTopic } from "brokerkit";
import { z } from "zod";

const Order = z.object({ id: z.number(), customer: z.string() });
const orders = defineTopic("orders", { schema: Order, key: (order) => order.customer });

const broker = await connect(process.env["BROKER_URL"] ?? "memory:", { requires: ["groups", "replay"] });
const topic = broker.topic(orders);
const { promise: charged, resolve: charge } = Promise.withResolvers<string>();
// A handler that returns has acknowledged; one that throws runs again, and at last leaves a dead letter.
await topic.subscribe({ group: "billing", concurrency: 16 }, (message) => charge(message.payload.customer));
await topic.publish({ id: 7, customer: "ada" }); // resolves when the backend has confirmed it
console.log("charged", await charged);
for await (const message of topic.replay({ from: "earliest" })) console.log("again", message.payload.id);
await broker.close(); // running handlers finish, acknowledgements are flushed
// #endregion
