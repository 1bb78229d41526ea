// A user's first day, as types: compiled with the rest and never run. What must not compile carries an expected error.
import {
  type Adapter,
  type Broker,
  type BrokerError,
  type Capabilities,
  connect,
  createBroker,
  type Delivery,
  defineTopic,
  type Feature,
  type FeaturesOf,
  type Handler,
  isBrokerError,
  type Out,
  type Place,
  type Position,
  parsePosition,
  routed,
  type Schema,
  type TopicDefinition,
} from "brokerkit";
import { memory } from "brokerkit/memory";
import { testBroker, testMessage } from "brokerkit/testing";
import { z } from "zod";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<T extends true>(): T | undefined {
  return undefined;
}

const Order: z.ZodObject<{ id: z.ZodNumber; customer: z.ZodString; at: z.ZodCoercedDate<unknown> }> = z.object({
  id: z.number(),
  customer: z.string(),
  at: z.coerce.date(),
});
const orders: TopicDefinition<typeof Order> = defineTopic("orders", {
  schema: Order,
  key: (order) => order.customer,
  partitions: 12,
  retention: { ms: 7 * 86_400_000 },
  groups: ["billing", "loader"],
});
same<Equal<Out<typeof Order>, { id: number; customer: string; at: Date }>>();

// ---- publishing over HTTP
const broker: Broker<"groups" | "atLeastOnce"> = createBroker(process.env["BROKER_URL"] ?? "memory:", {
  requires: ["groups", "atLeastOnce"],
  prefix: `${process.env["STAGE"]}.`,
  provision: "verify",
});
export async function post(request: Request): Promise<Response> {
  try {
    const receipt = await broker
      .topic(orders)
      .publish(
        { id: 1, customer: "c", at: "2026-01-01" },
        { id: request.headers.get("idempotency-key") ?? undefined, timeoutMs: 2_000, signal: request.signal },
      );
    same<Equal<typeof receipt.place, Place | undefined>>();
    return Response.json(receipt, { status: 202 });
  } catch (error) {
    if (isBrokerError(error, "INVALID_PAYLOAD")) return Response.json(error.details.issues, { status: 422 });
    if (isBrokerError(error)) return new Response(null, { status: error.retryable ? 503 : 500 });
    throw error;
  }
}
// @ts-expect-error a field is missing
await broker.topic(orders).publish({ id: 1, customer: "c" });
// @ts-expect-error there is no such option
await broker.topic(orders).publish({ id: 1, customer: "c", at: 0 }, { timeout: 5 });

// ---- a worker with probes
export const charge: Handler<typeof orders> = async (message) => {
  message.payload.at.getTime();
  if (message.payload.id < 0) return message.reject("negative id");
};
const worker = await broker.topic(orders).subscribe({ group: "billing", concurrency: 16, timeoutMs: 30_000 }, charge);
worker.startedFrom satisfies "created" | "existing";
export const probe = (): Response => Response.json(broker.health(), { status: broker.health().ready ? 200 : 503 });
const lag = await broker.topic(orders).group("billing").lag();
same<Equal<typeof lag.messages, number | undefined>>();
process.once("SIGTERM", () => void broker.close({ deadlineMs: 25_000 }));

// ---- batches
declare function insert(rows: readonly { id: number }[]): Promise<void>;
await using stream = broker.topic(orders).batches({ group: "loader", max: 500, waitMs: 250 });
for await (const batch of stream) {
  await insert(batch.payloads);
  await batch.ack();
}
await broker.topic(orders).subscribeBatches({ group: "loader", max: 500 }, async (batch) => {
  for (const message of batch) message satisfies Delivery<{ at: Date }>;
  await insert(batch.payloads);
});

// ---- tests without a broker
const test = testBroker({ like: "memory" });
const message = testMessage(orders, { id: -1, customer: "c", at: 0 });
await charge(message);
same<Equal<typeof message.settled, "ack" | "nack" | "reject" | undefined>>();
await test.topic(orders).subscribe({ group: "billing" }, charge);
await test.topic(orders).publish({ id: 1, customer: "x", at: 0 });
await test.idle();
await test.advance(60_000);
same<Equal<ReturnType<typeof test.published<typeof Order>>[number]["payload"], { id: number; customer: string; at: Date }>>();

// ---- dead letters
const dead = broker.topic(orders).group("billing").deadLetters;
for await (const letter of dead.list({ since: new Date(), limit: 50 })) console.log(letter.reason, letter.json());
await dead.redrive({ reason: "timeout", dryRun: true, perSecond: 100 });
// @ts-expect-error purging everything must be said: purge({})
await dead.purge();

