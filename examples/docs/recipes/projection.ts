import { type Broker, parsePosition, type Subscription } from "brokerkit";
import { orders } from "../contracts.ts";

export type Totals = Map<string, number>;

function apply(totals: Totals, customer: string): void {
  totals.set(customer, (totals.get(customer) ?? 0) + 1);
}

export async function handOver(broker: Broker<"replay" | "groups">, totals: Totals): Promise<Subscription> {
  // #region hand-over
  const topic = broker.topic(orders);
  const replay = topic.replay({ from: "earliest" });
  for await (const message of replay) apply(totals, message.payload.customer);

  // The group begins exactly behind what was replayed, however much was published meanwhile.
  const subscription = await topic.subscribe({ group: "totals", from: await replay.end }, (message) => {
    apply(totals, message.payload.customer);
  });
  // #endregion
  return subscription;
}

export async function follow(broker: Broker<"replay">, totals: Totals, live: () => void, signal: AbortSignal): Promise<void> {
  // #region follow
  const replay = broker.topic(orders).replay({ from: "earliest", follow: true, signal });
  replay.caughtUp.then(live, () => {}); // everything that was there at the start is in
  for await (const message of replay) apply(totals, message.payload.customer);
  // #endregion
}

export interface Store {
  position(): string | undefined;
  /** In one transaction: the totals and the position that goes with them. */
  save(totals: Totals, position: string): void;
}

export async function resume(broker: Broker<"replay">, totals: Totals, store: Store): Promise<void> {
  // #region resume
  const saved = store.position();
  const replay = broker.topic(orders).replay({ from: saved === undefined ? "earliest" : parsePosition(saved) });
  for await (const message of replay) {
    store.save(totals, replay.position()); // covers what came before this message, which is not applied yet
    apply(totals, message.payload.customer);
  }
  store.save(totals, replay.position()); // covers the last one too
  // #endregion
}
