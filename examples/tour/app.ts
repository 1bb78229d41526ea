// The application: what it publishes, who works on it, and how. It names no backend; BROKER_URL does.
import { createHmac } from "node:crypto";
import { existsSync } from "node:fs";
import { setTimeout as pass } from "node:timers/promises";
import { type Broker, type ConsumeOptions, defineTopic, type Handler, type In, type Subscription } from "brokerkit";
import { z } from "zod";

export const Order = z.object({ id: z.string(), customer: z.string(), cents: z.int(), guests: z.int() });
// Partitions let the members of a group share a log; backends without partitions say that the number has no effect, and share by message.
export const orders = defineTopic("orders", { schema: Order, key: (order) => order.customer, partitions: 6 });
export const GROUP = "billing";

// ---- producer
/** How many publishes may be under way at once. */
const WINDOW = 128;

/** Publishes every order as it comes in. The order's own id is the message's id: publishing it twice is the same message. */
export async function produce(broker: Broker, incoming: AsyncIterable<In<typeof Order>>): Promise<void> {
  const topic = broker.topic(orders);
  const underWay = new Set<Promise<unknown>>();
  for await (const order of incoming) {
    const published = topic.publish(order, { id: order.id }).finally(() => underWay.delete(published));
    underWay.add(published);
    if (underWay.size >= WINDOW) await Promise.race(underWay);
  }
  await Promise.all(underWay);
}

// ---- worker
const HOW: ConsumeOptions = { concurrency: 16, retry: { attempts: 3, backoffMs: { initial: 50, factor: 2, max: 200 } } };

/** Joins the group that bills orders; where there are no groups it listens to all of them by itself. */
export function work(broker: Broker): Promise<Subscription> {
  const topic = broker.topic(orders);
  if (!broker.supports("groups")) return topic.subscribe({ ...HOW, broadcast: true }, bill);
  const deadLetter = broker.capabilities.supply.deadLetter === "none" ? "drop" : "keep";
  return topic.subscribe({ ...HOW, group: GROUP, deadLetter }, bill);
}

// ---- handler
/** Bills one order: each guest pays a share. Returning acknowledges; throwing means again, and in the end the dead letter. */
export const bill: Handler<typeof orders> = async ({ payload: { id, cents, guests } }) => {
  const share = cents / (guests === 0 && fixed() ? 1 : guests);
  if (!Number.isFinite(share)) throw new RangeError(`order ${id}: ${cents} cents can't be shared by ${guests} guests`);
  const receipt = createHmac("sha256", "till")
    .update(`${id} ${Math.ceil(share)}`)
    .digest();
  await pass(2 + ((receipt[0] ?? 0) % 5)); // the card reader answers
};

/** The bug of this tour: nobody thought of an order without guests. Its fix is deployed once this file is there. */
function fixed(): boolean {
  return existsSync(process.env["BILLING_FIX"] ?? "");
}
