// (d) A unit test without a broker: one handler alone, then a whole flow in memory that behaves like the backend in production.
import { testBroker, testMessage } from "brokerkit/testing";
import { charge, orders } from "./contracts.ts";

const negative = testMessage(orders, { id: -1, customer: "ada", at: 0 });
await charge(negative);
const good = testMessage(orders, { id: 1, customer: "ada", at: 0 });
await charge(good);

const broker = testBroker({ like: process.env["LIKE"] ?? "redis" });
const attempts: number[] = [];
await broker.topic(orders).subscribe({ group: "billing" }, async (message) => {
  attempts.push(message.attempt);
  if (message.attempt === 1) throw new Error("the first attempt fails");
  await charge(message);
});
await broker.topic(orders).publish({ id: 1, customer: "x", at: 0 });
await broker.idle();
const before = attempts.length;
// Time is the test's own: the retry's backoff is over at once.
await broker.advance(60_000);
await broker.idle();
const published = broker.published(orders);
await broker.close();
console.log(
  JSON.stringify({
    negative: negative.settled,
    good: good.settled ?? "none",
    before,
    attempts,
    published: published.length,
    at: published[0]?.payload.at,
  }),
);
