import type { Broker, Handler } from "brokerkit";
import { type TestBroker, testBroker, testMessage } from "brokerkit/testing";
import { orders } from "./contracts.ts";

export interface Bank {
  charge(customer: string): Promise<void>;
}

export function chargeWith(bank: Bank): Handler<typeof orders> {
  // #region handler
  const charge: Handler<typeof orders> = async (message) => {
    if (message.payload.id < 0) return message.reject("negative id");
    await bank.charge(message.payload.customer);
  };
  // #endregion
  return charge;
}

export async function oneMessage(charge: Handler<typeof orders>): Promise<string | undefined> {
  // #region test-message
  const message = testMessage(orders, { id: -1, customer: "ada", at: "2026-01-01" }, { attempt: 2 });
  await charge(message);
  console.assert(message.settled === "reject"); // "ack", "nack", "reject", or undefined: left to whoever called it
  // #endregion
  return message.settled;
}

export async function wholeWay(charge: Handler<typeof orders>): Promise<TestBroker> {
  // #region test-broker
  const broker = testBroker();
  await broker.topic(orders).subscribe({ group: "billing" }, charge);
  await broker.topic(orders).publish({ id: 1, customer: "ada", at: "2026-01-01" });

  await broker.idle(); // nothing is under way any more
  await broker.advance(60_000); // a minute passes: backoffs, delays and leases with it
  await broker.idle();

  console.assert(broker.published(orders).length === 1);
  console.assert((await broker.topic(orders).group("billing").deadLetters.count()) === 0);
  await broker.close();
  // #endregion
  return broker;
}

export async function inside(place: (broker: Broker, id: number) => Promise<void>): Promise<readonly number[]> {
  // #region published
  const broker = testBroker();
  await place(broker, 7); // the code under test
  const ids = broker.published(orders).map((message) => message.payload.id);
  // #endregion
  await broker.close();
  return ids;
}

export async function personality(): Promise<string> {
  // #region like
  const broker = testBroker({ like: "redis+pubsub" });
  try {
    await broker.topic(orders).subscribe({ group: "billing" }, () => {});
    return "there are groups";
  } catch (error) {
    return String(error); // redis+pubsub has no groups: UNSUPPORTED, as in production
  } finally {
    await broker.close();
  }
  // #endregion
}
