// A user's program as an ECMAScript module: publish, handle, replay and a typed error over the backend that the URL names.
import { type Broker, connect, defineTopic, isBrokerError, type Receipt } from "brokerkit";
import { z } from "zod";

const Order = z.object({ id: z.number(), customer: z.string() });
const orders = defineTopic("orders", { schema: Order, key: (order) => order.customer });

export async function roundTrip(url: string): Promise<string> {
  const broker: Broker<"groups" | "replay"> = await connect(url, { requires: ["groups", "replay"] });
  const topic = broker.topic(orders);
  const seen: number[] = [];
  const handled = Promise.withResolvers<void>();
  const subscription = await topic.subscribe({ group: "billing" }, (message) => {
    seen.push(message.payload.id);
    if (seen.length === 2) handled.resolve();
  });
  const first: Receipt = await topic.publish({ id: 1, customer: "ada" });
  await topic.publishAll([{ payload: { id: 2, customer: "ada" } }]);
  await handled.promise;
  await subscription.close();
  const again: number[] = [];
  for await (const message of topic.replay({ from: "earliest" })) again.push(message.payload.id);
  await broker.close();
  try {
    await topic.publish({ id: 3, customer: "ada" });
  } catch (error) {
    if (isBrokerError(error, "CLOSED")) return `${typeof first.id} ${seen.join()} ${again.join()} ${error.code}`;
    throw error;
  }
  throw new Error("a closed broker took a message");
}

console.log(await roundTrip(process.argv[2] ?? "memory:"));
