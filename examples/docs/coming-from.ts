import { type Broker, connect, type Delivery, type Out, type Subscription } from "brokerkit";
import { type Order, orders } from "./contracts.ts";

type NewOrder = { readonly id: number; readonly customer: string; readonly at: Date };
type Charge = (order: Out<typeof Order>, signal: AbortSignal) => Promise<void>;

export async function insteadOfKafkajs(url: string, order: NewOrder, charge: Charge): Promise<Broker<"groups">> {
  // #region log-client
  const broker = await connect(url, { requires: ["groups", "atLeastOnce"] });
  const topic = broker.topic(orders);
  await topic.subscribe({ group: "billing", from: "earliest", concurrency: 16 }, (message) => charge(message.payload, message.signal));
  await topic.publish(order, { headers: { source: "web" } }); // the key comes from the topic's own rule
  // #endregion
  return broker;
}

export async function insteadOfAmqplib(url: string, order: NewOrder, charge: Charge): Promise<Broker<"groups">> {
  // #region queue-client
  const broker = await connect(url, { requires: ["groups", "atLeastOnce"] });
  const topic = broker.topic(orders); // its definition lists the groups, which are created with it
  await topic.subscribe({ group: "billing", concurrency: 16 }, (message) => charge(message.payload, message.signal));
  await topic.publish(order, { id: `order-${order.id}` });
  // #endregion
  return broker;
}

// #region provider
/** A provider of any framework with lifecycle hooks; nothing of brokerkit is a decorator. */
export class Billing {
  readonly #broker: Broker<"groups">;
  readonly #charge: Charge;
  #subscription: Subscription | undefined;

  constructor(broker: Broker<"groups">, charge: Charge) {
    this.#broker = broker;
    this.#charge = charge;
  }

  async onModuleInit(): Promise<void> {
    this.#subscription = await this.#broker
      .topic(orders)
      .subscribe({ group: "billing", concurrency: 16 }, (message) => this.handle(message));
  }

  async handle(message: Delivery<Out<typeof Order>>): Promise<void> {
    await this.#charge(message.payload, message.signal);
  }

  async onApplicationShutdown(): Promise<void> {
    await this.#subscription?.close({ deadlineMs: 20_000 });
  }
}
// #endregion