// ---- a projection that goes live without a gap
export async function rebuild(b: Broker<"replay" | "groups">): Promise<void> {
  const replay = b.topic(orders).replay({ from: "earliest", follow: true });
  void replay.caughtUp.then(() => console.log("live"));
  for await (const one of replay) {
    one.payload.id satisfies number;
    // @ts-expect-error messages of a replay have no ack
    await one.ack();
  }
  const bounded = b.topic(orders).replay({ from: "earliest" });
  for await (const one of bounded) one.id satisfies string;
  await b.topic(orders).subscribe({ group: "projection", from: await bounded.end }, charge);
  // @ts-expect-error a replay of what is yet to come is a subscription
  b.topic(orders).replay({ from: "latest" });
  // @ts-expect-error a place is never a start
  b.topic(orders).replay({ from: "p:1" as Place });
  // @ts-expect-error a text is no position before it was parsed
  b.topic(orders).replay({ from: "p:1" });
  b.topic(orders).replay({ from: parsePosition("…") satisfies Position });
}

// ---- two backends in one application
const live = await connect("nats+core://n:4222");
same<Equal<typeof live, Broker<Feature>>>();
const all = routed({ "presence.*": live }, await connect("kafka://a:9092,b:9092"));
await rebuild(all);

// ---- what must not compile
declare const pubsub: Adapter<{ groups: false; replay: false; seek: false; lag: false; delay: false; keyOrder: true; atLeastOnce: false }>;
const ps = await connect(pubsub);
same<Equal<typeof ps, Broker<"keyOrder">>>();
// @ts-expect-error pub/sub has no groups
await ps.topic(orders).subscribe({ group: "billing" }, charge);
await ps.topic(orders).subscribe({ broadcast: true }, charge);
// @ts-expect-error neither group nor broadcast
await live.topic(orders).subscribe({}, charge);
// @ts-expect-error an unset variable must not turn a queue into a broadcast
await live.topic(orders).subscribe({ group: process.env["GROUP"] }, charge);
// @ts-expect-error both
await live.topic(orders).subscribe({ group: "g", broadcast: false }, charge);
// @ts-expect-error not required, not callable
broker.topic(orders).replay({ from: "earliest" });
// @ts-expect-error it is not known to have replay
await rebuild(broker);
// @ts-expect-error it has neither
await rebuild(ps);
if (broker.supports("replay")) await rebuild(broker);
if (ps.supports("groups", "replay")) await rebuild(ps);
// @ts-expect-error there is no such feature
await connect("memory:", { requires: ["group"] });
const given: Broker<Feature> = await connect(memory(), { requires: ["groups", "replay"] });
void given;
declare const queue: Adapter<{ [K in Feature]: K extends "groups" ? true : false }>;
createBroker(queue, { requires: ["groups"] });
// @ts-expect-error: this adapter is known to lack it
createBroker(queue, { requires: ["groups", "replay"] });
// @ts-expect-error there is no such option
await connect("memory:", { require: ["groups"] });
// @ts-expect-error a broker without replay is no broker with it
routed<"replay">({}, ps);
// @ts-expect-error a handler for another schema
await live.topic(orders).subscribe({ group: "g" }, async (one: Delivery<{ id: string }>) => void one);
// @ts-expect-error retention is an object
defineTopic("t", { schema: Order, retention: 5 });
// @ts-expect-error a topic has a schema, or is named by its text alone
defineTopic("t", {});

// ---- details
const untyped = live.topic("plain");
await untyped.publish({ anything: 1 });
await untyped.subscribe({ group: "g" }, (one) => {
  same<Equal<typeof one.payload, unknown>>();
});
declare const unknownError: unknown;
if (isBrokerError(unknownError, "UNSUPPORTED", "TOO_LARGE")) {
  same<Equal<typeof unknownError, BrokerError<"UNSUPPORTED" | "TOO_LARGE">>>();
  if (unknownError.code === "TOO_LARGE") unknownError.code satisfies "TOO_LARGE";
}
if (isBrokerError(unknownError, "GROUP_ACTIVE")) unknownError.details.members satisfies readonly string[];
live.capabilities satisfies Capabilities;
live.capabilities.supply.deadLetter satisfies "native" | "portable" | "none";
same<
  Equal<
    FeaturesOf<{ groups: true; replay: boolean; seek: false; lag: false; delay: false; keyOrder: false; atLeastOnce: false }>,
    "groups" | "replay"
  >
>();
declare const anySchema: Schema<{ n: string }, { n: number }>;
const converted = defineTopic("converted", { schema: anySchema, key: (input) => input.n });
await live.topic(converted).publish({ n: "1" });
await live.topic(converted).subscribe({ broadcast: true }, (one) => void (one.payload.n satisfies number));
await using closing: AsyncDisposable = live;
void closing;
